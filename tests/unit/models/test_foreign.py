"""Networks that somebody else trained: rebuilt to the same answers, or refused in a sentence."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import models.foreign.rebuild as rebuilding
from models.foreign import files
from models.foreign.expected import generated_samples
from models.foreign.rebuild import TOLERANCE, ForeignNetwork, rebuild
from models.networks.backbones import ForeignWeights, copy_backbone, every_layer
from models.networks.inputs import network_input
from models.networks.registry import ARCHITECTURES, INPUT_PX, architecture
from models.release import ReleaseError

CATEGORIES = 4
Range = tuple[float, float]
CENTRED = (-1.0, 1.0)


def refuse_code(path: Path) -> None:
    files.refuse_code(files.foreign_file(path))


def trained(model: Any, side_px: int, *, sees: Range) -> Any:
    """Give every weight a value that no initialiser would, and BatchNorm the statistics that let a picture through."""
    random = np.random.default_rng(7)
    flat_layers = list(every_layer(model))
    for layer in flat_layers:
        if layer.weights and type(layer).__name__ not in ("BatchNormalization", "Normalization"):
            values = layer.get_weights()
            layer.set_weights([value + random.normal(0, 0.02, value.shape).astype(value.dtype) for value in values])
        if type(layer).__name__ == "Normalization" and layer.weights:
            layer.set_weights([np.array([0.4, 0.5, 0.6]), np.array([0.05, 0.06, 0.07]), np.array(1)])
            layer.finalize_state()
    norms = [layer for layer in flat_layers if type(layer).__name__ == "BatchNormalization"]
    for norm in norms:
        norm.momentum = 0.0  # one batch in training replaces the statistics
    body = next((layer for layer in model.layers if getattr(layer, "layers", None)), model)
    body(sees[0] + (sees[1] - sees[0]) * generated_samples(side_px).astype(np.float32) / 255, training=True)
    for norm in norms:
        norm.momentum = 0.99
    return model


def backbone(kind: str, side_px: int) -> Any:
    family = getattr(keras.applications, kind)
    return family(include_top=False, weights=None, input_shape=(side_px, side_px, 3))


def with_head(inputs: Any, features: Any, *, softmax: bool, sees: Range = (0.0, 255.0)) -> Any:
    pooled = keras.layers.Dropout(0.3)(keras.layers.GlobalAveragePooling2D()(features))
    outputs = keras.layers.Dense(CATEGORIES, activation="softmax" if softmax else None, name="predictions")(pooled)
    return trained(keras.Model(inputs, outputs), int(inputs.shape[1]), sees=sees)


def nested(kind: str, side_px: int, *, inside: str = "", softmax: bool = True, sees: Range = (0.0, 255.0)) -> Any:
    inputs = keras.Input((side_px, side_px, 3))
    values = inputs
    if inside == "rescaling":
        values = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    if inside == "function":
        values = keras.applications.xception.preprocess_input(inputs)
    return with_head(inputs, backbone(kind, side_px)(values, training=False), softmax=softmax, sees=sees)


def flat(kind: str, side_px: int, *, softmax: bool = True, sees: Range = (0.0, 255.0)) -> Any:
    body = backbone(kind, side_px)
    return with_head(body.input, body.output, softmax=softmax, sees=sees)


def as_imagenet_builds_it(side_px: int) -> Any:
    """EfficientNetB0 with the scaling by channel that keras.applications inserts for ImageNet's weights."""
    body = backbone("EfficientNetB0", side_px)
    scale = [1.0 / deviation for deviation in (0.479, 0.473, 0.474)]

    def clone(layer: Any) -> Any:
        return layer.__class__.from_config(layer.get_config())

    def call(layer: Any, *arguments: Any, **named: Any) -> Any:
        result = layer(*arguments, **named)
        return keras.layers.Rescaling(scale)(result) if type(layer).__name__ == "Normalization" else result

    copied = keras.models.clone_model(body, clone_function=clone, call_function=call)
    return with_head(copied.input, copied.output, softmax=True)


@pytest.mark.parametrize(
    ("make", "side_px", "preprocessing", "ends_in", "architecture_name", "found"),
    [
        (lambda: nested("EfficientNetB0", 32), 32, "own", "softmax", "efficientnetb0", "own"),
        (lambda: flat("EfficientNetB1", 32, softmax=False), 32, "0-255", "logits", "efficientnetb1", "0-255"),
        (lambda: as_imagenet_builds_it(32), 32, "own", "softmax", "efficientnetb0", "own"),
        (lambda: flat("Xception", 71, sees=CENTRED), 71, "-1-1", "softmax", "xception", "-1-1"),
        (lambda: nested("Xception", 71, softmax=False, sees=(0.0, 1.0)), 71, "0-1", "logits", "xception", "0-1"),
        (lambda: nested("Xception", 71, inside="rescaling", sees=CENTRED), 71, "0-255", "softmax", "xception", "own"),
        (
            lambda: nested("Xception", 71, inside="function", sees=CENTRED),
            71,
            "0-255",
            "softmax",
            "xception",
            "own",
        ),
    ],
)
def test_a_rebuilt_network_gives_the_same_answers(
    make: Any, side_px: int, preprocessing: str, ends_in: str, architecture_name: str, found: str, tmp_path: Path
) -> None:
    original, path = make(), tmp_path / "theirs.keras"
    original.save(path)
    spec, rebuilt = rebuild(ForeignNetwork(path, side_px, CATEGORIES, preprocessing, ends_in))
    assert (spec.architecture, spec.preprocessing, spec.input_px) == (architecture_name, found, side_px)

    squares = generated_samples(side_px)[::-1]
    ranges = {"0-1": squares / 255.0, "-1-1": squares / 127.5 - 1, "0-255": squares, "own": squares}
    expected = original(np.asarray(ranges[preprocessing], np.float32), training=False)
    expected = keras.ops.softmax(expected) if ends_in == "logits" else expected
    answers = keras.ops.softmax(rebuilt(network_input(squares, spec), training=False))
    assert np.ptp(np.asarray(expected), axis=0).max() > 0.01, "the samples must be told apart, or this says nothing"
    np.testing.assert_allclose(np.asarray(answers), np.asarray(expected), atol=1e-3)


class Doubled(keras.layers.Layer):  # type: ignore[misc]  # keras ships no types
    def call(self, inputs: Any) -> Any:
        return inputs * 2


def doubled(values: Any) -> Any:
    return values * 2


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (lambda: keras.layers.Lambda(lambda values: values * 2), "holds a Lambda layer"),
        (Doubled, "holds the custom object 'Doubled'"),
        (lambda: keras.layers.Activation(doubled), "holds the custom object 'function' of builtins"),
    ],
)
def test_a_file_with_code_is_refused_before_the_network_is_built(layer: Any, sentence: str, tmp_path: Path) -> None:
    inputs = keras.Input((32, 32, 3))
    path = tmp_path / "theirs.keras"
    keras.Model(inputs, layer()(inputs)).save(path)
    with pytest.raises(ReleaseError, match=sentence):
        refuse_code(path)
    with pytest.raises(ReleaseError, match=sentence):
        rebuild(ForeignNetwork(path, 32, CATEGORIES))


def test_keras_itself_does_not_run_a_lambda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = keras.Input((32, 32, 3))
    path = tmp_path / "theirs.keras"
    keras.Model(inputs, keras.layers.Lambda(lambda values: values * 2)(inputs)).save(path)
    monkeypatch.setattr(rebuilding, "refuse_code", lambda _: None)
    with pytest.raises(ReleaseError, match=r"Keras 3\.\S+ cannot load .*Lambda"):
        rebuild(ForeignNetwork(path, 32, CATEGORIES))


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        (keras.__version__, r"wrote \(.*\); save the model there again$"),
        (
            "3.99.0",
            r"wrote \(.*\); save the model there with model\.save\('\.\.\.\.h5'\), .* give them with --expected$",
        ),
        ("", r"which an unknown version of Keras wrote \(.*\); save the model there again$"),
    ],
)
def test_a_file_that_keras_cannot_load_says_which_keras_wrote_it(version: str, sentence: str, tmp_path: Path) -> None:
    nested("EfficientNetB0", 32).save(tmp_path / "whole.keras")
    with zipfile.ZipFile(tmp_path / "whole.keras") as whole, zipfile.ZipFile(tmp_path / "theirs.keras", "w") as theirs:
        config = json.loads(whole.read("config.json"))
        config["config"]["layers"][-1]["config"]["new_option"] = 1
        theirs.writestr("config.json", json.dumps(config))
        theirs.writestr("metadata.json", json.dumps({"keras_version": version} if version else {}))
        theirs.writestr("model.weights.h5", whole.read("model.weights.h5"))
    with pytest.raises(
        ReleaseError, match=rf"^Keras {re.escape(keras.__version__)} cannot load .*{re.escape(version)} {sentence}"
    ):
        rebuild(ForeignNetwork(tmp_path / "theirs.keras", 32, CATEGORIES))


def test_a_file_of_another_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.h5"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ReleaseError, match=r"does not end in \.keras"):
        refuse_code(path)


def test_a_network_with_the_same_answer_for_all_samples_is_refused(tmp_path: Path) -> None:
    original, path = nested("EfficientNetB0", 32), tmp_path / "theirs.keras"
    kernel, bias = original.get_layer("predictions").get_weights()
    original.get_layer("predictions").set_weights([kernel * 0, bias])
    original.save(path)
    with pytest.raises(ReleaseError, match=r"answers all 16 samples alike.*--samples"):
        rebuild(ForeignNetwork(path, 32, CATEGORIES))


def test_the_value_range_with_the_closest_answers_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, path = nested("Xception", 71, inside="rescaling", sees=CENTRED), tmp_path / "theirs.keras"
    original.save(path)
    monkeypatch.setattr(rebuilding, "TOLERANCE", 1.0)
    spec, _ = rebuild(ForeignNetwork(path, 71, CATEGORIES, "0-255"))
    assert spec.preprocessing == "own"


def test_a_keras_function_instead_of_a_layer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.keras"
    hostile = {"module": "keras.utils", "class_name": "get_file", "config": {"origin": "http://example.org"}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Functional", "config": {"layers": [hostile]}}))
    with pytest.raises(ReleaseError, match=r"'get_file' of keras.utils"):
        refuse_code(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"input_px": 64}, "correct --input-px"),
        ({"categories": 5}, "tells 4 categories apart and 5 are named"),
        ({"ends_in": "logits"}, "answers differently"),
    ],
)
def test_wrong_input_size_or_categories_give_one_sentence(
    change: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.keras"
    nested("EfficientNetB0", 32).save(path)
    told = {"path": path, "input_px": 32, "categories": CATEGORIES, **change}
    with pytest.raises(ReleaseError, match=sentence):
        rebuild(ForeignNetwork(**told))


def test_rounding_in_half_precision_does_not_count_as_a_difference(tmp_path: Path) -> None:
    """A network that was trained in float16 is compared as it computes in float32."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        original = nested("EfficientNetB0", 32)
        original.save(tmp_path / "theirs.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    spec, rebuilt = rebuild(ForeignNetwork(tmp_path / "theirs.keras", 32, CATEGORIES))
    squares = generated_samples(32)
    halves = np.asarray(original(np.asarray(squares, np.float32), training=False), np.float32)
    answers = np.asarray(keras.ops.softmax(rebuilt(network_input(squares, spec), training=False)))
    assert np.abs(halves - answers).max() > TOLERANCE, "in float16 it rounds, or this says nothing"
    assert np.median(np.abs(halves - answers)) < 0.05


def test_an_input_smaller_than_the_architecture_allows_gives_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "theirs.keras"
    body = keras.applications.Xception(include_top=False, weights=None, input_shape=(None, None, 3), pooling="avg")
    keras.Model(body.input, keras.layers.Dense(CATEGORIES, "softmax")(body.output)).save(path)
    with pytest.raises(ReleaseError, match=r"looks like xception, .* at least 71 px, received 64; correct --input-px"):
        rebuild(ForeignNetwork(path, 64, CATEGORIES))


@pytest.mark.parametrize("inputs", [[(32, 32)], [(32, 32, 1, 3)], [(32, 32, 3), (4,)]])
def test_a_network_without_an_image_input_gives_one_sentence(inputs: list[tuple[int, ...]], tmp_path: Path) -> None:
    path = tmp_path / "theirs.keras"
    given = [keras.Input(shape) for shape in inputs]
    flat = [keras.layers.Flatten()(one) for one in given]
    whole = keras.layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
    keras.Model(given if len(given) > 1 else given[0], keras.layers.Dense(CATEGORIES, "softmax")(whole)).save(path)
    with pytest.raises(ReleaseError, match=r"takes inputs of .*, not \(32, 32, 3\); correct --input-px, or give"):
        rebuild(ForeignNetwork(path, 32, CATEGORIES))


def test_a_network_of_another_family_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.keras"
    nested("MobileNetV2", 32).save(path)
    with pytest.raises(ReleaseError, match="none of the known architectures"):
        rebuild(ForeignNetwork(path, 32, CATEGORIES))


def test_a_file_that_is_not_a_keras_file_gives_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.keras").write_text("hello")
    for name, described in (("list", "[]"), ("deep", "[" * 100_000)):
        with zipfile.ZipFile(tmp_path / f"{name}.keras", "w") as archive:
            archive.writestr("config.json", described)
    with zipfile.ZipFile(tmp_path / "damaged.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps({"name": ["layer"] * 500}))
    content = bytearray((tmp_path / "damaged.keras").read_bytes())
    content[45:60] = b"\xff" * 15
    (tmp_path / "damaged.keras").write_bytes(content)
    locked = bytearray((tmp_path / "list.keras").read_bytes())
    for flags in (locked.index(b"PK\x03\x04") + 6, locked.index(b"PK\x01\x02") + 8):
        locked[flags] |= 1  # says that its entry needs a password
    (tmp_path / "locked.keras").write_bytes(locked)
    for name in ("notes.keras", "absent.keras", "list.keras", "deep.keras", "damaged.keras", "locked.keras"):
        with pytest.raises(ReleaseError, match=name):
            refuse_code(tmp_path / name)


def test_weights_of_another_size_do_not_fit() -> None:
    target = architecture("efficientnetb0").build(input_px=32, categories=3)
    with pytest.raises(ForeignWeights, match="give weights of efficientnetb0"):
        copy_backbone(backbone("EfficientNetB1", 32), target)
    with pytest.raises(ForeignWeights, match="give weights of efficientnetb0"):
        copy_backbone(backbone("Xception", 71), target)


def test_every_architecture_accepts_its_smallest_input() -> None:
    assert set(ARCHITECTURES) == set(INPUT_PX)
    for name in ("efficientnetb0", "xception"):
        model = architecture(name).build(input_px=INPUT_PX[name][0], categories=2)
        assert model.output_shape == (None, 2)


def test_every_efficientnet_has_the_size_and_input_of_its_name() -> None:
    """The sides are those of Tan and Le, 2019, arXiv:1905.11946, as keras.applications has them."""
    sides = (224, 240, 260, 300, 380, 456, 528, 600)
    for number, side_px in enumerate(sides):
        found: Any = architecture(f"efficientnetb{number}")
        assert (found.size, INPUT_PX[f"efficientnetb{number}"]) == (f"B{number}", (32, side_px))
        assert hasattr(keras.applications, f"EfficientNet{found.size}")
    assert len(ARCHITECTURES) == len(sides) + 1

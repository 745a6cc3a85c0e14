"""Heads of foreign networks: folded into one Dense layer, kept as a small head, or refused with the layer's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import models.foreign.rebuild as rebuilding
from models import release_checks
from models.foreign.expected import generated_samples
from models.foreign.heads import ForeignHead, read_head, split
from models.foreign.rebuild import TOLERANCE, ForeignNetwork, rebuild
from models.networks import registry
from models.networks.backbones import HEAD, every_layer, stored_layers
from models.networks.inputs import network_input
from models.networks.weights import save_weights, to_float16
from models.release import Release, ReleaseError, load_network, load_release, save_release, sha256_of
from models.serving.keras_engine import LoadedKerasNetworks
from models.spec import Category, Head, HeadLayer
from tests.unit.models.test_foreign import CATEGORIES, backbone, trained

layers = keras.layers
Make = Callable[[Any], Any]
SIDE_PX = 32


class Small:
    """An architecture of two convolutions, whose layers are called as EfficientNet calls its first and last ones."""

    def body(self, input_px: int) -> Any:
        inputs = values = keras.Input((input_px, input_px, 3))
        for name, width in (("stem", 6), ("top", 12)):
            values = layers.Conv2D(width, 3, strides=2, name=f"{name}_conv")(values)
            values = layers.BatchNormalization(name=f"{name}_bn")(values)
            values = layers.Activation("swish", name=f"{name}_activation")(values)
        return keras.Model(inputs, values)

    def backbone(self, *, input_px: int, weights: str | None = None, pooling: str = "avg") -> Any:
        body = self.body(input_px)
        pooled = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}[pooling]
        return keras.Model(body.input, pooled()(body.output))

    def build(self, *, input_px: int, categories: int, dropout: float = 0.0) -> Any:
        body = self.backbone(input_px=input_px)
        pooled = layers.Dropout(dropout)(body.output)
        return keras.Model(body.input, layers.Dense(categories, name="logits")(pooled), name="efficientnet-small")

    def preprocess(self, images: Any) -> Any:
        return images


SMALL = Small()


@pytest.fixture(autouse=True)
def small_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no network be tried but a small one, and EfficientNetB0."""
    known = {"efficientnet-small": f"{__name__}:SMALL", "efficientnetb0": "models.networks.efficientnet:B0"}
    for module in (rebuilding, registry, release_checks):
        monkeypatch.setattr(module, "ARCHITECTURES", known)
    monkeypatch.setitem(registry.INPUT_PX, "efficientnet-small", (32, 32))


def with_head(head: Make, *, kind: str = "small", flat: bool = False) -> Any:
    """Return a network with a head whose BatchNormalization has seen features that are far from 0 and 1."""
    body = SMALL.body(SIDE_PX) if kind == "small" else backbone("EfficientNetB0", SIDE_PX)
    inputs = body.input if flat else keras.Input((SIDE_PX, SIDE_PX, 3))
    features = body.output if flat else body(inputs, training=False)
    model = trained(keras.Model(inputs, head(features)), SIDE_PX, sees=(0.0, 255.0))
    random = np.random.default_rng(11)
    names = {layer.name for layer in split(stored_layers(model))[1]}
    for layer in every_layer(model):
        if layer.name in names and isinstance(layer, layers.BatchNormalization):
            drawn = {"gamma": (0.5, 2), "beta": (-1, 1), "moving_mean": (-1, 1), "moving_variance": (0.2, 3)}
            for name, (least, most) in drawn.items():
                if (weight := getattr(layer, name)) is not None:
                    weight.assign(random.uniform(least, most, weight.shape))
    return model


def saved(path: Path, head: Make, *, kind: str = "small", flat: bool = False) -> Any:
    model = with_head(head, kind=kind, flat=flat)
    model.save(path)
    return model


def tutorial(features: Any, **options: Any) -> Any:
    """Put the head of Keras's own guide to fine-tuning an EfficientNet on a backbone."""
    values = layers.GlobalAveragePooling2D(name="avg_pool")(features)
    values = layers.BatchNormalization(name="head_norm", **options)(values)
    values = layers.Dropout(0.2, name="top_dropout")(values)
    return layers.Dense(CATEGORIES, activation="softmax", name="pred")(values)


def numbered(features: Any) -> Any:
    """Normalise before pooling, with a name as Keras makes it up, and without either of the learned numbers."""
    values = layers.BatchNormalization(scale=False, center=False, epsilon=0.1)(features)
    values = layers.Dense(CATEGORIES, use_bias=False)(layers.GlobalAveragePooling2D()(values))
    return layers.Activation("softmax")(values)


def several(features: Any) -> Any:
    values = layers.Dense(9)(layers.BatchNormalization()(layers.GlobalAveragePooling2D()(features)))
    values = layers.Dense(CATEGORIES)(layers.Activation("linear")(layers.BatchNormalization(center=False)(values)))
    return layers.Softmax()(layers.BatchNormalization(scale=False)(values))


@pytest.mark.parametrize(
    ("head", "kind", "flat"),
    [
        (tutorial, "b0", True),
        (tutorial, "small", True),
        (tutorial, "small", False),
        (numbered, "small", True),
        (several, "small", False),
    ],
)
def test_layers_before_the_last_dense_layer_are_folded_into_it(
    head: Make, kind: str, flat: bool, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.keras"
    original = saved(path, head, kind=kind, flat=flat)
    spec, rebuilt = rebuild(ForeignNetwork(path, SIDE_PX, CATEGORIES))
    assert spec.architecture.endswith(kind)
    assert spec.head is None
    squares = generated_samples(SIDE_PX)[::-1]
    expected = np.asarray(original(squares.astype(np.float32), training=False))
    assert np.ptp(expected, axis=0).max() > 0.01, "the samples must be told apart, or this says nothing"
    answers = np.asarray(keras.ops.softmax(rebuilt(network_input(squares, spec), training=False)))
    np.testing.assert_allclose(answers, expected, atol=TOLERANCE / 100)


def pooled(features: Any) -> Any:
    return layers.GlobalAveragePooling2D()(features)


def last(values: Any) -> Any:
    return layers.Dense(CATEGORIES, "softmax", name="pred")(values)


def hidden(features: Any) -> Any:
    """Put the commonest head of all on a backbone."""
    return last(layers.Dropout(0.5)(layers.Dense(16, "relu", name="hidden")(pooled(features))))


def bent(features: Any) -> Any:
    return last(layers.ReLU(name="bend")(layers.BatchNormalization()(pooled(features))))


def largest(features: Any) -> Any:
    return last(layers.GlobalMaxPooling2D(name="largest")(features))


def of_all_kinds(features: Any) -> Any:
    values = layers.GlobalMaxPooling2D(keepdims=True)(features)
    values = layers.GaussianNoise(0.1)(layers.Flatten()(values))
    values = layers.Dense(9, use_bias=False)(layers.BatchNormalization(center=False)(values))
    values = layers.PReLU(alpha_initializer="ones")(layers.BatchNormalization()(values))
    values = layers.Dense(8, activation=layers.LeakyReLU(0.3))(values)
    values = layers.BatchNormalization(scale=False)(layers.ReLU(max_value=0.5, negative_slope=0.1)(values))
    values = layers.Activation("tanh")(layers.Dense(7)(layers.ELU(0.7)(values)))
    return layers.Softmax()(layers.Dense(CATEGORIES, "relu")(values))


def named(activation: str) -> Make:
    return lambda features: last(layers.Dense(16, activation)(pooled(features)))


ACTIVATIONS = (
    *("relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "swish", "mish"),
    *("tanh", "sigmoid", "softplus", "softsign", "hard_sigmoid", "hard_silu", "hard_swish"),
)


def released(path: Path, spec: Any, model: Any, *, half: bool = False) -> tuple[Release, Path]:
    """Write a rebuilt network as a release and read it again."""
    full, weights = path / "full.weights.h5", path / "half.weights.h5"
    save_weights(model, full)
    to_float16(full, weights)
    weights = weights if half else full
    network = replace(spec, weights_sha256=sha256_of(weights))
    categories = tuple(Category(name, name) for name in "abcd")
    save_release(
        Release("theirs", "t", categories, (network,), 1.0), path / "theirs", weights={spec.architecture: weights}
    )
    return load_release(path / "theirs"), path / "theirs"


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("head", [hidden, bent, largest, of_all_kinds, *map(named, ACTIVATIONS)])
def test_a_head_with_hidden_layers_answers_the_same_in_a_release(head: Make, flat: bool, tmp_path: Path) -> None:
    original = saved(tmp_path / "theirs.keras", head, flat=flat)
    spec, rebuilt = rebuild(ForeignNetwork(tmp_path / "theirs.keras", SIDE_PX, CATEGORIES))
    assert spec.head is not None
    squares = generated_samples(SIDE_PX)[::-1]
    expected = np.asarray(original(squares.astype(np.float32), training=False))
    assert np.ptp(expected, axis=0).max() > 0.01, "the samples must be told apart, or this says nothing"
    release, directory = released(tmp_path, spec, rebuilt)
    assert release.networks[0].head == spec.head
    loaded = load_network(release, directory, release.networks[0])
    answers = np.asarray(keras.ops.softmax(loaded(network_input(squares, spec), training=False)))
    np.testing.assert_allclose(answers, expected, atol=TOLERANCE / 100)


def test_a_head_answers_nearly_the_same_in_half_precision(tmp_path: Path) -> None:
    original = saved(tmp_path / "theirs.keras", of_all_kinds)
    spec, rebuilt = rebuild(ForeignNetwork(tmp_path / "theirs.keras", SIDE_PX, CATEGORIES))
    release, directory = released(tmp_path, spec, rebuilt, half=True)
    squares = generated_samples(SIDE_PX)
    expected = np.asarray(original(squares.astype(np.float32), training=False))
    answers, features = LoadedKerasNetworks(release, directory, precision="mixed_float16")(squares)
    np.testing.assert_allclose(np.asarray(answers), expected, atol=0.02)
    # What the last layer receives lies behind the layers of the head, not before them.
    last = load_network(release, directory, release.networks[0]).get_layer(HEAD)
    np.testing.assert_allclose(np.asarray(keras.ops.softmax(last(features))), expected, atol=0.02)
    assert np.asarray(features).dtype == np.float32


def test_runs_of_affine_layers_become_one_layer(tmp_path: Path) -> None:
    saved(tmp_path / "theirs.keras", of_all_kinds)
    spec, _ = rebuild(ForeignNetwork(tmp_path / "theirs.keras", SIDE_PX, CATEGORIES))
    kinds = [(layer.kind, layer.units) for layer in spec.head.layers] if spec.head else []
    assert kinds == [
        *(("dense", 9), ("prelu", 0), ("dense", 8), ("relu", 0), ("relu", 0), ("scale", 0)),
        *(("elu", 0), ("dense", 7), ("tanh", 0), ("dense", CATEGORIES), ("relu", 0)),
    ]
    assert spec.head == Head("max", spec.head.layers if spec.head else ())
    assert spec.head.layers[4] == HeadLayer("relu", slope=0.1, limit=0.5)


def by_image(features: Any) -> Any:
    values = layers.LayerNormalization(name="by_image")(layers.GlobalAveragePooling2D()(features))
    return layers.Dense(CATEGORIES, "softmax")(values)


def both_poolings(features: Any) -> Any:
    pooled = [layers.GlobalAveragePooling2D()(features), layers.GlobalMaxPooling2D()(features)]
    return layers.Dense(CATEGORIES, "softmax", name="pred")(layers.Concatenate()(pooled))


def softmax_inside(features: Any) -> Any:
    return last(layers.Dense(5, "softmax", name="inside")(pooled(features)))


def before_pooling(features: Any) -> Any:
    return last(pooled(layers.Dense(5, "relu", name="early")(features)))


def scaled_before_maximum(features: Any) -> Any:
    return last(layers.GlobalMaxPooling2D(name="largest")(layers.BatchNormalization()(features)))


def exponential(features: Any) -> Any:
    return last(layers.Dense(5, "exponential", name="steep")(pooled(features)))


def log_softmax(features: Any) -> Any:
    return last(layers.Dense(5, "log_softmax", name="logs")(pooled(features)))


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        (by_image, r"\(LayerNormalization 'by_image' cannot be served\); give it a head of"),
        (both_poolings, r"\(GlobalMaxPooling2D .* pools a second time\)"),
        (softmax_inside, r"\(Dense 'pred' \(softmax\) stands behind a softmax\)"),
        (before_pooling, r"\(Dense 'early' \(relu\) stands before the pooling\)"),
        (scaled_before_maximum, r"\(GlobalMaxPooling2D 'largest' stands behind other layers\)"),
        (exponential, r"\(Dense 'steep' \(exponential\) cannot be served\)"),
        (log_softmax, r"\(Dense 'logs' \(log_softmax\) cannot be served\)"),
    ],
)
def test_a_layer_that_cannot_be_served_is_named(head: Make, sentence: str, tmp_path: Path) -> None:
    saved(tmp_path / "theirs.keras", head)
    with pytest.raises(ReleaseError, match=rf"theirs.keras is efficientnet-small with a head of .*{sentence}"):
        rebuild(ForeignNetwork(tmp_path / "theirs.keras", SIDE_PX, CATEGORIES))


def one_against_all(features: Any) -> Any:
    return layers.Dense(CATEGORIES, "sigmoid")(pooled(features))


def hard_against_all(features: Any) -> Any:
    return layers.Dense(CATEGORIES, "hard_sigmoid")(pooled(features))


def two_classes(features: Any) -> Any:
    return layers.Activation("sigmoid")(layers.Dense(1)(pooled(features)))


def flattened(features: Any) -> Any:
    return last(layers.Dense(5, "relu")(layers.Flatten()(features)))


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        (one_against_all, "its outputs are sigmoids, .* train the last layer with softmax"),
        (hard_against_all, "its outputs are sigmoids"),
        (two_classes, "its outputs are sigmoids"),
        (flattened, "its head flattens the feature map, .* put GlobalAveragePooling2D in the place of Flatten"),
    ],
)
def test_a_head_of_another_kind_is_refused_with_what_to_do(head: Make, sentence: str, tmp_path: Path) -> None:
    saved(tmp_path / "theirs.keras", head)
    with pytest.raises(ReleaseError, match=sentence):
        rebuild(ForeignNetwork(tmp_path / "theirs.keras", SIDE_PX, CATEGORIES))


def test_the_error_for_another_backbone_names_the_difference(tmp_path: Path) -> None:
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    features = SMALL.body(SIDE_PX)(layers.Conv2D(3, 1, name="before")(inputs))
    keras.Model(inputs, tutorial(features)).save(tmp_path / "theirs.keras")
    with pytest.raises(
        ReleaseError, match=r"applications \(.* is not efficientnet-small: it has a layer 'before' that"
    ):
        rebuild(ForeignNetwork(tmp_path / "theirs.keras", SIDE_PX, CATEGORIES))


def test_a_head_without_a_dense_layer_is_refused() -> None:
    pooled_alone = keras.Sequential([keras.Input((3,)), layers.Dropout(0.1), layers.Softmax()])
    with pytest.raises(ForeignHead, match="there is no Dense layer in it"):
        read_head(stored_layers(pooled_alone), features=3, outputs=3)

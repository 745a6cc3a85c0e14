"""Files that Keras 2 wrote: read layer by layer, compared with the answers that were written down, or refused."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from models.foreign.expected import ExpectedAnswers, generated_samples, read_expected
from models.foreign.files import ForeignFile, foreign_file, layer_configs, refuse_code
from models.foreign.keras2 import read_layers
from models.foreign.rebuild import TOLERANCE, ForeignNetwork, rebuild
from models.networks.backbones import stored_layers
from models.networks.inputs import network_input
from models.release import ReleaseError
from tests import keras2_files
from tests.unit.models.test_foreign import CATEGORIES
from tests.unit.models.test_foreign_heads import SIDE_PX, hidden, of_all_kinds, small_world, with_head

__all__ = ["small_world"]
SQUARES = generated_samples(SIDE_PX)
BY_2 = r"was written by Keras 2\.15\.0"


def write_old_archive(model: Any, path: Path) -> None:
    keras2_files.write_archive(model, path, container="_layer_checkpoint_dependencies", version="2.12.0")


def write_hdf5_of_keras_3(model: Any, path: Path) -> None:
    model.save(path)  # the ending .h5 chooses the format of Keras 2; Keras 3 writes names of arrays without :0


WRITERS = [
    (write_hdf5_of_keras_3, "theirs.h5"),
    (keras2_files.write_hdf5, "theirs.h5"),
    (keras2_files.write_hdf5, "theirs.keras"),  # what Keras 2.11 wrote under that name
    (keras2_files.write_archive, "theirs.keras"),
    (write_old_archive, "theirs.keras"),
]


def rewritten(path: Path, entry: str, content: bytes) -> None:
    """Replace an entry of an archive."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**entries, entry: content}.items():
            archive.writestr(name, data)


def told(model: Any) -> ExpectedAnswers:
    return ExpectedAnswers(SQUARES, np.asarray(model(SQUARES.astype(np.float32), training=False), np.float64))


@pytest.fixture(scope="module")
def nested() -> Any:
    keras.utils.set_random_seed(7)  # one network in many answers the samples nearly alike
    return with_head(hidden)


@pytest.fixture(scope="module")
def flat() -> Any:
    keras.utils.set_random_seed(7)  # one network in many answers the samples nearly alike
    return with_head(of_all_kinds, flat=True)


@pytest.mark.parametrize("kind", ["nested", "flat"])
@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_the_weights_of_every_layer_are_read(
    kind: str, write: Callable[[Any, Path], None], name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(kind)
    write(model, tmp_path / name)
    file = foreign_file(tmp_path / name)
    assert not file.loadable
    found = read_layers(file, layer_configs(file))
    wanted = stored_layers(model)
    assert [(layer.name, layer.kind, len(layer.weights)) for layer in found] == [
        (layer.name, layer.kind, len(layer.weights)) for layer in wanted
    ]
    for layer, like in zip(found, wanted, strict=True):
        for values, expected in zip(layer.weights, like.weights, strict=True):
            np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize(
    ("write", "name", "kind"),
    [
        (write_hdf5_of_keras_3, "theirs.h5", "nested"),
        (write_hdf5_of_keras_3, "theirs.h5", "flat"),
        (keras2_files.write_hdf5, "theirs.h5", "nested"),
        (keras2_files.write_archive, "theirs.keras", "flat"),
    ],
)
def test_a_network_of_keras_2_is_rebuilt_to_the_answers_written_down(
    write: Callable[[Any, Path], None], name: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(kind)
    write(model, tmp_path / name)
    spec, rebuilt = rebuild(ForeignNetwork(tmp_path / name, SIDE_PX, CATEGORIES), expected=told(model))
    assert spec.head is not None
    others = SQUARES[:, ::-1]
    expected = np.asarray(model(others.astype(np.float32), training=False))
    answers = np.asarray(keras.ops.softmax(rebuilt(network_input(others, spec), training=False)))
    np.testing.assert_allclose(answers, expected, atol=TOLERANCE / 100)


def hard(features: Any) -> Any:
    values = keras.layers.GlobalAveragePooling2D()(features)
    values = keras.layers.Dense(16, "hard_sigmoid", name="hidden")(keras.layers.Dense(9, "tanh")(values))
    values = keras.layers.Activation("hard_sigmoid")(keras.layers.BatchNormalization(name="spread")(values))
    return keras.layers.Dense(CATEGORIES, "softmax")(values)


@pytest.mark.parametrize("write", [keras2_files.write_hdf5, write_hdf5_of_keras_3])
def test_the_hard_sigmoid_is_that_of_the_keras_that_wrote_the_file(
    write: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    """Keras 2 has 0.2 x + 0.5, Keras 3 has x / 6 + 0.5: what stands before it counts 1.2 times as much in Keras 2."""
    keras.utils.set_random_seed(7)  # one network in many answers the samples nearly alike
    model = with_head(hard)
    spread = model.get_layer("spread")
    spread.moving_mean.assign(spread.moving_mean * 0 + 0.5)
    spread.moving_variance.assign(spread.moving_variance * 0 + 0.01)  # so that it lies on both sides of its bends
    write(model, tmp_path / "theirs.h5")
    of_keras_3 = told(model)
    for name, parts in (("hidden", 2), ("spread", 2)):
        layer = model.get_layer(name)
        values = layer.get_weights()
        layer.set_weights([*(value * np.float32(1.2) for value in values[:parts]), *values[parts:]])
    of_keras_2 = told(model)
    assert np.abs(of_keras_2.answers - of_keras_3.answers).max() > 10 * TOLERANCE, "or this says nothing"
    answers = of_keras_2 if write is keras2_files.write_hdf5 else of_keras_3
    spec, rebuilt = rebuild(ForeignNetwork(tmp_path / "theirs.h5", SIDE_PX, CATEGORIES), expected=answers)
    found = np.asarray(keras.ops.softmax(rebuilt(network_input(SQUARES, spec), training=False)))
    np.testing.assert_allclose(found, answers.answers, atol=TOLERANCE / 100)


def test_an_hdf5_file_of_keras_3_says_so(nested: Any, tmp_path: Path) -> None:
    write_hdf5_of_keras_3(nested, tmp_path / "theirs.h5")
    assert foreign_file(tmp_path / "theirs.h5").writer == f"Keras {keras.__version__}"
    with pytest.raises(
        ReleaseError,
        match=rf"written by Keras {re.escape(keras.__version__)} .* save it with model\.save\('\.\.\.\.keras'\), or",
    ):
        rebuild(ForeignNetwork(tmp_path / "theirs.h5", SIDE_PX, CATEGORIES))


def test_without_expected_answers_or_with_others_it_is_refused(nested: Any, tmp_path: Path) -> None:
    path = tmp_path / "theirs.h5"
    keras2_files.write_hdf5(nested, path)
    with pytest.raises(ReleaseError, match=r"written by Keras 2\.15\.0 .* give them with --expected"):
        rebuild(ForeignNetwork(path, SIDE_PX, CATEGORIES))
    right = told(nested)
    wrong = ExpectedAnswers(right.images, np.roll(right.answers, 1, axis=0))
    with pytest.raises(ReleaseError, match="answers differently"):
        rebuild(ForeignNetwork(path, SIDE_PX, CATEGORIES), expected=wrong)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"model_config": None},
            rf"{BY_2} and holds weights without a description of their network; save the whole model with model\.save",
        ),
        ({"keras_version": "1.2.2"}, r"was written by Keras 1\.2\.2 on tensorflow, .* load it with Keras 2"),
        ({"backend": "theano"}, r"was written by Keras 2\.15\.0 on theano"),
        *(({"model_config": text}, rf"{BY_2} and does not describe its layers") for text in ("[]", "{", "[" * 50_000)),
        ({"model_config": "{", "keras_version": None}, "by an unknown version of Keras and does not describe"),
    ],
)
def test_a_file_that_cannot_be_read_says_who_wrote_it_and_what_to_do(
    changes: dict[str, Any], sentence: str, nested: Any, tmp_path: Path
) -> None:
    keras2_files.write_hdf5(nested, tmp_path / "theirs.h5", **changes)
    with pytest.raises(ReleaseError, match=sentence):
        foreign_file(tmp_path / "theirs.h5")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({}, "and does not describe its layers as Keras does; save the model there again"),
        ({"layers": [{"class_name": ["Dense"]}]}, r"and has .* where the name of a layer was expected; save the model"),
    ],
)
def test_an_archive_without_layers_as_keras_describes_them_says_who_wrote_it(
    config: dict[str, Any], sentence: str, nested: Any, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.keras"
    keras2_files.write_archive(nested, path)
    rewritten(path, "config.json", json.dumps(config).encode())
    with pytest.raises(ReleaseError, match=rf"theirs\.keras {BY_2} {sentence}"):
        rebuild(ForeignNetwork(path, SIDE_PX, CATEGORIES), expected=told(nested))


@pytest.mark.parametrize("content", [b"[]", b"{", b"[" * 50_000])
def test_an_archive_whose_description_is_damaged_says_who_wrote_it(content: bytes, nested: Any, tmp_path: Path) -> None:
    keras2_files.write_archive(nested, tmp_path / "theirs.keras")
    rewritten(tmp_path / "theirs.keras", "config.json", content)
    with pytest.raises(ReleaseError, match=rf"{BY_2} and cannot be read \(.*\); save the model there again"):
        foreign_file(tmp_path / "theirs.keras")


def test_an_archive_whose_weights_are_damaged_says_who_wrote_it(nested: Any, tmp_path: Path) -> None:
    path = tmp_path / "theirs.keras"
    keras2_files.write_archive(nested, path)
    rewritten(path, "model.weights.h5", b"no HDF5")
    with pytest.raises(
        ReleaseError, match=r"theirs\.keras, which Keras 2\.15\.0 wrote, cannot be read .* save the model"
    ):
        rebuild(ForeignNetwork(path, SIDE_PX, CATEGORIES), expected=told(nested))


def test_weights_in_another_place_name_the_version(nested: Any, tmp_path: Path) -> None:
    path = tmp_path / "theirs.keras"
    keras2_files.write_archive(nested, path, container="elsewhere", version="2.11.0-tf")
    with pytest.raises(
        ReleaseError, match=r"by Keras 2\.11\.0-tf, .* \(no arrays of Conv2D 'stem_conv'\); load it with"
    ):
        rebuild(ForeignNetwork(path, SIDE_PX, CATEGORIES), expected=told(nested))


@pytest.mark.parametrize("name", ["theirs.h5", "theirs.keras"])
def test_weights_of_which_one_layer_lies_elsewhere_name_the_version(name: str, flat: Any, tmp_path: Path) -> None:
    """Without this, its backbone was said to be none of the known architectures."""
    path = tmp_path / name
    if name == "theirs.h5":
        keras2_files.write_hdf5(flat, path)
        with h5py.File(path, "a") as file:
            file["model_weights"].move("top_conv", "elsewhere")
    else:
        keras2_files.write_archive(flat, path)
        held = io.BytesIO(zipfile.ZipFile(path).read("model.weights.h5"))
        with h5py.File(held, "a") as file:
            for place in ("conv2d", "conv2d_1"):
                file["layers"].move(place, f"elsewhere_{place}")
        rewritten(path, "model.weights.h5", held.getvalue())
    with pytest.raises(ReleaseError, match=rf"{BY_2}, .* \(no arrays of Conv2D '(top|stem)_conv'\); load it with"):
        rebuild(ForeignNetwork(path, SIDE_PX, CATEGORIES), expected=told(flat))


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        ({"class_name": "Lambda", "config": {"name": "code", "function": ["4wEA"]}}, "holds a Lambda layer"),
        (
            {"class_name": "Mine", "config": {"name": "mine"}, "module": "shop.layers", "registered_name": "Mine"},
            "the custom object 'Mine' of shop.layers",
        ),
        ({"class_name": "Mine", "config": {"name": "mine"}, "registered_name": "Shop>Mine"}, "object 'Shop>Mine'"),
    ],
)
def test_code_in_a_file_of_keras_2_is_refused(
    layer: dict[str, Any], sentence: str, nested: Any, tmp_path: Path
) -> None:
    config = keras2_files.described(nested)
    config["config"]["layers"].append(layer)
    keras2_files.write_hdf5(nested, tmp_path / "theirs.h5", model_config=json.dumps(config))
    with pytest.raises(ReleaseError, match=sentence):
        refuse_code(foreign_file(tmp_path / "theirs.h5"))


def test_a_saved_model_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"as Keras 2 writes a SavedModel; .* model\.save\('\.\.\.\.h5'\)"):
        foreign_file(tmp_path)


def leads_out(file: h5py.File, place: Path) -> None:
    file["model_weights/elsewhere"] = h5py.ExternalLink(str(place / "secret.h5"), "/")


def stored_outside(file: h5py.File, place: Path) -> None:
    file.create_dataset("model_weights/raw", (4,), np.float32, external=[(str(place / "secret"), 0, 16)])


def virtual(file: h5py.File, place: Path) -> None:
    layout = h5py.VirtualLayout((4,), np.float32)
    layout[:] = h5py.VirtualSource(str(place / "secret.h5"), "values", (4,))
    file.create_virtual_dataset("model_weights/mirror", layout)


def too_large(file: h5py.File, place: Path) -> None:
    file.create_dataset("model_weights/bomb", (2**20, 2**20), np.float32, chunks=(1024, 1024), compression="gzip")


def many(file: h5py.File, place: Path) -> None:
    group = file.create_group("model_weights/many")
    for number in range(100):
        group.create_group(str(number))


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (leads_out, "links to another file at 'elsewhere'"),
        (stored_outside, "keeps 'raw' outside of itself"),
        (virtual, "keeps 'mirror' outside of itself"),
        (too_large, "claims to hold weights of over 4,398,0"),
        (many, "holds over 90 groups and arrays"),
    ],
)
@pytest.mark.parametrize("archived", [True, False])
def test_a_hostile_file_is_refused_before_its_arrays_are_read(
    harm: Any, sentence: str, archived: bool, nested: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.foreign.hdf5.MOST_OBJECTS", 90)
    path = tmp_path / ("theirs.keras" if archived else "theirs.h5")
    keras2_files.write_hdf5(nested, tmp_path / "theirs.h5")
    with h5py.File(tmp_path / "theirs.h5", "a") as file:
        harm(file, tmp_path)
    if archived:  # as Keras 3 writes it, which would load it
        nested.save(path)
        content = {}
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in content.items():
                archive.writestr(name, (tmp_path / "theirs.h5").read_bytes() if name.endswith(".h5") else data)
    with pytest.raises(ReleaseError, match=sentence):
        rebuild(ForeignNetwork(path, SIDE_PX, CATEGORIES), expected=told(nested))


def test_one_array_under_many_names_is_not_read_many_times(
    nested: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "theirs.h5"
    config = keras2_files.described(nested)
    names = [f"copy_{number}" for number in range(100)]
    config["config"]["layers"] += [
        {"class_name": "Dense", "config": {"units": 1}, "name": name, "inbound_nodes": []} for name in names
    ]
    keras2_files.write_hdf5(nested, path, model_config=json.dumps(config))
    with h5py.File(path, "a") as file:
        file["model_weights/large"] = np.zeros(1000, np.float32)
        for name in names:
            file.create_group(f"model_weights/{name}").attrs["weight_names"] = [b"/model_weights/large"]
    monkeypatch.setattr("models.foreign.keras2.MOST_BYTES", 100_000)
    with pytest.raises(ReleaseError, match="over 100,000 bytes are named"):
        rebuild(ForeignNetwork(path, SIDE_PX, CATEGORIES), expected=told(nested))


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ([{"class_name": "Dropout", "config": {"rate": 0.1}}] * 5001, r"5,0\d\d layers and sizes"),
        ([{"class_name": "Dense", "config": {"units": 10**9}}], "sizes up to 1,000,000,000"),
        ([{"class_name": "Conv2D", "config": {"filters": 3, "kernel_size": [10**6, 3]}}], "sizes up to 1,000,000"),
        (
            [{"class_name": "Dense", "config": {"units": 60_000}}] * 9,
            r"by Keras 3\.\S+, describes up to 32,4.* weights and",
        ),
    ],
)
def test_absurd_sizes_are_refused_before_anything_is_built(
    layers: list[dict[str, Any]], sentence: str, nested: Any, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.keras"
    nested.save(path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(content["config.json"])
    config["config"]["layers"] += layers
    content["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    with pytest.raises(ReleaseError, match=sentence):
        rebuild(ForeignNetwork(path, SIDE_PX, CATEGORIES))


def test_a_description_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.foreign.files.MOST_TEXT", 1000)
    with zipfile.ZipFile(tmp_path / "theirs.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", " " * 1001)
    with pytest.raises(ReleaseError, match=r"its config\.json has over 1,000 bytes"):
        foreign_file(tmp_path / "theirs.keras")


def expected_file(path: Path, **changes: Any) -> Path:
    answers = np.full((len(SQUARES), CATEGORIES), 1 / CATEGORIES)
    np.savez(path, **{"images": SQUARES, "answers": answers, **changes})
    return path


def test_expected_answers_are_read(tmp_path: Path) -> None:
    answers = np.random.default_rng(1).dirichlet(np.ones(CATEGORIES), len(SQUARES)).astype(np.float32)
    path = expected_file(tmp_path / "expected.npz", images=SQUARES.astype(np.float32), answers=answers)
    found = read_expected(path, input_px=SIDE_PX, categories=CATEGORIES)
    assert found.images.dtype == np.uint8
    np.testing.assert_array_equal(found.images, SQUARES)
    np.testing.assert_array_equal(found.answers, answers)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"images": SQUARES[:, :20]}, r"shape \(16, 20, 32, 3\), .* correct --input-px"),
        ({"images": SQUARES / 255}, "not whole numbers from 0 to 255"),
        ({"images": SQUARES[:1]}, "at least two"),
        ({"images": np.array([{}], object)}, "does not hold the arrays"),
        ({"answers": np.zeros((16, 7))}, r"shape \(16, 7\), and \(16, 4\) was expected"),
        ({"answers": np.full((16, 4), np.nan)}, "not all numbers"),
        ({"answers": np.zeros(())}, r"shape \(\), and"),
    ],
)
def test_wrong_expected_answers_give_one_sentence(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=sentence):
        read_expected(expected_file(tmp_path / "e.npz", **changes), input_px=SIDE_PX, categories=CATEGORIES)


def test_files_that_hold_no_expected_answers_give_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no")
    np.savez(tmp_path / "one.npz", images=SQUARES)
    header = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (10**6, SIDE_PX, SIDE_PX, 3)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(tmp_path / "claim.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue())
        archive.writestr("answers.npy", header.getvalue())
    with pytest.raises(ReleaseError, match=r"images\.npy claims to be uint8 of shape \(1000000, 32, 32, 3\)"):
        read_expected(tmp_path / "claim.npz", input_px=SIDE_PX, categories=CATEGORIES)
    for name in ("text", "one", "absent"):
        with pytest.raises(ReleaseError, match=rf"{name}\.npz (does not hold the arrays|cannot be read)"):
            read_expected(tmp_path / f"{name}.npz", input_px=SIDE_PX, categories=CATEGORIES)


def test_the_writer_is_named() -> None:
    assert ForeignFile(Path(), "", {}, True).writer == "an unknown version of Keras"

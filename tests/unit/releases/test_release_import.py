"""Taking in a network that somebody else trained: what it becomes, what is refused."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from jobs.dataset.parts import part_of
from jobs.errors import RunFailed, UsageError
from jobs.evaluation.config import EvaluateConfig
from jobs.releases import import_network, inspection, lookup
from jobs.releases.calibrate import Calibration, Promise, recalibrate
from jobs.releases.import_network import Import
from jobs.settings import Settings
from models.answers.decision import Answer, decide
from models.card import NAME
from models.foreign.expected import generated_samples
from models.networks.inputs import decode_square
from models.networks.origin import add_origin, origin_of
from models.release import ReleaseError, load_release
from models.serving.predictor import EnsemblePredictor
from models.spec import Category, Head, HeadLayer
from tests import keras2_files
from tests.conftest import picture
from tests.labelled import LEAVES, jpeg_of, write_labelled
from tests.unit.models.test_foreign import trained

PRODUCTS = [(f"product-{number:03d}", LEAVES[number % 3], [number % 3]) for number in range(90)]


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings()


def told(tmp_path: Path, **changes: Any) -> Import:
    keras.utils.set_random_seed(7)  # one network in many answers pictures of one colour nearly alike
    inputs = keras.Input((32, 32, 3))
    body = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    features = keras.layers.GlobalAveragePooling2D()(body(inputs))
    theirs = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(features))
    trained(theirs, 32, sees=(0.0, 255.0)).save(tmp_path / "theirs.keras")  # an untrained one says nothing apart
    (tmp_path / "classes.txt").write_text("a.one,A > One\na.two,a > two\nb,b\n")
    values = {
        "path": tmp_path / "theirs.keras",
        "release_id": "theirs-1",
        "input_px": 32,
        "categories": tmp_path / "classes.txt",
        "preprocessing": "own",
        "ends_in": "softmax",
        "taxonomy_version": "theirs",
    }
    return Import(**{**values, **changes})


def test_an_imported_release_publishes_nothing_until_it_is_calibrated(settings: Settings, tmp_path: Path) -> None:
    done = import_network.import_(settings, told(tmp_path))
    release = load_release(Path(done["release_dir"]))
    assert release.categories == (Category("a.one", "A > One"), Category("a.two", "a > two"), Category("b", "b"))
    assert release.networks[0].architecture == done["architecture"] == "efficientnetb0"
    assert set(release.thresholds.values()) == {None}
    for leaf, confidence in (("a.one", 0.34), ("b", 0.999999), ("a.two", 1.0)):
        others = (1 - confidence) / 2
        answer = decide({"a.one": others, "a.two": others, "b": others, leaf: confidence}, release.policy)
        assert answer == Answer(leaf, confidence, "review", "below_threshold"), (
            "until it is calibrated, all of them go to review"
        )
    many = {"a.one": 0.05, "b": 0.001}
    assert decide(many, release.policy) == Answer("a.one", 0.05, "review", "below_threshold"), "a suggestion too"
    assert (Path(done["release_dir"]) / NAME).is_file()
    with pytest.raises(UsageError, match="never changed"):
        import_network.import_(settings, told(tmp_path))


def test_a_file_of_keras_2_with_a_hidden_layer_becomes_a_sound_release(settings: Settings, tmp_path: Path) -> None:
    keras.utils.set_random_seed(7)
    inputs = keras.Input((32, 32, 3))
    body = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3), pooling="max")
    values = keras.layers.Dropout(0.5)(keras.layers.Dense(20, "relu")(body(inputs)))
    theirs = trained(keras.Model(inputs, keras.layers.Dense(3, "softmax")(values)), 32, sees=(0.0, 255.0))
    keras2_files.write_hdf5(theirs, tmp_path / "theirs.h5")
    images = generated_samples(32)
    answers = np.asarray(theirs(images.astype(np.float32), training=False))
    np.savez(tmp_path / "expected.npz", images=images, answers=answers)
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    places = {"path": tmp_path / "theirs.h5", "categories": tmp_path / "classes.txt"}
    config = replace(
        Import(**places, release_id="old-1", input_px=32, preprocessing="own", ends_in="softmax", taxonomy_version="t"),
        expected=tmp_path / "expected.npz",
    )
    directory = Path(import_network.import_(settings, config)["release_dir"])
    release = load_release(directory)
    assert release.networks[0].head == Head("max", (HeadLayer("dense", units=20), HeadLayer("relu")))
    assert inspection.verify(directory)["state"] == "sound"
    predicted = EnsemblePredictor(release, directory).predict(images).confidences
    np.testing.assert_allclose(predicted, answers, atol=1e-3)
    with pytest.raises(UsageError, match="--samples and --expected both give images"):
        import_network.import_(settings, replace(config, release_id="old-2", samples=tmp_path))


def hidden(pooling: str, *units: int) -> Any:
    """Return a network with hidden layers behind its pooling, which knows the colours of `tests.labelled`."""
    keras.utils.set_random_seed(7)
    inputs = keras.Input((32, 32, 3))
    body = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3), pooling=pooling)
    values = body(inputs)
    for width in units:
        values = keras.layers.Dense(width, "relu")(values)
    theirs = trained(keras.Model(inputs, keras.layers.Dense(3, "softmax")(values)), 32, sees=(0.0, 255.0))
    colours = np.stack([decode_square(jpeg_of(channel), 32) for channel in range(3)])
    seen = np.asarray(keras.Model(inputs, theirs.layers[-1].input)(colours.astype(np.float32), training=False))
    kernel = np.linalg.pinv(seen - seen.mean(axis=0)) * 6
    theirs.layers[-1].set_weights([kernel, -seen.mean(axis=0) @ kernel])
    return theirs


@pytest.mark.parametrize(("pooling", "units"), [("avg", (20,)), ("max", (20, 10))])
def test_an_imported_release_with_hidden_layers_is_calibrated(
    pooling: str, units: tuple[int, ...], settings: Settings, tmp_path: Path
) -> None:
    theirs = hidden(pooling, *units)
    config = told(tmp_path, samples=tmp_path / "samples")
    theirs.save(config.path)
    (tmp_path / "samples").mkdir()
    for channel in range(3):
        (tmp_path / "samples" / f"{channel}.jpg").write_bytes(jpeg_of(channel))
    config.categories.write_text("".join(f"{leaf}\n" for leaf in LEAVES))
    source = Path(import_network.import_(settings, config)["release_dir"])
    write_labelled(settings.places, PRODUCTS)
    target = source.with_name("theirs-2")
    done = recalibrate(Calibration(source, target, "train", EvaluateConfig(settings.places), Promise(0.6, 0.1)))
    before, after = load_release(source), load_release(target)
    [old], [new] = before.networks, after.networks
    assert (new.head, new.weights_sha256) == (old.head, old.weights_sha256)
    assert new.head is not None
    assert [layer.units for layer in new.head.layers if layer.kind == "dense"] == list(units)
    in_train = [part_of(name) for name, *_ in PRODUCTS].count("train")
    assert after.training["calibrated_on_products"] == in_train
    assert after.known is not None
    assert after.known.calibrated_on == in_train
    assert set(after.promises) == set(LEAVES)
    assert any(after.thresholds[leaf] is not None for leaf in LEAVES), "it publishes something now"
    assert done["test_products"] == [part_of(name) for name, *_ in PRODUCTS].count("test")
    images = generated_samples(32)
    network = EnsemblePredictor(after, target).predict(images).by_network["efficientnetb0"]
    np.testing.assert_allclose(network, theirs(images.astype(np.float32), training=False), atol=1e-3)


def test_a_network_trained_on_exported_products_is_not_calibrated_on_them(settings: Settings, tmp_path: Path) -> None:
    theirs = told(tmp_path)
    with theirs.path.open("r+b") as file:
        add_origin(file, {"train_images": 70, "data_sha256": "0" * 64, "imported_from": "no matter"})
    source = Path(import_network.import_(settings, theirs)["release_dir"])
    training = load_release(source).training
    assert (training["train_images"], training["imported_from"]) == (70, "theirs.keras")
    calibration = Calibration(source, source.with_name("theirs-2"), "train", EvaluateConfig(settings.places))
    with pytest.raises(UsageError, match="learned from the products of the part 'train'"):
        recalibrate(calibration)


@pytest.mark.parametrize(
    "entry",
    ["[]", "{", '{"train_images": 7}', " " * 5000, json.dumps({"train_images": 7, "data_sha256": "<script>"})],
)
def test_an_invalid_training_record_in_a_keras_file_is_ignored(entry: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("shelfwise.json", entry)
    assert origin_of(tmp_path / "a.keras") == {}


def test_the_given_samples_are_used_for_the_comparison(settings: Settings, tmp_path: Path) -> None:
    theirs = told(tmp_path, samples=tmp_path / "samples")
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "notes.txt").write_text("no image")
    with pytest.raises(UsageError, match="no image could be read in"):
        import_network.import_(settings, theirs)
    for number in range(3):
        (tmp_path / "samples" / f"{number}.jpg").write_bytes(picture(1))
    with pytest.raises(ReleaseError, match="answers all 3 samples alike"):
        import_network.import_(settings, theirs)
    for number in range(3, 6):
        (tmp_path / "samples" / f"{number}.jpg").write_bytes(picture(number))
    assert import_network.import_(settings, theirs)["release_id"] == "theirs-1"


def test_paths_that_cannot_be_read_or_written_give_one_sentence(settings: Settings, tmp_path: Path) -> None:
    theirs = told(tmp_path, samples=tmp_path / "absent")
    with pytest.raises(UsageError, match=r"--samples .*absent cannot be read \(No such file or directory\)"):
        import_network.import_(settings, theirs)
    lookup.roots(settings)[0].parent.mkdir(parents=True, exist_ok=True)
    lookup.roots(settings)[0].write_text("no directory")
    with pytest.raises(RunFailed, match="release theirs-1 could not be written"):
        import_network.import_(settings, replace(theirs, samples=None))


def test_a_refused_import_leaves_no_files(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "four.txt").write_text("a\nb\nc\nd\n")
    with pytest.raises(ReleaseError, match="3 categories apart and 4 are named"):
        import_network.import_(settings, told(tmp_path, categories=tmp_path / "four.txt"))
    assert not lookup.roots(settings)[0].exists()


@pytest.mark.parametrize("text", ["a\na\nb\n", "one\n", ""])
def test_invalid_class_names_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(UsageError, match="give at least 2, each once"):
        import_network.class_names(tmp_path / "classes.txt")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "a\nShirts, blue\nb\n",
            r"line 2 of .* has the columns 'Shirts', 'blue', where a name was expected.*in quotes",
        ),
        ("a,A\nb\n", r"line 2 of .* has the columns 'b', where category_id,category_path was expected"),
        ("a,A\nb,\n", "line 2 of .* has the columns 'b', ''"),
        ("a,A,x\nb,B,y\n", "line 1 of .* has the columns 'a', 'A', 'x'"),
        ("a\n\n\n,b\n", "line 4 of .* has the columns '', 'b'"),
    ],
)
def test_a_comma_in_a_class_name_was_read_as_a_path(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "classes.csv").write_text(text)
    with pytest.raises(UsageError, match=sentence):
        import_network.class_names(tmp_path / "classes.csv")


def test_class_names_in_quotes_keep_their_commas(tmp_path: Path) -> None:
    (tmp_path / "classes.csv").write_text('\ufeff"Shirts, blue"\n\nMen\'s "Shoes"\n', encoding="utf-8")
    names = [each.category_id for each in import_network.class_names(tmp_path / "classes.csv")]
    assert names == ["Shirts, blue", 'Men\'s "Shoes"']
    (tmp_path / "classes.csv").write_text('a, "A > One, two"\nb,B\n')
    assert import_network.class_names(tmp_path / "classes.csv")[0] == Category("a", "A > One, two")


@pytest.mark.parametrize("name", [".a", "a..b", "../x", "a\x1b[2J"])
def test_a_class_name_that_is_no_category_id_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text(f"b\n{name}\n")
    with pytest.raises(UsageError, match=r"has the category_id .*, which (has a level without a letter|holds control)"):
        import_network.class_names(tmp_path / "classes.txt")


def test_a_class_that_is_the_parent_of_another_is_refused(tmp_path: Path) -> None:
    """Publishing would name it twice, as a leaf and as the node above one, and fail every night."""
    (tmp_path / "classes.txt").write_text("b\napparel.shirt.polo\napparel\n")
    with pytest.raises(UsageError, match=r"'apparel' and 'apparel.shirt.polo' .* such as 'apparel.other'"):
        import_network.class_names(tmp_path / "classes.txt")

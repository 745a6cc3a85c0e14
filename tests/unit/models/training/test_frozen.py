"""Frozen backbones: of which starts they are made, how they are named, and what stands in for ImageNet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from models.networks.registry import ARCHITECTURES, INPUT_PX, architecture
from models.networks.weights import save_half, save_weights
from models.release import (
    CROSS_FITTED,
    SHIPPED,
    UNKNOWN_BACKBONES,
    Release,
    ReleaseError,
    load_network,
    load_release,
    save_release,
    sha256_of,
)
from models.spec import Category, Head, NetworkSpec
from models.training.frozen import load_frozen
from models.training.seen import BACKBONE_SAW_TRAIN, IMAGENET_SHA256, VOUCHED_BACKBONES, imagenet_file, saw_unknown
from models.training.starts import load_start_weights
from tests import tiny_network

IDS = ("a", "b", "c")


@pytest.fixture(autouse=True)
def tiny_architecture() -> Iterator[None]:
    """Make the tiny network known."""
    ARCHITECTURES[tiny_network.NAME], INPUT_PX[tiny_network.NAME] = "tests.tiny_network", (16, 16)
    yield
    del ARCHITECTURES[tiny_network.NAME], INPUT_PX[tiny_network.NAME]


def release_in(directory: Path, training: dict[str, object], *, preprocessing: str = "own", seed: int = 5) -> Path:
    """Write a release of one tiny network with random weights, of a taxonomy of its own."""
    keras.utils.set_random_seed(seed)
    weights = directory.with_suffix(".weights.h5")
    save_weights(architecture(tiny_network.NAME).build(input_px=16, categories=2), weights)
    network = NetworkSpec(tiny_network.NAME, 16, "tiny.weights.h5", sha256_of(weights), 1.0, preprocessing)
    categories = (Category("x", "X"), Category("y", "Y"))
    release = Release(directory.name, "other", categories, (network,), 1.0, training=training)
    save_release(release, directory, weights={"tiny": weights})
    return directory


def test_the_head_of_xception_receives_the_middles_of_earlier_feature_maps_and_the_backbone_keeps_its_name() -> None:
    """They stand behind the mean of the whole last map; ImageNet's weights are known by the hash."""
    keras.utils.set_random_seed(0)
    frozen = load_frozen("xception", 128, str(SHIPPED), categories=2)
    alone = load_frozen("xception", 128, str(SHIPPED), categories=2, middles=0)
    assert (frozen.network.head, alone.network.head) == (Head(middles=2), None)
    assert frozen.sha256 == alone.sha256
    images = np.random.default_rng(0).uniform(-1, 1, (2, 128, 128, 3)).astype(np.float32)
    layers = [alone.model.get_layer(name) for name in ("block14_sepconv1", "block13_sepconv1_act")]
    of_13, of_12 = keras.Model(alone.model.input, [layer.input for layer in layers])(images)
    assert (of_13.shape[1], of_12.shape[1]) == (4, 8)
    middles = [keras.ops.mean(values, axis=(1, 2)) for values in (of_13[:, 1:3, 1:3], of_12[:, 2:6, 2:6])]
    np.testing.assert_allclose(
        frozen.backbone(images), np.concatenate([alone.backbone(images), *middles], 1), atol=1e-5
    )
    assert frozen.backbone.output.shape == (None, 2048 + 1024 + 728)
    assert frozen.last_width == alone.last_width == 2048


def test_a_release_gives_its_backbone_whatever_its_categories_are(tmp_path: Path) -> None:
    place = release_in(tmp_path / "theirs", {}, preprocessing="0-1")
    frozen = load_frozen("tiny", 16, str(place), categories=3)
    release = load_release(place)
    theirs = load_network(release, place, release.networks[0]).get_weights()[:-2]
    for ours, other in zip(frozen.model.get_weights()[:-2], theirs, strict=True):
        np.testing.assert_array_equal(ours, other.astype(np.float16).astype(np.float32))
    assert frozen.network.preprocessing == "0-1"
    assert frozen.model.output_shape == (None, 3)
    assert frozen.backbone.output_shape == (None, 6)


def test_the_features_are_those_of_the_weights_that_a_release_stores(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    save_weights(architecture("tiny").backbone(input_px=16), tmp_path / "w.weights.h5")
    frozen = load_frozen("tiny", 16, str(tmp_path / "w.weights.h5"), categories=2)
    before = frozen.model.get_weights()
    frozen.model.load_weights(save_half(frozen.model, tmp_path))
    for stored, computed in zip(frozen.model.get_weights()[:-2], before[:-2], strict=True):
        np.testing.assert_array_equal(stored, computed)


def test_weights_that_do_not_fit_float16_stay_as_they_are(tmp_path: Path) -> None:
    body = architecture("tiny").backbone(input_px=16)
    first, *others = body.get_weights()
    body.set_weights([first * 0 + 1e6, *others])
    save_weights(body, tmp_path / "w.weights.h5")
    frozen = load_frozen("tiny", 16, str(tmp_path / "w.weights.h5"), categories=2)
    for stored, given in zip(frozen.backbone.get_weights(), body.get_weights(), strict=True):
        np.testing.assert_array_equal(stored, given)


def test_a_backbone_is_named_by_its_weights_not_by_its_file_or_head(tmp_path: Path) -> None:
    keras.utils.set_random_seed(2)
    whole = architecture("tiny").build(input_px=16, categories=7)
    save_weights(whole, tmp_path / "with-head.weights.h5")
    body = keras.Model(whole.input, whole.get_layer("logits").input)
    bare = architecture("tiny").backbone(input_px=16)
    bare.set_weights(body.get_weights())
    save_weights(bare, tmp_path / "bare.weights.h5")
    files = [str(tmp_path / f"{name}.weights.h5") for name in ("bare", "with-head")]
    names = {load_frozen("tiny", 16, file, categories=2).sha256 for file in files}
    assert len(names) == 1
    bare.set_weights([each + (0.25 if number == 3 else 0) for number, each in enumerate(bare.get_weights())])
    save_weights(bare, tmp_path / "other.weights.h5")
    assert load_frozen("tiny", 16, str(tmp_path / "other.weights.h5"), categories=2).sha256 not in names


def test_only_backbones_that_were_trained_on_the_part_train_are_known_to_have_seen_it(tmp_path: Path) -> None:
    def saw(training: dict[str, object], name: str) -> bool:
        place = release_in(tmp_path / name, training)
        by_file = load_frozen("tiny", 16, str(place / "tiny.weights.h5"), categories=2).saw_train
        assert by_file == load_frozen("tiny", 16, str(place), categories=2).saw_train
        return by_file

    assert saw({"train_images": 90}, "tuned")
    assert not saw({"imported_from": "theirs.keras"}, "imported")
    assert not saw({"train_images": 90, CROSS_FITTED: 5, BACKBONE_SAW_TRAIN: False}, "quick")
    assert saw({"train_images": 90, CROSS_FITTED: 5, BACKBONE_SAW_TRAIN: True}, "quick-of-tuned")


@pytest.mark.parametrize(
    ("training", "unknown"),
    [
        ({"imported_from": "theirs.keras"}, True),
        ({}, True),
        ({"imported_from": "theirs.keras", "train_images": 90}, False),  # from exported arrays: known to have seen them
        ({"train_images": 90}, False),
        ({"articles": 55_000}, False),
        ({"train_images": 90, CROSS_FITTED: 5, BACKBONE_SAW_TRAIN: False}, False),
        ({"train_images": 90, CROSS_FITTED: 5, UNKNOWN_BACKBONES: "xception, tiny"}, True),
        ({"train_images": 90, CROSS_FITTED: 5, UNKNOWN_BACKBONES: "xception"}, False),
        ({"train_images": 90, CROSS_FITTED: 5, VOUCHED_BACKBONES: "tiny"}, False),
    ],
)
def test_what_an_imported_backbone_has_seen_is_unknown(
    training: dict[str, object], unknown: bool, tmp_path: Path
) -> None:
    """It was taken for one that has seen none of the products, which then calibrated and measured it."""
    place = release_in(tmp_path / "theirs", training)
    assert load_frozen("tiny", 16, str(place), categories=2).saw_unknown == unknown
    assert load_frozen("tiny", 16, str(place / "tiny.weights.h5"), categories=2).saw_unknown == unknown


@pytest.mark.parametrize(
    ("name", "file", "unknown"),
    [
        ("xception", "xception_imagenet_notop.weights.h5", False),
        ("xception", "xception_weights_tf_dim_ordering_tf_kernels_notop.h5", False),
        ("efficientnetb0", "efficientnetb0_notop.h5", False),
        ("efficientnetb0", "efficientnet-lite0.weights.h5", False),
        ("efficientnetb1", "efficientnet-lite0.weights.h5", True),
        ("efficientnetb0", "xception_imagenet_notop.weights.h5", True),
        ("xception", "xception_imagenet_notop_tuned.weights.h5", True),
        ("xception", "xception.weights.h5", True),
    ],
)
def test_a_weights_file_is_imagenet_s_by_its_name(name: str, file: str, unknown: bool, tmp_path: Path) -> None:
    assert saw_unknown(str(tmp_path / file), name, "0" * 64) == unknown


def test_imagenet_s_weights_are_known_by_their_hash_whatever_their_file_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ours.weights.h5"
    save_weights(architecture("tiny").backbone(input_px=16), file)
    frozen = load_frozen("tiny", 16, str(file), categories=2)
    assert frozen.saw_unknown
    monkeypatch.setitem(IMAGENET_SHA256, "tiny", frozen.sha256)
    assert not load_frozen("tiny", 20, str(file), categories=3).saw_unknown, "of any input and head"


def test_the_shipped_release_has_seen_no_product_of_a_shop() -> None:
    assert not saw_unknown(str(SHIPPED), "xception", "")
    assert not saw_unknown(str(SHIPPED / "xception.weights.h5"), "xception", "")
    assert not saw_unknown("imagenet", "xception", "")


def test_without_imagenet_the_shipped_backbone_is_taken_and_a_sentence_says_which_file_goes_where(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def offline(*_: object, **__: object) -> str:
        raise Exception("URL fetch failure")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", offline)
    frozen = load_frozen("efficientnetb0", 32, "imagenet", categories=2)
    shipped = load_release(SHIPPED)
    [network] = [each for each in shipped.networks if each.architecture == "efficientnetb0"]
    ours, theirs = frozen.model.get_weights()[-4], load_network(shipped, SHIPPED, network).get_weights()[-4]
    np.testing.assert_array_equal(ours, theirs)
    assert (frozen.start, frozen.saw_train) == (str(SHIPPED), False)
    assert frozen.network.preprocessing == network.preprocessing
    assert "efficientnetb0_notop.h5 into /" in caplog.text
    assert "/models, or give a .weights.h5 file with --start-from" in caplog.text
    with pytest.raises(ReleaseError, match="could not be downloaded; give a local"):
        load_frozen("efficientnetb1", 32, "imagenet", categories=2)


@pytest.mark.parametrize("name", ["efficientnetb0", "xception"])
def test_the_named_file_is_the_one_that_keras_looks_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def offline(fname: str = "", *_: object, **__: object) -> str:
        asked.append(fname)
        raise Exception("URL fetch failure")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", offline)
    load_frozen(name, INPUT_PX[name][0], "imagenet", categories=2)
    assert asked == [imagenet_file(name)]


def test_a_release_without_that_architecture_is_refused(tmp_path: Path) -> None:
    place = release_in(tmp_path / "theirs", {})
    with pytest.raises(
        ReleaseError, match=r"^release theirs has no xception; it has tiny, so name what it has .*--network"
    ):
        load_frozen("xception", 71, str(place), categories=2)


def test_a_file_of_another_architecture_is_refused(tmp_path: Path) -> None:
    save_weights(architecture("tiny").backbone(input_px=16), tmp_path / "w.weights.h5")
    with pytest.raises(ReleaseError, match=r"w.weights.h5 does not hold weights of xception: its layers are others"):
        load_frozen("xception", 71, str(tmp_path / "w.weights.h5"), categories=2)


def test_random_weights_are_refused() -> None:
    with pytest.raises(ReleaseError, match="tiny starts from nothing, and features of random weights tell nothing"):
        load_frozen("tiny", 16, "nothing", categories=2)


def test_a_training_that_starts_from_a_cross_fitted_release_takes_its_backbone_alone(tmp_path: Path) -> None:
    """Its head has learned from the part validation, on which the training measures its epochs."""
    place = release_in(tmp_path / "quick", {"train_images": 90, CROSS_FITTED: 5})
    network = NetworkSpec("tiny", 16, "w", "", 1.0)
    keras.utils.set_random_seed(11)
    model = architecture("tiny").build(input_px=16, categories=2)
    head = model.get_weights()[-2:]
    load_start_weights(model, network, str(place), category_ids=("x", "y"), taxonomy_version="other")
    release = load_release(place)
    theirs = load_network(release, place, release.networks[0]).get_weights()
    np.testing.assert_array_equal(model.get_weights()[0], theirs[0])
    for after, before in zip(model.get_weights()[-2:], head, strict=True):
        np.testing.assert_array_equal(after, before)
    tuned = release_in(tmp_path / "tuned", {"train_images": 90})
    load_start_weights(model, network, str(tuned), category_ids=("x", "y"), taxonomy_version="other")
    np.testing.assert_array_equal(model.get_weights()[-2], theirs[-2])

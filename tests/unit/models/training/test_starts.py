"""What a network starts from: keras's own weights, files with and without a head, and files that do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from models.networks.heads import network_with_head
from models.networks.registry import ARCHITECTURES, INPUT_PX, architecture
from models.release import Release, ReleaseError, save_release, sha256_of
from models.spec import Category, Head, HeadLayer, NetworkSpec
from models.training.starts import load_start_weights, range_of
from tests import tiny_network
from tests.labelled import LEAVES


@pytest.fixture(autouse=True)
def tiny_architecture() -> Iterator[None]:
    """Make the tiny network known."""
    ARCHITECTURES[tiny_network.NAME], INPUT_PX[tiny_network.NAME] = "tests.tiny_network", (16, 16)
    yield
    del ARCHITECTURES[tiny_network.NAME], INPUT_PX[tiny_network.NAME]


def test_imagenet_weights_of_a_file_are_scaled_as_keras_scales_those_that_it_downloads(tmp_path: Path) -> None:
    """`keras.applications` divides by the roots of (0.229, 0.224, 0.225) twice, the second time by no weight."""
    network = NetworkSpec("efficientnetb0", 32, "w", "", 1.0)
    b0 = architecture("efficientnetb0")
    mean, deviation = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
    for number, (stored, expected) in enumerate(((deviation, deviation), (np.full(3, 0.252, np.float32), 0.252**0.5))):
        source = b0.backbone(input_px=32)
        [held] = [layer for layer in source.layers if isinstance(layer, keras.layers.Normalization)]
        held.set_weights([mean, stored, np.zeros((), held.get_weights()[2].dtype)])
        source.save_weights(tmp_path / f"{number}.weights.h5")
        model = b0.build(input_px=32, categories=2)
        load_start_weights(
            model, network, str(tmp_path / f"{number}.weights.h5"), category_ids=("a", "b"), taxonomy_version="t"
        )
        [own] = [layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)]
        pixels = np.full((1, 4, 4, 3), 0.8, np.float32)
        np.testing.assert_allclose(np.array(own(pixels))[0, 0, 0], (0.8 - mean) / expected, rtol=1e-4)


@pytest.mark.parametrize(("name", "side_px"), [("efficientnetb0", 32), ("xception", 71)])
def test_a_start_from_imagenet_gives_the_same_features_as_keras(
    name: str, side_px: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The download is played: a file of other weights, in which EfficientNet's variance is keras's deviations."""
    keras.utils.set_random_seed(3)
    parts, network = architecture(name), NetworkSpec(name, side_px, "w", "", 1.0)
    published = parts.backbone(input_px=side_px)
    for layer in published.layers:
        if isinstance(layer, keras.layers.Normalization):
            mean, _, count = layer.get_weights()
            layer.set_weights([mean + 0.4, np.array([0.229, 0.224, 0.225], np.float32), count])
    published.save_weights(tmp_path / "published.weights.h5")
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: str(tmp_path / "published.weights.h5"))
    theirs = parts.backbone(input_px=side_px, weights="imagenet")
    model = parts.build(input_px=side_px, categories=2)
    load_start_weights(model, network, "imagenet", category_ids=("a", "b"), taxonomy_version="t")
    ours = keras.Model(model.input, model.get_layer("head_dropout").input)
    images = np.random.default_rng(3).uniform(-1, 1, (2, side_px, side_px, 3)).astype(np.float32)
    images = images if name == "xception" else (images + 1) * 127.5
    seen = np.array(theirs(images))
    assert np.ptp(seen) > 0
    np.testing.assert_allclose(np.array(ours(images)), seen, rtol=1e-3, atol=1e-6 * np.abs(seen).max())


def test_a_failed_download_gives_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> str:
        raise Exception("URL fetch failure")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", offline)
    model = architecture("efficientnetb0").build(input_px=32, categories=2)
    with pytest.raises(ReleaseError, match="could not be downloaded; give a local"):
        load_start_weights(
            model, NetworkSpec("efficientnetb0", 32, "w", "", 1.0), "imagenet", category_ids="ab", taxonomy_version="t"
        )


def test_a_start_release_may_have_another_order_of_categories_but_not_other_categories(tmp_path: Path) -> None:
    """A catalog's labels are sorted; what somebody imported has the order of its classes."""
    keras.utils.set_random_seed(5)
    tiny = architecture(tiny_network.NAME)
    source = tiny.build(input_px=16, categories=3)
    source.set_weights([weight + 0.1 * place for place, weight in enumerate(source.get_weights())])
    source.get_layer("logits").bias.assign([0.0, 1.0, 2.0])
    source.save_weights(tmp_path / "w.weights.h5")
    network = NetworkSpec(tiny_network.NAME, 16, "w.weights.h5", sha256_of(tmp_path / "w.weights.h5"), 1.0)
    categories = tuple(Category(name, name) for name in "cab")
    release = Release("theirs", "t", categories, (network,), 1.0)
    save_release(release, tmp_path / "theirs", weights={tiny_network.NAME: tmp_path / "w.weights.h5"})
    start, images = str(tmp_path / "theirs"), np.random.default_rng(5).uniform(-1, 1, (4, 16, 16, 3))
    model = tiny.build(input_px=16, categories=3)
    load_start_weights(model, network, start, category_ids="abc", taxonomy_version="t")
    theirs, ours = (np.array(one(images.astype(np.float32))) for one in (source, model))
    np.testing.assert_allclose(ours, theirs[:, [1, 2, 0]], rtol=1e-5)
    with pytest.raises(
        ReleaseError, match=r"2 categories .* both call their taxonomy t, such as 'c' of release theirs;"
    ):
        load_start_weights(model, network, start, category_ids="abd", taxonomy_version="t")
    with pytest.raises(ReleaseError, match="trained under taxonomy t and this catalog is labelled under u"):
        load_start_weights(model, network, start, category_ids="abc", taxonomy_version="u")


def test_a_backbone_comes_from_files_with_and_without_a_head(tmp_path: Path) -> None:
    network = NetworkSpec(tiny_network.NAME, 16, "w", "", 1.0)
    tiny = architecture(tiny_network.NAME)
    for number, source in enumerate((tiny.backbone(input_px=16), tiny.build(input_px=16, categories=7))):
        path = tmp_path / f"{number}.weights.h5"
        source.save_weights(path)
        model = tiny.build(input_px=16, categories=3)
        load_start_weights(model, network, str(path), category_ids=LEAVES, taxonomy_version="t")
        np.testing.assert_array_equal(
            np.array(model.get_layer("block2a_conv").kernel), np.array(source.get_layer("block2a_conv").kernel)
        )


@pytest.mark.parametrize("alone", [True, False])
def test_of_a_release_with_a_head_of_its_own_only_the_backbone_is_kept(alone: bool, tmp_path: Path) -> None:
    head = Head("max", (HeadLayer("scale"), HeadLayer("dense", units=5), HeadLayer("prelu")))
    network = NetworkSpec(tiny_network.NAME, 16, "w.weights.h5", "", 1.0, head=head)
    source = network_with_head(network, categories=3)
    source.set_weights([weight + 0.1 * place for place, weight in enumerate(source.get_weights())])
    source.save_weights(tmp_path / "w.weights.h5")
    network = replace(network, weights_sha256=sha256_of(tmp_path / "w.weights.h5"))
    release = Release("theirs", "t", tuple(Category(name, name) for name in "abc"), (network,), 1.0)
    save_release(release, tmp_path / "theirs", weights={tiny_network.NAME: tmp_path / "w.weights.h5"})
    model = architecture(tiny_network.NAME).build(input_px=16, categories=3)
    before = model.get_layer("logits").get_weights()
    start = tmp_path / "theirs" / "w.weights.h5" if alone else tmp_path / "theirs"
    load_start_weights(model, replace(network, head=None), str(start), category_ids="abc", taxonomy_version="t")
    for name in ("block1a_conv", "block1a_bn", "block2a_conv", "block2a_bn"):
        pairs = zip(model.get_layer(name).get_weights(), source.get_layer(name).get_weights(), strict=True)
        for values, expected in pairs:
            np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(model.get_layer("logits").get_weights()[0], before[0])


@pytest.mark.parametrize("kind", ["shape", "text", "absent"])
def test_weights_that_do_not_fit_give_one_sentence(kind: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "theirs.weights.h5"
    if kind == "shape":
        inputs = keras.Input((16, 16, 3))
        keras.Model(inputs, keras.layers.Conv2D(9, 5)(inputs)).save_weights(path)
    if kind == "text":
        path.write_text("no weights")
    model = architecture(tiny_network.NAME).build(input_px=16, categories=3)
    before = model.get_weights()
    recwarn.clear()
    with pytest.raises(ReleaseError, match=r"theirs\.weights\.h5"):
        load_start_weights(
            model, NetworkSpec("tiny", 16, "w", "", 1.0), str(path), category_ids=LEAVES, taxonomy_version="t"
        )
    assert not recwarn.list, "Keras's lists of layers are for nobody's eyes"
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_weights_file_of_a_release_has_the_value_range_of_the_release(tmp_path: Path) -> None:
    model = architecture(tiny_network.NAME).build(input_px=16, categories=3)
    model.save_weights(tmp_path / "tiny.weights.h5")
    network = NetworkSpec(tiny_network.NAME, 16, "tiny.weights.h5", sha256_of(tmp_path / "tiny.weights.h5"), 1.0, "0-1")
    categories = tuple(Category(leaf, leaf) for leaf in LEAVES)
    place = tmp_path / "theirs"
    save_release(
        Release("theirs", "t", categories, (network,), 1.0), place, weights={"tiny": tmp_path / "tiny.weights.h5"}
    )
    assert range_of(str(place), tiny_network.NAME) == "0-1"
    assert range_of(str(place / "tiny.weights.h5"), tiny_network.NAME) == "0-1"
    assert range_of(str(tmp_path / "tiny.weights.h5"), tiny_network.NAME) == "own"

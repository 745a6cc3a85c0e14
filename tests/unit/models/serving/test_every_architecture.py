"""OpenVINO answers as Keras does on every architecture of the registry, and with every kind of head."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from models.networks.registry import ARCHITECTURES, INPUT_PX
from models.release import load_release
from models.serving.conversion import convert, sample_images
from models.serving.environment import usable_cores
from models.serving.keras_engine import KerasEngine
from models.serving.openvino_engine import OpenVinoEngine
from models.spec import HEAD_KINDS, POOLINGS, Head, HeadLayer
from tests.conftest import CATEGORIES
from tests.extent import ALL
from tests.same_answers import assert_same_answers
from tests.untrained import untrained_release

USUAL = ("efficientnetb3",)
"""Architectures of the usual run, beside the three of `test_openvino.py`; each takes ten seconds and more."""

UNITS, SLOPE, LIMIT = 12, 0.25, 2.0
LAYERS = {
    **{kind: HeadLayer(kind) for kind in HEAD_KINDS},
    "dense": HeadLayer("dense", UNITS),
    "relu": HeadLayer("relu", slope=SLOPE, limit=LIMIT),
    "elu": HeadLayer("elu", slope=SLOPE),
}


def both_answer_the_same(directory: Path, architecture: str, head: Head | None = None) -> int:
    """Convert an untrained network, and compare the engines; return the number of its features.

    Its files, of up to 1 GB, are deleted.
    """
    import keras

    smallest, _ = INPUT_PX[architecture]
    sizes = {architecture: smallest + smallest % 2 + 1}  # an odd side: the paddings of strided layers differ there
    heads = {architecture: head} if head else None
    place = untrained_release(
        directory / "made", sizes, CATEGORIES, release_id=architecture, heads=heads, told_apart=True
    )
    (directory / "converted").mkdir()
    try:
        release = load_release(place)
        converted = convert(release, place, directory / "converted")
        images = sample_images(release.decode_px)
        expected = KerasEngine().open(release, place)(images)
        found = OpenVinoEngine(converted, directory / "converted", usable_cores()).open(release, place)(images)
        assert_same_answers(found, expected)
        return int(found[1].shape[1])
    finally:
        keras.utils.clear_session()
        shutil.rmtree(directory / "made")
        shutil.rmtree(directory / "converted")


@pytest.mark.parametrize("architecture", ARCHITECTURES if ALL else USUAL)
def test_both_engines_give_the_same_answers_on_an_architecture(architecture: str, tmp_path: Path) -> None:
    both_answer_the_same(tmp_path, architecture)


HEADS = (("avg", HEAD_KINDS[:5]), ("max", HEAD_KINDS[5:10]), ("avg", HEAD_KINDS[10:]))
"""Every kind of layer of a head once, and every pooling. Each layer adds to the rounding, so that no head is long."""


def test_the_heads_have_every_kind_of_layer_and_every_pooling() -> None:
    assert {pooling for pooling, _ in HEADS} == set(POOLINGS)
    assert {kind for _, kinds in HEADS for kind in kinds} == set(HEAD_KINDS)


@pytest.mark.parametrize(("pooling", "kinds"), HEADS)
def test_both_engines_give_the_same_answers_with_a_head(pooling: str, kinds: tuple[str, ...], tmp_path: Path) -> None:
    """Each layer is behind a Dense layer, whose outputs lie on both sides of 0."""
    layers = tuple(layer for kind in kinds for layer in (HeadLayer("dense", UNITS), LAYERS[kind]))
    both_answer_the_same(tmp_path, "efficientnetb0", Head(pooling, layers))


@pytest.mark.parametrize("pooling", POOLINGS if ALL else POOLINGS[-1:])
def test_both_engines_give_the_same_answers_where_a_head_joins_middles(pooling: str, tmp_path: Path) -> None:
    head = Head(pooling, (HeadLayer("dense", UNITS), HeadLayer("relu")), middles=2)
    assert both_answer_the_same(tmp_path, "xception", head) == UNITS


def test_the_features_of_joined_feature_maps_are_those_of_the_whole_last_one(tmp_path: Path) -> None:
    """Images are compared by them, and large numbers of an earlier map would decide alone which are alike."""
    assert both_answer_the_same(tmp_path, "xception", Head(middles=2)) == 2048


if ALL:

    @pytest.mark.parametrize("architecture", ["efficientnetb4", "efficientnetb7", "xception"])
    def test_both_engines_give_the_same_answers_with_a_head_on_a_large_network(
        architecture: str, tmp_path: Path
    ) -> None:
        head = Head("max", (HeadLayer("dense", 24), HeadLayer("scale"), HeadLayer("prelu"), HeadLayer("gelu")))
        both_answer_the_same(tmp_path, architecture, head)

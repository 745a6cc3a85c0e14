"""What others put in front of a backbone, and names that they gave to input and output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from models.foreign.expected import generated_samples
from models.foreign.front import without_front
from models.foreign.rebuild import TOLERANCE, ForeignNetwork, rebuild
from models.networks.backbones import StoredLayer
from models.networks.inputs import network_input
from models.release import ReleaseError
from tests.unit.models.test_foreign import CATEGORIES, backbone, trained
from tests.unit.models.test_foreign_heads import SIDE_PX, SMALL, small_world

__all__ = ["small_world"]


def behind(
    *front: Any, side_px: int | None = SIDE_PX, sees: tuple[float, float] = (0.0, 255.0), named: Any = None
) -> Any:
    """Return a small network behind some layers."""
    keras.utils.set_random_seed(7)
    inputs = keras.Input((side_px, side_px, 3), name="image")
    values = inputs
    for layer in front:
        values = layer(values)
    pooled = layers.GlobalAveragePooling2D()(SMALL.body(SIDE_PX)(values))
    outputs = layers.Dense(CATEGORIES, "softmax", name="predictions")(pooled)
    model = keras.Model(inputs, outputs)
    trained(model, SIDE_PX, sees=sees)
    return named(inputs, outputs) if named else model


def told(path: Path, **changes: Any) -> ForeignNetwork:
    return ForeignNetwork(path, **{"input_px": SIDE_PX, "categories": CATEGORIES, "preprocessing": "0-255", **changes})


@pytest.mark.parametrize(
    ("front", "sees", "found"),
    [
        ([layers.Rescaling(1 / 255)], (0.0, 1.0), "0-1"),
        ([layers.Rescaling(1 / 127.5, offset=-1)], (-1.0, 1.0), "-1-1"),
        ([layers.Normalization(mean=[127.5] * 3, variance=[127.5**2] * 3)], (-1.0, 1.0), "-1-1"),
        ([layers.Resizing(SIDE_PX, SIDE_PX), layers.Rescaling(1 / 255)], (0.0, 1.0), "0-1"),
        ([layers.RandomFlip(seed=1), layers.RandomRotation(0.1, seed=1)], (0.0, 255.0), "0-255"),
    ],
)
def test_layers_in_front_that_serving_can_do_become_the_value_range(
    front: list[Any], sees: tuple[float, float], found: str, tmp_path: Path
) -> None:
    original = behind(*front, sees=sees)
    original.save(tmp_path / "theirs.keras")
    spec, rebuilt = rebuild(told(tmp_path / "theirs.keras"))
    assert spec.preprocessing == found
    squares = generated_samples(SIDE_PX)[::-1]
    expected = np.asarray(original(squares.astype(np.float32), training=False))
    answers = np.asarray(keras.ops.softmax(rebuilt(network_input(squares, spec), training=False)))
    np.testing.assert_allclose(answers, expected, atol=TOLERANCE)


def test_own_statistics_in_front_of_efficientnet_were_refused_and_are_folded(tmp_path: Path) -> None:
    """EfficientNet has a Normalization, which takes any mean and deviation of the pixels; Xception has none."""
    own = layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[3600.0, 3000.0, 2500.0], name="own")
    inputs = keras.Input((32, 32, 3))
    values = backbone("EfficientNetB0", 32)(layers.Rescaling(127.5, offset=127.5)(own(inputs)))
    outputs = layers.Dense(CATEGORIES, "softmax")(layers.GlobalAveragePooling2D()(values))
    original = trained(keras.Model(inputs, outputs), 32, sees=(0.0, 255.0))
    original.save(tmp_path / "theirs.keras")
    spec, rebuilt = rebuild(told(tmp_path / "theirs.keras", input_px=32))
    assert (spec.architecture, spec.preprocessing) == ("efficientnetb0", "0-255")
    squares = generated_samples(32)[::-1]
    expected = np.asarray(original(squares.astype(np.float32), training=False))
    answers = np.asarray(keras.ops.softmax(rebuilt(network_input(squares, spec), training=False)))
    np.testing.assert_allclose(answers, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("front", "side_px", "sentence"),
    [
        (
            [layers.Rescaling(1 / 128, name="mine")],
            SIDE_PX,
            r"scales its images by Rescaling 'mine' to values from 0 to",
        ),
        (
            [layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[3600.0] * 3, name="own")],
            SIDE_PX,
            r"by Normalization 'own' to values from -2 to .* served with 0-255, 0-1, -1-1; correct --preprocessing",
        ),
        (
            [layers.Resizing(SIDE_PX, SIDE_PX, name="to_side")],
            64,
            r"begins with Resizing 'to_side', so save the network",
        ),
        ([layers.CenterCrop(SIDE_PX, SIDE_PX, name="crop")], 64, r"begins with CenterCrop 'crop'"),
        ([layers.AutoContrast(value_range=(0, 255), name="auto")], SIDE_PX, "differently.* stands AutoContrast 'auto'"),
    ],
)
def test_a_layer_in_front_that_serving_cannot_do_is_named(
    front: list[Any], side_px: int, sentence: str, tmp_path: Path
) -> None:
    behind(*front, side_px=side_px).save(tmp_path / "theirs.keras")
    with pytest.raises(ReleaseError, match=sentence):
        rebuild(told(tmp_path / "theirs.keras"))


def test_a_layer_that_resizes_to_another_input_than_told_is_named(tmp_path: Path) -> None:
    behind(layers.Resizing(SIDE_PX, SIDE_PX, name="to_side"), side_px=None).save(tmp_path / "theirs.keras")
    with pytest.raises(
        ReleaseError, match=rf"by Resizing 'to_side' to {SIDE_PX} by {SIDE_PX} px, not to 64 px; correct"
    ):
        rebuild(told(tmp_path / "theirs.keras", input_px=64))


@pytest.mark.parametrize(
    "named",
    [
        lambda inputs, outputs: keras.Model(inputs, {"category": outputs}),
        lambda inputs, outputs: keras.Model([inputs], [outputs]),
        lambda inputs, outputs: keras.Model({"image": inputs}, {"category": outputs}),
    ],
)
def test_an_output_with_a_name_ended_in_a_traceback(named: Any, tmp_path: Path) -> None:
    behind(named=named).save(tmp_path / "theirs.keras")
    assert rebuild(told(tmp_path / "theirs.keras"))[0].preprocessing == "0-255"


def test_several_outputs_are_refused(tmp_path: Path) -> None:
    several = behind(named=lambda inputs, outputs: keras.Model(inputs, {"a": outputs, "b": outputs}))
    several.save(tmp_path / "theirs.keras")
    with pytest.raises(ReleaseError, match=r"has outputs of .*, where one of \(None, 4\) was expected; save a network"):
        rebuild(told(tmp_path / "theirs.keras"))


def test_the_own_scaling_of_efficientnet_is_not_in_front() -> None:
    own = [
        StoredLayer("rescaling_1", "Rescaling", {"scale": 1 / 255}),
        StoredLayer("normalization_1", "Normalization"),
        StoredLayer("rescaling_2", "Rescaling", {"scale": [1.0, 2.0, 3.0]}),
        StoredLayer("stem_conv_pad", "ZeroPadding2D"),
    ]
    theirs = [StoredLayer("rescaling", "Rescaling", {"scale": 1 / 255}), StoredLayer("normalization", "Normalization")]
    for rest in (own, [own[0], own[1], own[3]]):
        assert without_front([StoredLayer("input", "InputLayer"), *theirs, *rest]) == (theirs, rest)
        assert without_front(rest) == ([], rest)
    xception = [StoredLayer("block1_conv1", "Conv2D")]
    assert without_front([*theirs, *xception]) == (theirs, xception)

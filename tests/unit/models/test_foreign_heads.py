"""Heads of foreign networks: what amounts to one Dense layer is folded into it, and what does not is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from models import foreign
from models.foreign import TOLERANCE, ForeignNetwork, generated_samples, rebuild
from models.heads import ForeignHead, folded, head_of
from models.networks import registry
from models.networks.inputs import network_input
from models.release import ReleaseError
from tests.unit.models.test_foreign import CATEGORIES, backbone, trained

layers = keras.layers
Head = Callable[[Any], Any]
SIDE_PX = 32


class Small:
    """An architecture of two convolutions, whose layers are called as EfficientNet calls its first and last ones."""

    def backbone(self, *, input_px: int, weights: str | None = None) -> Any:
        inputs = values = keras.Input((input_px, input_px, 3))
        for name, width in (("stem", 6), ("top", 12)):
            values = layers.Conv2D(width, 3, strides=2, name=f"{name}_conv")(values)
            values = layers.BatchNormalization(name=f"{name}_bn")(values)
            values = layers.Activation("swish", name=f"{name}_activation")(values)
        return keras.Model(inputs, values)

    def build(self, *, input_px: int, categories: int, dropout: float = 0.0) -> Any:
        body = self.backbone(input_px=input_px)
        pooled = layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(body.output))
        return keras.Model(body.input, layers.Dense(categories, name="logits")(pooled), name="efficientnet-small")

    def preprocess(self, images: Any) -> Any:
        return images


SMALL = Small()


@pytest.fixture(autouse=True)
def small_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no network be tried but a small one, and EfficientNetB0."""
    known = {"efficientnet-small": f"{__name__}:SMALL", "efficientnetb0": "models.networks.efficientnet:B0"}
    for module in (foreign, registry):
        monkeypatch.setattr(module, "ARCHITECTURES", known)
    monkeypatch.setitem(registry.INPUT_PX, "efficientnet-small", (32, 32))


def saved(path: Path, head: Head, *, kind: str = "small", flat: bool = False) -> Any:
    """Save a network with a head whose BatchNormalization has seen features that are far from 0 and 1."""
    body = SMALL.backbone(input_px=SIDE_PX) if kind == "small" else backbone("EfficientNetB0", SIDE_PX)
    inputs = body.input if flat else keras.Input((SIDE_PX, SIDE_PX, 3))
    features = body.output if flat else body(inputs, training=False)
    model = trained(keras.Model(inputs, head(features)), SIDE_PX, sees=(0.0, 255.0))
    random = np.random.default_rng(11)
    for layer in head_of(model):
        if isinstance(layer, layers.BatchNormalization):
            drawn = {"gamma": (0.5, 2), "beta": (-1, 1), "moving_mean": (-1, 1), "moving_variance": (0.2, 3)}
            for name, (least, most) in drawn.items():
                if (weight := getattr(layer, name)) is not None:
                    weight.assign(random.uniform(least, most, weight.shape))
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
    head: Head, kind: str, flat: bool, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.keras"
    original = saved(path, head, kind=kind, flat=flat)
    spec, rebuilt = rebuild(ForeignNetwork(path, SIDE_PX, CATEGORIES))
    assert spec.architecture.endswith(kind)
    squares = generated_samples(SIDE_PX)[::-1]
    expected = np.asarray(original(squares.astype(np.float32), training=False))
    assert np.ptp(expected, axis=0).max() > 0.01, "the samples must be told apart, or this says nothing"
    answers = np.asarray(keras.ops.softmax(rebuilt(network_input(squares, spec), training=False)))
    np.testing.assert_allclose(answers, expected, atol=TOLERANCE / 100)


def hidden(features: Any) -> Any:
    values = layers.Dense(16, "relu", name="hidden")(layers.GlobalAveragePooling2D()(features))
    return layers.Dense(CATEGORIES, "softmax", name="pred")(values)


def bent(features: Any) -> Any:
    values = layers.ReLU(name="bend")(layers.BatchNormalization()(layers.GlobalAveragePooling2D()(features)))
    return layers.Dense(CATEGORIES, "softmax")(values)


def by_image(features: Any) -> Any:
    values = layers.LayerNormalization(name="by_image")(layers.GlobalAveragePooling2D()(features))
    return layers.Dense(CATEGORIES, "softmax")(values)


def both_poolings(features: Any) -> Any:
    pooled = [layers.GlobalAveragePooling2D()(features), layers.GlobalMaxPooling2D()(features)]
    return layers.Dense(CATEGORIES, "softmax", name="pred")(layers.Concatenate()(pooled))


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        (hidden, r"Dense 'hidden' \(relu\), Dense 'pred' \(softmax\), .* \(Dense 'hidden' \(relu\) cannot be folded\)"),
        (bent, r"BatchNormalization .*\(ReLU 'bend' cannot be folded\); give it a head of"),
        (by_image, r"\(LayerNormalization 'by_image' cannot be folded\)"),
        (both_poolings, r"\(Dense 'pred' \(softmax\) takes 24 values where there are 12\)"),
    ],
)
def test_a_layer_that_cannot_be_folded_is_named(head: Head, sentence: str, tmp_path: Path) -> None:
    saved(tmp_path / "theirs.keras", head)
    with pytest.raises(ReleaseError, match=rf"theirs.keras is efficientnet-small with a head of .*{sentence}"):
        rebuild(ForeignNetwork(tmp_path / "theirs.keras", SIDE_PX, CATEGORIES))


def test_the_error_for_different_answers_names_the_layers_of_the_head(tmp_path: Path) -> None:
    def largest(features: Any) -> Any:
        return layers.Dense(CATEGORIES, "softmax")(layers.GlobalMaxPooling2D(name="largest")(features))

    saved(tmp_path / "theirs.keras", largest)
    with pytest.raises(ReleaseError, match=r"answers differently, .* its head \(GlobalMaxPooling2D 'largest', Dense"):
        rebuild(ForeignNetwork(tmp_path / "theirs.keras", SIDE_PX, CATEGORIES))


def test_the_error_for_another_backbone_names_the_difference(tmp_path: Path) -> None:
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    features = SMALL.backbone(input_px=SIDE_PX)(layers.Conv2D(3, 1, name="before")(inputs))
    keras.Model(inputs, tutorial(features)).save(tmp_path / "theirs.keras")
    with pytest.raises(
        ReleaseError, match=r"applications \(.* is not efficientnet-small: it has a layer 'before' that"
    ):
        rebuild(ForeignNetwork(tmp_path / "theirs.keras", SIDE_PX, CATEGORIES))


def test_a_head_without_a_dense_layer_is_refused() -> None:
    pooled = keras.Sequential([keras.Input((3,)), layers.Dropout(0.1), layers.Softmax()])
    with pytest.raises(ForeignHead, match="there is no Dense layer in it"):
        folded(pooled.layers, features=3)

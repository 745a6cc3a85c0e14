"""EfficientNetB0 (Tan and Le, 2019, arXiv:1905.11946), as keras.applications builds it."""

from __future__ import annotations

from typing import Any

import keras


def build(*, input_px: int, categories: int, dropout: float = 0.0) -> keras.Model:
    """Build an untrained EfficientNetB0 with a linear head.

    Args:
        input_px: Side of the square input, at least 32 px.
        categories: Width of the head.
        dropout: Share of the pooled features that training drops, in [0, 1).

    Returns:
        A model from float32 (batch, input_px, input_px, 3), as `preprocess` gives it, to logits (batch, categories).
    """
    backbone = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(input_px, input_px, 3), pooling="avg"
    )
    features = keras.layers.Dropout(dropout, name="head_dropout")(backbone.output)
    logits = keras.layers.Dense(categories, name="logits", dtype="float32")(features)
    return keras.Model(backbone.input, logits, name="efficientnetb0")


def preprocess(images: Any) -> Any:
    """Return the images as they are: keras.applications' EfficientNet rescales 0-255 by its own first layers."""
    return images

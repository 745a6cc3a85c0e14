"""Build Xception (Chollet, 2017, arXiv:1610.02357) from keras.applications."""

from __future__ import annotations

from typing import Any

import keras


def build(*, input_px: int, categories: int, dropout: float = 0.0) -> keras.Model:
    """Build an untrained Xception with a linear head.

    Args:
        input_px: Side of the square input, at least 71 px.
        categories: Number of categories, the width of the head.
        dropout: Share of the pooled features that training drops, in [0, 1).

    Returns:
        A model from float32 (batch, input_px, input_px, 3), as `preprocess` returns it, to float32 logits
        (batch, categories).
    """
    body = backbone(input_px=input_px)
    features = keras.layers.Dropout(dropout, name="head_dropout")(body.output)
    logits = keras.layers.Dense(categories, name="logits", dtype="float32")(features)
    return keras.Model(body.input, logits, name="xception")


def backbone(*, input_px: int, weights: str | None = None, pooling: str = "avg") -> keras.Model:
    """Build Xception without its head, up to the pooled features.

    Args:
        input_px: Side of the square input, at least 71 px.
        weights: `imagenet` downloads the weights of keras.applications; None leaves the network untrained.
        pooling: How the feature map becomes one vector, `avg` or `max`.
    """
    return keras.applications.Xception(
        include_top=False, weights=weights, input_shape=(input_px, input_px, 3), pooling=pooling
    )


def preprocess(images: Any) -> Any:
    """Scale pixel values from 0-255 to [-1, 1], the range that Xception was designed for."""
    return images / 127.5 - 1.0

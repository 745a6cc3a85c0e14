"""A small architecture for tests of training; its layers have names like those of the large architectures."""

from __future__ import annotations

from typing import Any

import keras

NAME = "tiny"


def backbone(*, input_px: int, weights: str | None = None, pooling: str = "avg") -> Any:
    """Return a network of two small blocks, up to the pooled features."""
    inputs = keras.Input((input_px, input_px, 3))
    values = inputs
    for block in ("block1a", "block2a"):
        values = keras.layers.Conv2D(6, 3, strides=2, name=f"{block}_conv")(values)
        values = keras.layers.BatchNormalization(name=f"{block}_bn")(values)
        values = keras.layers.Activation("relu", name=f"{block}_activation")(values)
    pooled = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}[pooling]
    return keras.Model(inputs, pooled()(values), name=NAME)


def build(*, input_px: int, categories: int, dropout: float = 0.0) -> Any:
    """Return the network with a linear head."""
    body = backbone(input_px=input_px)
    features = keras.layers.Dropout(dropout, name="head_dropout")(body.output)
    logits = keras.layers.Dense(categories, name="logits", dtype="float32")(features)
    return keras.Model(body.input, logits, name=NAME)


def preprocess(images: Any) -> Any:
    """Scale 0-255 to [-1, 1]."""
    return images / 127.5 - 1.0

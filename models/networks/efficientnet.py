"""EfficientNetB0 to B7 (Tan and Le, 2019, arXiv:1905.11946), as keras.applications builds them."""

from __future__ import annotations

from typing import Any

import keras


class EfficientNet:
    """One size of the family."""

    def __init__(self, size: str) -> None:
        """Name a size, `B0` to `B7`."""
        self.size = size

    def build(self, *, input_px: int, categories: int, dropout: float = 0.0) -> keras.Model:
        """Build an untrained network with a linear head.

        Args:
            input_px: Side of the square input, at least 32 px.
            categories: Width of the head.
            dropout: Share of the pooled features that training drops, in [0, 1).

        Returns:
            A model from float32 (batch, input_px, input_px, 3), as `preprocess` gives it, to logits
            (batch, categories).
        """
        backbone = self.backbone(input_px=input_px)
        features = keras.layers.Dropout(dropout, name="head_dropout")(backbone.output)
        logits = keras.layers.Dense(categories, name="logits", dtype="float32")(features)
        return keras.Model(backbone.input, logits, name=f"efficientnet{self.size.lower()}")

    def backbone(self, *, input_px: int, weights: str | None = None) -> keras.Model:
        """Build the part before the head; `weights="imagenet"` downloads those of keras.applications."""
        family = getattr(keras.applications, f"EfficientNet{self.size}")
        return family(include_top=False, weights=weights, input_shape=(input_px, input_px, 3), pooling="avg")

    def preprocess(self, images: Any) -> Any:
        """Return the images as they are: keras.applications' EfficientNet rescales 0-255 by its own first layers."""
        return images


B0 = EfficientNet("B0")
B1 = EfficientNet("B1")
B2 = EfficientNet("B2")
B3 = EfficientNet("B3")
B4 = EfficientNet("B4")
B5 = EfficientNet("B5")
B6 = EfficientNet("B6")
B7 = EfficientNet("B7")

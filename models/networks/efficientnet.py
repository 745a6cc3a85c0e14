"""Build EfficientNetB0 to B7 (Tan and Le, 2019, arXiv:1905.11946) from keras.applications."""

from __future__ import annotations

from typing import Any

import keras


class EfficientNet:
    """One size of the EfficientNet family, as `models.networks.registry.Architecture` requires it."""

    def __init__(self, size: str) -> None:
        """Set the size, `B0` to `B7`."""
        self.size = size

    def build(self, *, input_px: int, categories: int, dropout: float = 0.0) -> keras.Model:
        """Build an untrained network with a linear head.

        Args:
            input_px: Side of the square input, at least 32 px.
            categories: Number of categories, the width of the head.
            dropout: Share of the pooled features that training drops, in [0, 1).

        Returns:
            A model from float32 (batch, input_px, input_px, 3), as `preprocess` returns it, to float32 logits
            (batch, categories).
        """
        backbone = self.backbone(input_px=input_px)
        features = keras.layers.Dropout(dropout, name="head_dropout")(backbone.output)
        logits = keras.layers.Dense(categories, name="logits", dtype="float32")(features)
        return keras.Model(backbone.input, logits, name=f"efficientnet{self.size.lower()}")

    def backbone(self, *, input_px: int, weights: str | None = None, pooling: str = "avg") -> keras.Model:
        """Build the network without its head, up to the pooled features.

        Args:
            input_px: Side of the square input, at least 32 px.
            weights: `imagenet` downloads the weights of keras.applications; None leaves the network untrained.
            pooling: How the feature map becomes one vector, `avg` or `max`.
        """
        family = getattr(keras.applications, f"EfficientNet{self.size}")
        return family(include_top=False, weights=weights, input_shape=(input_px, input_px, 3), pooling=pooling)

    def preprocess(self, images: Any) -> Any:
        """Return the images unchanged, 0-255: the first layers of keras.applications' EfficientNet rescale them."""
        return images


B0 = EfficientNet("B0")
B1 = EfficientNet("B1")
B2 = EfficientNet("B2")
B3 = EfficientNet("B3")
B4 = EfficientNet("B4")
B5 = EfficientNet("B5")
B6 = EfficientNet("B6")
B7 = EfficientNet("B7")

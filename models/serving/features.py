"""Compute the features of a frozen backbone: what the last layer of a network receives, pooled, for each image.

Call `models.serving.environment.prepare_environment` before this module is imported, as for the predictor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.networks.inputs import network_input
from models.serving.keras_engine import compiled
from models.spec import Images, NetworkSpec


class FeatureExtractor:
    """Backbone of a network behind one call, compiled once; it prepares its input as serving does."""

    def __init__(self, backbone: Any, network: NetworkSpec, *, side_px: int) -> None:
        """Compile the backbone.

        Args:
            backbone: The keras.Model from the network's input to its features (batch, features).
            network: Architecture, input size and value range of the network.
            side_px: Side of the square images that it will be given, in pixels; a network of a release is given squares
                of the largest input in the release.
        """
        self.width = int(backbone.output.shape[-1])
        """Number of features of an image."""
        self.side_px = side_px
        """Side of the square images, in pixels."""

        def forward(images: Any) -> list[Any]:
            from keras import ops

            return [ops.cast(backbone(network_input(images, network), training=False), "float32")]

        self._compiled = compiled(forward, networks=[backbone], side_px=side_px)

    def __call__(self, images: Images) -> NDArray[np.float32]:
        """Return the features of a batch, float32 (batch, features).

        Args:
            images: uint8 (batch, side_px, side_px, 3), RGB, 0-255.
        """
        return np.asarray(self._compiled(images)[0], np.float32)


def engine() -> str:
    """Return the name of the backend that computes: tensorflow, jax or torch."""
    import keras

    return str(keras.backend.backend())

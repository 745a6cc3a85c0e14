"""Run all networks of a release behind one `predict` call, by one of the engines.

Reads the release's weights files; writes nothing. With the engine of Keras, call
`models.serving.environment.prepare_environment` before, because TensorFlow reads its settings at import.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.answers.calibration import combine
from models.networks.pixels import PIXELS, pixel_statistics
from models.release import Release
from models.serving.engines import Engine, Precision
from models.spec import Images, Predictions


class EnsemblePredictor:
    """Ensemble of a release: all networks run on the same batch; their softmaxes are averaged and calibrated."""

    def __init__(
        self, release: Release, directory: Path, *, precision: Precision = "float32", engine: Engine | None = None
    ) -> None:
        """Load the networks as one function.

        Args:
            release: Release as `load_release` returns it, with verified weights files.
            directory: Directory of the release, with its weights files.
            precision: Precision of the engine of Keras, see `models.serving.keras_engine.KerasEngine`.
            engine: What computes the networks; None is the engine of Keras.
        """
        self._release = release
        self._weights = {network.architecture: network.ensemble_weight for network in release.networks}
        self._forward = (engine or _keras(precision)).open(release, directory)

    @property
    def decode_px(self) -> int:
        """Side of the square images that `predict` takes, in pixels."""
        return self._release.decode_px

    def predict(self, images: Images) -> Predictions:
        """Classify a batch of images. Safe to call from several threads.

        Args:
            images: uint8 (batch, decode_px, decode_px, 3), RGB, 0-255.

        Returns:
            Predictions with one row per image, in the order of the images; confidences and features from one call.

        Raises:
            ValueError: If the batch has another shape or dtype; resize with `models.networks.inputs.to_square` first.
        """
        if images.dtype != np.uint8 or images.shape[1:] != (self.decode_px, self.decode_px, 3):
            raise ValueError(
                f"expected uint8 images of {self.decode_px} x {self.decode_px} x 3, "
                f"received {images.dtype} of shape {images.shape}; decode them with "
                "models.networks.inputs.decode_square"
            )
        parts = [np.asarray(part, np.float32) for part in self._forward(images)]
        softmaxes, features = parts[: len(self._weights)], parts[len(self._weights) :]
        by_network = dict(zip(self._weights, softmaxes, strict=True))
        confidences = combine(by_network, weights=self._weights, temperature=self._release.temperature)
        by_name = dict(zip(self._weights, features, strict=True))
        return Predictions(confidences, by_network, {**by_name, PIXELS: pixel_statistics(images)})


def _keras(precision: Precision) -> Engine:
    from models.serving.keras_engine import KerasEngine

    return KerasEngine(precision)

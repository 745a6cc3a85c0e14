"""The networks of a release behind one `predict`, compiled once, on whichever backend Keras runs.

`models.serving.environment.prepare_environment` must have run before this module is imported: TensorFlow reads its
settings then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from models.answers.calibration import combine
from models.networks.inputs import network_input
from models.release import Release, load_network
from models.spec import Images, Predictions

Precision = Literal["float32", "mixed_float16"]


class EnsemblePredictor:
    """Every network of a release on the same decoded batch, averaged and calibrated."""

    def __init__(self, release: Release, directory: Path, *, precision: Precision = "float32") -> None:
        """Build the networks and compile them into one function.

        Args:
            release: As `load_release` verified it.
            directory: Where its weights are.
            precision: What the layers compute in; weights, logits and softmax are float32 in both. `mixed_float16` is
                for accelerators: processors emulate it slowly.
        """
        self._release = release
        self._weights = {network.architecture: network.ensemble_weight for network in release.networks}
        with _computing_in(precision):
            networks = [(network, load_network(release, directory, network)) for network in release.networks]

        def forward(images: Any) -> list[Any]:
            from keras import ops

            logits = [model(network_input(images, network), training=False) for network, model in networks]
            return [ops.softmax(ops.cast(each, "float32")) for each in logits]

        self._forward = _compiled(forward, side_px=release.decode_px)

    @property
    def decode_px(self) -> int:
        """Side of the square images that `predict` takes, in pixels."""
        return self._release.decode_px

    def predict(self, images: Images) -> Predictions:
        """Classify a batch; may be called from several threads.

        Args:
            images: uint8 (batch, decode_px, decode_px, 3), RGB, 0-255.

        Returns:
            Predictions with one row for each image, in the same order.

        Raises:
            ValueError: If the batch has another shape or type; resize with `models.networks.inputs.to_square` first.
        """
        if images.dtype != np.uint8 or images.shape[1:] != (self.decode_px, self.decode_px, 3):
            raise ValueError(
                f"expected uint8 images of {self.decode_px} x {self.decode_px} x 3, "
                f"received {images.dtype} of shape {images.shape}; decode them with "
                "models.networks.inputs.decode_square"
            )
        parts = [np.asarray(part) for part in self._forward(images)]
        by_network = {name: part.astype(np.float32) for name, part in zip(self._weights, parts, strict=True)}
        confidences = combine(by_network, weights=self._weights, temperature=self._release.temperature)
        return Predictions(confidences=confidences, by_network=by_network)


@contextmanager
def _computing_in(precision: Precision) -> Iterator[None]:
    """Build layers under a dtype policy, and leave the process's own as it was."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _compiled(forward: Callable[[Any], list[Any]], *, side_px: int) -> Callable[[Images], list[Any]]:
    """Compile a function of uint8 (batch, side_px, side_px, 3) for Keras's backend."""
    import keras

    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            # Any batch size, traced once.
            signature = tf.TensorSpec((None, side_px, side_px, 3), tf.uint8)
            graph = tf.function(forward, input_signature=[signature], autograph=False).get_concrete_function()
            return lambda images: [part.numpy() for part in graph(tf.constant(images))]
        case "jax":
            import jax

            jitted = jax.jit(forward)
            return lambda images: [np.asarray(part)[: len(images)] for part in jitted(_padded(images))]
        case _:
            import torch
            from keras import ops

            def without_gradients(images: Images) -> list[Any]:
                with torch.inference_mode():
                    return [part.cpu().numpy() for part in forward(ops.convert_to_tensor(images))]

            return without_gradients


def _padded(images: Images) -> Images:
    """Fill a batch up to the next power of two: JAX compiles anew for every size that it meets."""
    missing = (1 << (len(images) - 1).bit_length()) - len(images)
    return np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else images

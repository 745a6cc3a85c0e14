"""Run all networks of a release behind one `predict` call, compiled once for the backend that Keras uses.

Reads the release's weights files; writes nothing. Call `models.serving.environment.prepare_environment` before this
module is imported, because TensorFlow reads its settings at import.
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
    """Ensemble of a release: all networks run on the same batch; their softmaxes are averaged and calibrated."""

    def __init__(self, release: Release, directory: Path, *, precision: Precision = "float32") -> None:
        """Load the networks and compile them into one function.

        Args:
            release: Release as `load_release` returns it, with verified weights files.
            directory: Directory of the release, with its weights files.
            precision: Keras dtype policy in which the layers compute; weights, logits and softmax are float32 in both.
                Use `mixed_float16` only on accelerators, because processors emulate it slowly.
        """
        self._release = release
        self._weights = {network.architecture: network.ensemble_weight for network in release.networks}
        self.forward = forward_function(release, directory, precision=precision)
        """The networks before compilation; see `forward_function`."""
        self._compiled = compiled(self.forward, side_px=release.decode_px)

    @property
    def decode_px(self) -> int:
        """Side of the square images that `predict` takes, in pixels."""
        return self._release.decode_px

    def predict(self, images: Images) -> Predictions:
        """Classify a batch of images. Safe to call from several threads.

        Args:
            images: uint8 (batch, decode_px, decode_px, 3), RGB, 0-255.

        Returns:
            Predictions with one row per image, in the order of the images.

        Raises:
            ValueError: If the batch has another shape or dtype; resize with `models.networks.inputs.to_square` first.
        """
        if images.dtype != np.uint8 or images.shape[1:] != (self.decode_px, self.decode_px, 3):
            raise ValueError(
                f"expected uint8 images of {self.decode_px} x {self.decode_px} x 3, "
                f"received {images.dtype} of shape {images.shape}; decode them with "
                "models.networks.inputs.decode_square"
            )
        parts = [np.asarray(part) for part in self._compiled(images)]
        by_network = {name: part.astype(np.float32) for name, part in zip(self._weights, parts, strict=True)}
        confidences = combine(by_network, weights=self._weights, temperature=self._release.temperature)
        return Predictions(confidences=confidences, by_network=by_network)


def forward_function(release: Release, directory: Path, *, precision: Precision) -> Callable[[Any], list[Any]]:
    """Load the networks of a release into one function that is not compiled yet.

    Args:
        release: Release as `load_release` returns it.
        directory: Directory of the release, with its weights files.
        precision: Keras dtype policy in which the layers compute.

    Returns:
        Function from uint8 (batch, decode_px, decode_px, 3) to the softmax of each network, float32 (batch,
        categories); both are tensors of the Keras backend.
    """
    with _computing_in(precision):
        networks = [(network, load_network(release, directory, network)) for network in release.networks]

    def forward(images: Any) -> list[Any]:
        from keras import ops

        logits = [model(network_input(images, network), training=False) for network, model in networks]
        return [ops.softmax(ops.cast(output, "float32")) for output in logits]

    return forward


@contextmanager
def _computing_in(precision: Precision) -> Iterator[None]:
    """Set the Keras dtype policy for the block; restore the former policy afterwards."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def compiled(forward: Callable[[Any], list[Any]], *, side_px: int) -> Callable[[Images], list[Any]]:
    """Compile a function of uint8 images (batch, side_px, side_px, 3) for the current Keras backend.

    Args:
        forward: Function from tensors of the backend to a list of such tensors, each with one row per image.
        side_px: Side of the square images, in pixels.

    Returns:
        Function from a batch of images, of any size, to arrays.
    """
    import keras

    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            # The batch size is open (None), so the function is traced only once.
            signature = tf.TensorSpec((None, side_px, side_px, 3), tf.uint8)
            graph = tf.function(forward, input_signature=[signature], autograph=False).get_concrete_function()
            return lambda images: [part.numpy() for part in graph(tf.constant(images))]
        case "jax":
            import jax

            return _PaddedCalls(jax.jit(forward))
        case _:
            import torch
            from keras import ops

            def without_gradients(images: Images) -> list[Any]:
                with torch.inference_mode():
                    return [part.cpu().numpy() for part in forward(ops.convert_to_tensor(images))]

            return without_gradients


class _PaddedCalls:
    """Calls a function that JAX compiles anew for every batch size, with as few different sizes as possible.

    A batch is padded with black images to the next power of two, or to the largest size that was computed before:
    computing a few black images takes milliseconds, compiling for another size up to a minute.
    """

    def __init__(self, jitted: Callable[[Images], list[Any]]) -> None:
        self._jitted = jitted
        self._largest = 0

    def __call__(self, images: Images) -> list[Any]:
        size = max(1 << (len(images) - 1).bit_length(), self._largest)
        missing = size - len(images)
        padded = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else images
        try:
            parts = [np.asarray(part)[: len(images)] for part in self._jitted(padded)]
        except Exception:  # out of memory, perhaps: a smaller batch must not be padded to this size again
            self._largest = 0
            raise
        self._largest = size
        return parts

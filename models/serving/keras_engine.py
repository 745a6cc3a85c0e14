"""The engine of Keras: runs the networks of a release on the backend that Keras uses, compiled once.

On TensorFlow the weights become constants of the graph, so that TensorFlow folds each BatchNormalization into the
convolution before it. Call `models.serving.environment.prepare_environment` before this module is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.networks.heads import features_tensor
from models.networks.inputs import network_input
from models.release import Release, load_network
from models.serving.engines import Forward, Precision
from models.spec import Images, NetworkSpec

MOST_CONSTANT_BYTES = 1 << 30
"""Most bytes of weights that become constants of a graph: TensorFlow's messages end at twice as many."""


@dataclass(frozen=True)
class KerasEngine:
    """The engine of Keras, for accelerators and processors.

    Attributes:
        precision: Keras dtype policy in which the layers compute; weights, logits and softmax are float32 in both. Use
            `mixed_float16` only on accelerators, because processors emulate it slowly.
    """

    precision: Precision = "float32"

    def open(self, release: Release, directory: Path) -> Forward:
        """Load the networks of a release and compile them into one function; see `models.serving.engines.Engine`."""
        networks = LoadedKerasNetworks(release, directory, precision=self.precision)
        return compiled(networks, networks=networks.models, side_px=release.decode_px)


class LoadedKerasNetworks:
    """All networks of a release as one function of the Keras backend, not compiled yet."""

    def __init__(self, release: Release, directory: Path, *, precision: Precision) -> None:
        """Load the networks.

        Args:
            release: Release as `load_release` returns it.
            directory: Directory of the release, with its weights files.
            precision: Keras dtype policy in which the layers compute.

        Raises:
            ReleaseError: If a weight is not a finite number; train the network again.
        """
        self._specs = release.networks
        with _computing_in(precision):
            self.models = [_with_features(load_network(release, directory, spec), spec) for spec in release.networks]
            """The keras.Model of each network, from its input to its logits and features."""

    def __call__(self, images: Any) -> list[Any]:
        """Compute uint8 images (batch, decode_px, decode_px, 3), as an array or a tensor of the Keras backend.

        Returns:
            What `models.serving.engines.Forward` returns, as tensors of the Keras backend.
        """
        from keras import ops

        pairs = zip(self._specs, self.models, strict=True)
        outputs = [model(network_input(images, spec), training=False) for spec, model in pairs]
        softmaxes = [ops.softmax(ops.cast(logits, "float32")) for logits, _ in outputs]
        return softmaxes + [ops.cast(features, "float32") for _, features in outputs]


def _with_features(network: Any, spec: NetworkSpec) -> Any:
    """Return the keras.Model of a network that gives its logits and its features."""
    import keras

    return keras.Model(network.input, [network.output, features_tensor(network, spec.head)])


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


def compiled(
    forward: Callable[[Any], list[Any]], *, networks: Sequence[Any], side_px: int
) -> Callable[[Images], list[Any]]:
    """Compile a function of uint8 images (batch, side_px, side_px, 3) for the current Keras backend.

    Args:
        forward: Function from tensors of the backend to a list of such tensors, each with one row per image.
        networks: The keras.Models that it calls.
        side_px: Side of the square images, in pixels.

    Returns:
        Function from a batch of images, of any size, to arrays.
    """
    import keras

    match keras.backend.backend():
        case "tensorflow":
            return as_forward(frozen_graph(forward, networks, side_px=side_px))
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


def frozen_graph(forward: Callable[[Any], list[Any]], networks: Sequence[Any], *, side_px: int) -> Any:
    """Trace a function into a TensorFlow graph whose weights are constants; see `compiled` for the arguments.

    The weights stay variables if they have more than `MOST_CONSTANT_BYTES`. The same numbers come out, in more time.
    """
    import keras
    import tensorflow as tf

    variables = [variable for network in networks for variable in network.variables]
    weights = [keras.ops.convert_to_numpy(variable) for variable in variables]
    fits = sum(each.nbytes for each in weights) <= MOST_CONSTANT_BYTES

    def with_constants(images: Any) -> list[Any]:
        constants = [(variable, tf.constant(each)) for variable, each in zip(variables, weights, strict=True)]
        with keras.StatelessScope(state_mapping=constants):
            return forward(images)

    # The batch size is open (None), so the function is traced only once.
    signature = tf.TensorSpec((None, side_px, side_px, 3), tf.uint8, name="images")
    traced = tf.function(with_constants if fits else forward, input_signature=[signature], autograph=False)
    return traced.get_concrete_function()


def as_forward(graph: Any) -> Forward:
    """Return a graph of TensorFlow, as `frozen_graph` returns it, as a function from arrays to arrays."""
    import tensorflow as tf

    return lambda images: [part.numpy() for part in graph(tf.constant(images))]


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

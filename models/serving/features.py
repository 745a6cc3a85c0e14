"""Compute the features of a frozen backbone: what the last layer of a network receives, pooled, for each image.

OpenVINO computes them on processors, as it serves the release that will be made. Call
`models.serving.environment.prepare_environment` before this module is imported, as for the predictor.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.networks.inputs import network_input
from models.serving.converted import check_openvino
from models.serving.devices import device, keras_backend
from models.serving.engines import OPENVINO, EngineError, Forward
from models.serving.environment import usable_cores
from models.serving.keras_engine import as_forward, compiled, frozen_graph
from models.serving.openvino_engine import forward_of
from models.spec import Images, NetworkSpec

log = logging.getLogger(__name__)


class FeatureExtractor:
    """Backbone of a network behind one call, compiled once; it prepares its input as serving does."""

    def __init__(self, backbone: Any, network: NetworkSpec, *, side_px: int, engine: str) -> None:
        """Compile the backbone.

        Args:
            backbone: The keras.Model from the network's input to its features (batch, features).
            network: Architecture, input size and value range of the network.
            side_px: Side of the square images that it will be given, in pixels; a network of a release is given squares
                of the largest input in the release.
            engine: What computes, as `feature_engine` returns it. A backbone that OpenVINO cannot convert is computed
                by Keras, with the same features to five digits, and a warning says so.
        """
        self.width = int(backbone.output.shape[-1])
        """Number of features of an image."""
        self.side_px = side_px
        """Side of the square images, in pixels."""
        self.engine = engine
        """What computes: `engine`, or the backend of Keras in its place."""

        def forward(images: Any) -> list[Any]:
            from keras import ops

            return [ops.cast(backbone(network_input(images, network), training=False), "float32")]

        if engine == OPENVINO:
            self._compiled, self.engine = _by_openvino(forward, backbone, network, side_px)
        else:
            self._compiled = compiled(forward, networks=[backbone], side_px=side_px)

    def __call__(self, images: Images) -> NDArray[np.float32]:
        """Return the features of a batch, float32 (batch, features).

        Args:
            images: uint8 (batch, side_px, side_px, 3), RGB, 0-255.
        """
        return np.asarray(self._compiled(images)[0], np.float32)


def feature_engine(demanded: str = "auto") -> str:
    """Return what computes features here: `openvino` on processors, else the backend of Keras.

    Args:
        demanded: `auto`, `openvino` or `keras`.

    Raises:
        EngineError: If OpenVINO is demanded, and is missing or of another version.
    """
    backend = keras_backend()
    if demanded == "keras" or backend != "tensorflow" or (demanded == "auto" and device().accelerator):
        return backend
    try:
        check_openvino()
    except EngineError as error:
        if demanded == OPENVINO:
            raise
        log.warning("features are computed by Keras, which is slower on processors: %s", error)
        return backend
    return OPENVINO


def _by_openvino(forward: Any, backbone: Any, network: NetworkSpec, side_px: int) -> tuple[Forward, str]:
    """Convert a backbone and compare its features; return Keras's own function if they differ, and what computes."""
    from models.serving.conversion import compare, openvino_model

    graph = frozen_graph(forward, [backbone], side_px=side_px)
    keras = as_forward(graph)
    try:
        converted = forward_of(openvino_model(graph), threads=usable_cores(), side_px=side_px)
        compare([f"features of {network.architecture}"], keras, converted, side_px=side_px)
    except EngineError as error:
        log.warning("features of %s are computed by Keras, which is slower: %s", network.architecture, error)
        return keras, keras_backend()
    return converted, OPENVINO

"""Turn JPEG bytes into network input. Training, evaluation and serving all use this module.

There are two steps. `decode_square` runs in reader threads, where OpenCV releases the interpreter lock; its squares
form one uint8 batch for all networks. `network_input` runs on the accelerator, inside the compiled function, and
converts the batch to the input size and value range of each network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.networks.registry import architecture
from models.spec import Images, NetworkSpec

RANGES: dict[str, Callable[[Any], Any] | None] = {
    "own": None,
    "0-255": lambda pixels: pixels,
    "0-1": lambda pixels: pixels / 255.0,
    "-1-1": lambda pixels: pixels / 127.5 - 1.0,
}
"""By name of a value range, the conversion to it from 0-255; `own` uses the architecture's `preprocess`."""


def decode_square(jpeg: bytes, side_px: int, *, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Decode a JPEG for a network's input and stretch it to a square.

    Args:
        jpeg: Content of a JPEG file as ingest stores it: RGB, upright.
        side_px: Side of the square, in pixels.
        out: Array that receives the square, contiguous uint8 (side_px, side_px, 3); None allocates a new one.

    Returns:
        uint8 (side_px, side_px, 3), RGB, 0-255.

    Raises:
        ValueError: If the bytes are not a decodable image.
    """
    try:
        blue_first = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) if jpeg else None
    except cv2.error:  # the header declares more pixels than OpenCV accepts
        blue_first = None
    if blue_first is None:
        raise ValueError(f"expected a JPEG, received {len(jpeg)} bytes that OpenCV cannot decode")
    square = to_square(np.asarray(blue_first, np.uint8), side_px)  # before swapping channels: fewer pixels to swap
    return np.asarray(cv2.cvtColor(square, cv2.COLOR_BGR2RGB, dst=out), np.uint8)


def to_square(pixels: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Stretch an input image to a square: bilinear, or by area averaging if a side shrinks to less than half.

    Area averaging takes seven times as long as bilinear, and looks different only where bilinear would skip pixels.

    Args:
        pixels: uint8 (height_px, width_px, 3), 0-255.
        side_px: Side of the square, in pixels.

    Returns:
        uint8 (side_px, side_px, 3), 0-255.
    """
    height_px, width_px = pixels.shape[:2]
    if (height_px, width_px) == (side_px, side_px):
        return pixels
    if max(height_px, width_px) > 2 * side_px:
        # OpenCV averages areas only if neither side grows, so a narrow image is shrunk along its long side first.
        shrunk = (min(width_px, side_px), min(height_px, side_px))
        pixels = np.asarray(cv2.resize(pixels, shrunk, interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(pixels, (side_px, side_px), interpolation=cv2.INTER_LINEAR), np.uint8)


def network_input(images: Images | Any, network: NetworkSpec) -> Any:
    """Convert a decoded batch to the input size and value range of one network; part of the compiled function.

    Args:
        images: uint8 (batch, decode_px, decode_px, 3), RGB, 0-255; an array or a tensor of the backend.
        network: Network that receives the batch.

    Returns:
        Tensor of the backend, float32 (batch, input_px, input_px, 3), in the value range of the network.
    """
    from keras import ops

    pixels = ops.cast(images, "float32")
    if images.shape[1] != network.input_px:
        pixels = ops.image.resize(
            pixels,
            (network.input_px, network.input_px),
            interpolation="bilinear",
            data_format="channels_last",
        )
    into_range = RANGES[network.preprocessing]
    return into_range(pixels) if into_range else architecture(network.architecture).preprocess(pixels)

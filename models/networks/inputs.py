"""From JPEG bytes to what a network sees: the one way, in training, evaluation and serving.

Two steps. `decode_square` runs in reader threads (OpenCV releases the interpreter lock) and yields one uint8 batch for
all networks; `network_input` runs on the accelerator inside the compiled function and gives each network its own size
and range.
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
"""The ranges that a network may have been trained on; `own` leaves it to the architecture."""


def decode_square(jpeg: bytes, side_px: int) -> NDArray[np.uint8]:
    """Decode a JPEG and stretch it to a square.

    Args:
        jpeg: A JPEG as ingest stores it: RGB, upright.
        side_px: Side of the square, in pixels.

    Returns:
        uint8 (side_px, side_px, 3), RGB, 0-255.

    Raises:
        ValueError: If the bytes are not a decodable image.
    """
    try:
        blue_first = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) if jpeg else None
    except cv2.error:  # a header that promises more pixels than OpenCV takes
        blue_first = None
    if blue_first is None:
        raise ValueError(f"expected a JPEG, received {len(jpeg)} bytes that OpenCV cannot decode")
    square = to_square(np.asarray(blue_first, np.uint8), side_px)  # before swapping channels: fewer pixels to swap
    return np.asarray(cv2.cvtColor(square, cv2.COLOR_BGR2RGB), np.uint8)


def to_square(pixels: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Stretch an image to a square: bilinear, or averaging areas where a side shrinks to less than half.

    Area averaging costs seven times as much as bilinear and looks no different until bilinear would skip pixels.

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
        # OpenCV averages areas only where neither side grows, so a thin image is shrunk along its long side first.
        shrunk = (min(width_px, side_px), min(height_px, side_px))
        pixels = np.asarray(cv2.resize(pixels, shrunk, interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(pixels, (side_px, side_px), interpolation=cv2.INTER_LINEAR), np.uint8)


def network_input(images: Images | Any, network: NetworkSpec) -> Any:
    """Give one network its size and range of a decoded batch; traced into the compiled function.

    Args:
        images: uint8 (batch, decode_px, decode_px, 3), RGB, 0-255: an array or the backend's tensor.
        network: Whose input it becomes.

    Returns:
        The backend's float32 tensor (batch, input_px, input_px, 3) in the network's own range.
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

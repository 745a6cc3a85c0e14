"""Changing training images a little, so that networks learn what does not matter; on decoded squares."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST_CROP = 0.8
BRIGHTNESS = 0.15


def augment(square: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Mirror half of the images, cut out at least four fifths of each side, and change the brightness by up to 15 %.

    Args:
        square: uint8 (side_px, side_px, 3), RGB, 0-255; stays as it is.
        random: Decides; the same generator state gives the same image.

    Returns:
        uint8 (side_px, side_px, 3), RGB, 0-255.
    """
    side_px = square.shape[0]
    kept_px = max(1, round(side_px * random.uniform(SMALLEST_CROP, 1.0)))
    top, left = random.integers(0, side_px - kept_px + 1, size=2)
    part = square[top : top + kept_px, left : left + kept_px]
    if random.random() < 0.5:
        part = part[:, ::-1]
    resized = cv2.resize(np.ascontiguousarray(part), (side_px, side_px), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.convertScaleAbs(resized, alpha=random.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS)), np.uint8)

"""Changing training images a little, so that networks learn what does not matter; on decoded squares."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST_CROP = 0.8
BRIGHTNESS = 0.15

SHIFT_PX = 3
ERASED_SHARE = 0.3
SMALLEST_ERASED, LARGEST_ERASED = 0.02, 0.2
LIGHT_SHIFT_PX = 1


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


def augment_article(square: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Mirror half of the images, move each by up to 3 px over black, and cover a part of every third with grey.

    For small articles on black ground that fill their square: cropping would cut off what tells them apart. Covering a
    rectangle of up to a fifth of the area is random erasing (Zhong et al., 2017, arXiv:1708.04896).

    Args:
        square: uint8 (side_px, side_px, 3), RGB, 0-255; stays as it is.
        random: Decides; the same generator state gives the same image.

    Returns:
        uint8 (side_px, side_px, 3), RGB, 0-255.
    """
    moved = _mirrored_and_moved(square, random, SHIFT_PX)
    if random.random() < ERASED_SHARE:
        side_px = square.shape[0]
        area = side_px**2 * random.uniform(SMALLEST_ERASED, LARGEST_ERASED)
        shape = np.exp(random.uniform(-1, 1))
        height = int(np.clip(np.sqrt(area * shape), 1, side_px))
        width = int(np.clip(np.sqrt(area / shape), 1, side_px))
        top, left = random.integers(0, side_px - height + 1), random.integers(0, side_px - width + 1)
        moved[top : top + height, left : left + width] = random.integers(0, 256)
    return moved


def augment_article_lightly(square: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Mirror half of the images and move each by up to 1 px over black.

    For the last epochs of a network that is right of changed articles as often as of unchanged ones: it then learns
    from images as it will see them (He et al., 2019, arXiv:1909.09148, refine on clean data after augmented data).

    Args:
        square: uint8 (side_px, side_px, 3), RGB, 0-255; stays as it is.
        random: Decides; the same generator state gives the same image.

    Returns:
        uint8 (side_px, side_px, 3), RGB, 0-255.
    """
    return _mirrored_and_moved(square, random, LIGHT_SHIFT_PX)


def _mirrored_and_moved(square: NDArray[np.uint8], random: np.random.Generator, shift_px: int) -> NDArray[np.uint8]:
    side_px = square.shape[0]
    mirrored = square[:, ::-1] if random.random() < 0.5 else square
    padded = np.pad(mirrored, ((shift_px, shift_px), (shift_px, shift_px), (0, 0)))
    top, left = random.integers(0, 2 * shift_px + 1, size=2)
    return padded[top : top + side_px, left : left + side_px].copy()

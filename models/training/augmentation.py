"""Augment decoded training images, so that networks learn which differences do not matter."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST_CROP = 0.8
"""Smallest side of a crop, as a share of the side of the image."""

BRIGHTNESS = 0.15
"""Largest relative change of the brightness."""

SHIFT_PX = 3
"""Largest shift of an article in each direction, in pixels."""

ERASED_SHARE = 0.3
"""Share of the images of which a rectangle is erased."""

SMALLEST_ERASED, LARGEST_ERASED = 0.02, 0.2
"""Smallest and largest area of the erased rectangle, as a share of the image."""

LIGHT_SHIFT_PX = 1
"""Largest shift in each direction in the light augmentation, in pixels."""


def augment(square: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Augment: mirror half of the images, crop to at least 80 % of a side, change the brightness by up to 15 %.

    Args:
        square: uint8 (side_px, side_px, 3), RGB, 0-255; is not changed.
        random: Generator of all random choices; the same state gives the same image.

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
    """Augment: mirror half of the images, shift by up to 3 px over black, erase a grey rectangle in 30 % of them.

    For small articles on a black background that fill their square: cropping would remove the details that distinguish
    them. Covering a rectangle of up to a fifth of the area is random erasing (Zhong et al., 2017, arXiv:1708.04896).

    Args:
        square: uint8 (side_px, side_px, 3), RGB, 0-255; is not changed.
        random: Generator of all random choices; the same state gives the same image.

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
    """Augment lightly: mirror half of the images and shift each by up to 1 px over black.

    For the last epochs of a network that is as accurate on augmented articles as on unchanged ones: it then learns from
    images as serving will give them (He et al., 2019, arXiv:1909.09148, refine on clean data after augmented data).

    Args:
        square: uint8 (side_px, side_px, 3), RGB, 0-255; is not changed.
        random: Generator of all random choices; the same state gives the same image.

    Returns:
        uint8 (side_px, side_px, 3), RGB, 0-255.
    """
    return _mirrored_and_moved(square, random, LIGHT_SHIFT_PX)


def _mirrored_and_moved(square: NDArray[np.uint8], random: np.random.Generator, shift_px: int) -> NDArray[np.uint8]:
    """Return a copy that is mirrored at random and shifted by up to `shift_px` pixels over black."""
    side_px = square.shape[0]
    mirrored = square[:, ::-1] if random.random() < 0.5 else square
    padded = np.pad(mirrored, ((shift_px, shift_px), (shift_px, shift_px), (0, 0)))
    top, left = random.integers(0, 2 * shift_px + 1, size=2)
    return padded[top : top + side_px, left : left + side_px].copy()

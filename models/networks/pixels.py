"""Statistics of an image's pixels: colours, contrast and border. They find unusual pictures without a network."""

from __future__ import annotations

import numpy as np

from models.spec import Features, Images

PIXELS = "pixels"
"""Name of these statistics among the features of the networks."""

STATISTICS = 14
"""Number of statistics of an image."""

_SIDE_PX = 32
"""About so many pixels a side are looked at, and at most twice as many."""

_DARK, _BRIGHT = 0.06, 0.94
_TOGETHER = 64
"""Images whose pixels are float32 at once: 3 MB."""


def pixel_statistics(images: Images) -> Features:
    """Return statistics of the pixels of square images, all in [0, 1], float32 (batch, 14).

    They are the mean and the standard deviation of red, green and blue, of the saturation (the largest channel minus
    the smallest), the mean difference of neighbours in grey downwards and to the right, mean and standard deviation of
    the grey along the border, and the shares of dark and of bright pixels.

    Args:
        images: uint8 (batch, side_px, side_px, 3), RGB, 0-255.
    """
    stride = max(1, images.shape[1] // _SIDE_PX)
    found = np.empty((len(images), STATISTICS), np.float32)
    for start in range(0, len(images), _TOGETHER):
        part = images[start : start + _TOGETHER, ::stride, ::stride]
        channels = np.ascontiguousarray(np.moveaxis(part, 3, 0)).astype(np.float32) / np.float32(255)
        found[start : start + _TOGETHER] = _statistics(*channels)
    return found


def _statistics(red: Features, green: Features, blue: Features) -> Features:
    """Return the statistics of images by their channels, (batch, side, side) with values in [0, 1]."""
    grey = (red + green + blue) / np.float32(3)
    saturation = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    border = np.concatenate([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], axis=1)
    inside = (1, 2)
    columns = [
        *(channel.mean(axis=inside) for channel in (red, green, blue)),
        *(channel.std(axis=inside) for channel in (red, green, blue)),
        saturation.mean(axis=inside),
        saturation.std(axis=inside),
        np.abs(grey[:, 1:] - grey[:, :-1]).mean(axis=inside),
        np.abs(grey[:, :, 1:] - grey[:, :, :-1]).mean(axis=inside),
        border.mean(axis=1),
        border.std(axis=1),
        (grey < _DARK).mean(axis=inside),
        (grey > _BRIGHT).mean(axis=inside),
    ]
    return np.stack(columns, axis=1).astype(np.float32)

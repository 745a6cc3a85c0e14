"""Find the layers that others put in front of a backbone, and whether serving prepares images in the same way.

Serving stretches images to a square and scales them to one of the value ranges of `models.networks.inputs.RANGES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.networks.backbones import StoredLayer

_STEMS = ("stem_conv_pad", "stem_conv", "block1_conv1")
"""First layers of the backbones, except for EfficientNet's own scaling."""

_SIZED = ("Resizing", "CenterCrop", "RandomCrop")
_IDENTITIES = (
    *("InputLayer", "Identity", "Dropout", "SpatialDropout2D", "GaussianDropout", "GaussianNoise"),
    *("AlphaDropout", "ActivityRegularization", "RandAugment", "AugMix"),
)
_EXACT = 1e-3
"""Largest difference between two value ranges that count as one, on the scale of 0-255."""

Pixels = NDArray[np.float64]


def without_front(layers: Sequence[StoredLayer]) -> tuple[list[StoredLayer], list[StoredLayer]]:
    """Divide the layers of a network into those in front of its backbone and the rest.

    EfficientNet begins with layers of its own: Rescaling, Normalization and, with ImageNet's weights, another Rescaling
    by channel. They belong to the rest.

    Args:
        layers: All layers, in order.

    Returns:
        The layers in front that change an image when it is predicted, and the backbone with what follows. Layers in
        front that learned anything else than statistics of pixels belong to the rest: no preprocessing is like them.
    """
    stem = next((place for place, layer in enumerate(layers) if layer.name in _STEMS), 0)
    start = stem
    if stem and layers[stem].name != "block1_conv1":
        by_channel = _is(layers, stem - 1, "Rescaling") and np.size(layers[stem - 1].options.get("scale", 1)) > 1
        norm = stem - 2 if by_channel else stem - 1
        if _is(layers, norm, "Normalization") and _is(layers, norm - 1, "Rescaling"):
            start = norm - 1
    learned = [layer for layer in layers[:start] if layer.weights and layer.kind != "Normalization"]
    front = [layer for layer in layers[:start] if _changes(layer) and layer not in learned]
    return front, [*learned, *layers[start:]]


def _is(layers: Sequence[StoredLayer], place: int, kind: str) -> bool:
    return place >= 0 and layers[place].kind == kind


def other_size(front: Sequence[StoredLayer], input_px: int) -> StoredLayer | None:
    """Return the first layer in front that makes images of another size than the network's input, in pixels."""
    for layer in front:
        sides = (layer.options.get("height", input_px), layer.options.get("width", input_px))
        if layer.kind in _SIZED and sides != (input_px, input_px):
            return layer
    return None


def scaled(front: Sequence[StoredLayer]) -> Callable[[Pixels], Pixels] | None:
    """Return what the layers in front make of pixel values; None if they do more than scale them.

    Returns:
        A function of float64 (..., 3), the values of the channels, to the same shape.
    """
    steps = []
    for layer in front:
        if layer.kind in _SIZED:
            continue  # of the same size as the input, as `other_size` has checked
        try:
            found = _numbers(layer)
        except (TypeError, ValueError):
            return None
        if found is None:
            return None
        steps.append(found)

    def apply(pixels: Pixels) -> Pixels:
        for factor, shift in steps:
            pixels = pixels * factor + shift
        return pixels

    return apply


def same_range(made: Any, served: Any) -> bool:
    """Return whether two scalings of the values 0-255 are the same but for rounding."""
    made, served = np.asarray(made, np.float64), np.asarray(served, np.float64)
    return bool(np.abs(made - served).max() <= _EXACT / 255 * max(np.ptp(served), 1e-9))


def _changes(layer: StoredLayer) -> bool:
    """Return whether a layer changes an image that is predicted; layers for training pass it on as it is."""
    if layer.kind in _SIZED:
        return True
    return layer.kind not in _IDENTITIES and not layer.kind.startswith("Random")


def _numbers(layer: StoredLayer) -> tuple[Pixels, Pixels] | None:
    """Return factor and shift of a layer that scales each channel; None if it is another layer."""
    options = layer.options
    if layer.kind == "Rescaling":
        return _channels(options.get("scale", 1.0)), _channels(options.get("offset", 0.0))
    if layer.kind != "Normalization" or list(np.ravel(options.get("axis", -1))) not in ([-1], [3]):
        return None
    if options.get("invert"):
        return None
    mean, variance = layer.weights[:2] if layer.weights else (options.get("mean"), options.get("variance"))
    deviation = np.maximum(np.sqrt(_channels(variance)), 1e-7)
    return 1 / deviation, -_channels(mean) / deviation


def _channels(value: Any) -> Pixels:
    """Return one number, or one for each of three channels; raise ValueError for anything else."""
    found = np.asarray(value, np.float64).ravel()
    if found.size not in (1, 3) or not np.isfinite(found).all():
        raise ValueError(f"{found.size} numbers for three channels")
    return found

"""Copy backbone weights between keras.applications networks that were built in different ways.

A network may be flat or contain its backbone as a nested model. Keras numbers unnamed layers in the order in which the
process made them, so equal layers may have different numbers. Layers are therefore matched by name, and unnamed ones by
class and order. Every shape is checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEAD = "logits"
"""Name of the last layer of every network that this project builds."""

HEAD_PREFIX = "head_"
"""Start of the names of the layers between the pooled features and the last layer."""


class ForeignWeights(ValueError):
    """Raised when weights to copy are of another architecture or shape than the network that shall receive them."""


@dataclass(frozen=True, eq=False)
class StoredLayer:
    """A layer of a trained network as plain data, wherever it was read from.

    Attributes:
        name: Name of the layer.
        kind: Name of its class in Keras.
        options: Its configuration, in Keras's terms.
        weights: Its arrays, in the order of Keras 3.
    """

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[NDArray[Any], ...] = ()


def stored_layers(model: Any) -> list[StoredLayer]:
    """Return all layers of a Keras network as plain data, in order, also those of nested models."""
    return [_stored(layer) for layer in every_layer(model)]


def weighted_layers(model: Any) -> Iterator[Any]:
    """Yield the layers whose weights a copy of a backbone takes: all with weights, in order, also of nested models."""
    yield from (layer for layer in every_layer(model) if layer.weights)


def copy_backbone(source: Any, target: Any, *, head: Sequence[Any] = ()) -> None:
    """Copy the backbone weights of one network into another; the head of the target is not changed.

    Args:
        source: A keras.applications model of the same architecture, flat or nested, with any Dense head or none.
        target: Network that `Architecture.build` returned; is changed in place.
        head: Layers of the source, beside the Dense ones, that belong to its head and not to its backbone.

    Raises:
        ForeignWeights: If the layers differ; the message names the first difference. Give weights of the target's
            architecture.
    """
    head_ids = {id(layer) for layer in head}
    layers = [_stored(layer) for layer in every_layer(source) if id(layer) not in head_ids]
    copy_layers(layers, target, source=source.name)


def copy_layers(layers: Sequence[StoredLayer], target: Any, *, source: str) -> None:
    """Copy the weights of a backbone's layers into a network; the head of the target is not changed.

    Args:
        layers: Layers of the backbone; Dense layers and layers without weights are not copied.
        target: Network that `Architecture.build` returned; is changed in place.
        source: Name of the network that the layers are from, for the message.

    Raises:
        ForeignWeights: If the layers differ; the message names the first difference. Give weights of the target's
            architecture.
    """
    given = [layer for layer in layers if layer.weights and layer.kind != "Dense"]
    own = {id(layer) for layer in weighted_layers(target) if layer.name == HEAD or layer.name.startswith(HEAD_PREFIX)}
    wanted = [layer for layer in weighted_layers(target) if id(layer) not in own]
    pairs = _matched(given, wanted, source, target.name)
    for layer, receiver in pairs:
        shapes = [tuple(weight.shape) for weight in layer.weights]
        expected = [tuple(weight.shape) for weight in receiver.weights]
        if shapes != expected:
            raise ForeignWeights(
                f"layer {layer.name!r} of {source} has weights of shapes {shapes} where {target.name} has "
                f"{expected}; give weights of {target.name}"
            )
    for layer, receiver in pairs:
        receiver.set_weights(list(layer.weights))
    _fold_rescaling(layers, target)


def _matched(given: list[StoredLayer], wanted: list[Any], source: str, target: str) -> list[tuple[StoredLayer, Any]]:
    """Pair the layers of two backbones.

    Args:
        given: Layers of the source.
        wanted: Layers of the target.
        source: Name of the source, for the message.
        target: Name of the target, for the message.

    Returns:
        (layer of the source, layer of the target) for every layer of both.

    Raises:
        ForeignWeights: If a layer of either has no counterpart in the other.
    """
    by_name = {layer.name: layer for layer in given}
    pairs = [(by_name[layer.name], layer) for layer in wanted if layer.name in by_name and not _numbered(layer)]
    taken = {id(layer) for layer, _ in pairs}
    pairs_of_unnamed: list[tuple[StoredLayer, Any]] = []
    for kind in sorted({type(layer).__name__ for layer in wanted if _numbered(layer)}):
        receivers = sorted(
            (layer for layer in wanted if _numbered(layer) and type(layer).__name__ == kind), key=_number
        )
        senders = sorted((layer for layer in given if _numbered(layer) and layer.kind == kind), key=_number)
        if len(receivers) == len(senders):
            pairs_of_unnamed += zip(senders, receivers, strict=True)
    pairs += pairs_of_unnamed
    taken |= {id(layer) for layer, _ in pairs_of_unnamed}
    matched = {id(layer) for _, layer in pairs}
    missing = [layer.name for layer in wanted if id(layer) not in matched]
    extra = [layer.name for layer in given if id(layer) not in taken]
    if missing or extra:
        what = f"lacks the layer {missing[0]!r}" if missing else f"has a layer {extra[0]!r} that it has not"
        raise ForeignWeights(f"{source} is not {target}: it {what}; give weights of {target}")
    return pairs


def _numbered(layer: Any) -> bool:
    """Return whether Keras generated the layer's name: `conv2d_3`, `batch_normalization`, `normalization_1`."""
    return re.fullmatch(r"(conv2d|batch_normalization|normalization)(_\d+)?", layer.name) is not None


def _number(layer: Any) -> int:
    """Return the number at the end of a layer's name; 0 if there is none."""
    suffix = re.search(r"_(\d+)$", layer.name)
    return int(suffix[1]) if suffix else 0


def _fold_rescaling(source: Sequence[StoredLayer], target: Any) -> None:
    """Fold the per-channel Rescaling layer of EfficientNet's ImageNet weights into the target's Normalization layer.

    With ImageNet weights keras.applications adds a layer that multiplies each channel by a scale after the
    normalisation. Dividing the variance by the square of the scale has the same effect. Normalization keeps its
    statistics as constants, so `finalize_state` must compute these again.
    """
    scales = [
        np.asarray(layer.options["scale"], np.float64)
        for layer in source
        if layer.kind == "Rescaling" and np.size(layer.options["scale"]) > 1
    ]
    for layer in weighted_layers(target):
        if type(layer).__name__ != "Normalization":
            continue
        for scale in scales:
            mean, variance, count = layer.get_weights()
            layer.set_weights([mean, (variance / scale**2).astype(np.float32), count])
        layer.finalize_state()


def fold_into_normalization(target: Any, factor: NDArray[np.float64], shift: NDArray[np.float64]) -> bool:
    """Fold a scaling in front of EfficientNet into its own Normalization layer, exactly but for rounding.

    EfficientNet divides pixels by 255 and normalises them: ((x * factor + shift) / 255 - mean) / deviation is
    (x / 255 - (mean - shift / 255) / factor) / (deviation / factor).

    Args:
        target: keras.Model with the weights of a backbone; changed if the result is true.
        factor: float64 (3,), multiplies each channel of the pixels.
        shift: float64 (3,), is added then, on the scale of 0-255.

    Returns:
        Whether the network has such a layer and the factors are positive, as statistics of pixels need.
    """
    own = [layer for layer in weighted_layers(target) if type(layer).__name__ == "Normalization"]
    if len(own) != 1 or not (factor > 0).all():
        return False
    mean, variance, count = own[0].get_weights()
    folded = ((mean - shift / 255) / factor, variance / factor**2)
    own[0].set_weights([*(values.astype(np.float32) for values in folded), count])
    own[0].finalize_state()
    return True


def _stored(layer: Any) -> StoredLayer:
    """Return a layer of Keras as plain data."""
    return StoredLayer(layer.name, type(layer).__name__, layer.get_config(), tuple(layer.get_weights()))


def every_layer(model: Any) -> Iterator[Any]:
    """Yield all layers of a network in order; a backbone that is a nested model is replaced by its own layers."""
    for layer in model.layers:
        if getattr(layer, "layers", None):
            yield from every_layer(layer)
        else:
            yield layer

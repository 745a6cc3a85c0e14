"""Moving weights between keras.applications networks that were built in different ways.

A network may be flat or hold its backbone as a nested model, and its unnamed layers are numbered by when they were
made. Layers are matched by name, the unnamed ones by kind and number, and every shape is checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

HEAD = "logits"
"""Name of the last layer of every network here."""


class ForeignWeights(ValueError):
    """Weights of another architecture or shape than the network that they were given for."""


def weighted_layers(model: Any) -> Iterator[Any]:
    """Yield the layers that hold weights, those of nested models too, in order."""
    yield from (layer for layer in every_layer(model) if layer.weights)


def copy_backbone(source: Any, target: Any, *, head: Sequence[Any] = ()) -> None:
    """Give a network the weights of another's backbone; its own head stays.

    Args:
        source: A keras.applications model of the same architecture, flat or nested, with any Dense head or none.
        target: As `Architecture.build` made it.
        head: Layers of the source that are not its backbone's, beside the Dense ones.

    Raises:
        ForeignWeights: If the layers differ; says the first that does.
    """
    of_head = {id(layer) for layer in head}
    given = [layer for layer in weighted_layers(source) if type(layer).__name__ != "Dense" and id(layer) not in of_head]
    wanted = [layer for layer in weighted_layers(target) if layer.name != HEAD]
    pairs = _matched(given, wanted, source.name, target.name)
    for layer, own in pairs:
        shapes = [tuple(weight.shape) for weight in layer.weights]
        expected = [tuple(weight.shape) for weight in own.weights]
        if shapes != expected:
            raise ForeignWeights(
                f"layer {layer.name!r} of {source.name} has weights of shapes {shapes} where {target.name} has "
                f"{expected}; give weights of {target.name}"
            )
    for layer, own in pairs:
        own.set_weights(layer.get_weights())
    _fold_rescaling(source, target)


def _matched(given: list[Any], wanted: list[Any], source: str, target: str) -> list[tuple[Any, Any]]:
    by_name = {layer.name: layer for layer in given}
    pairs = [(by_name[own.name], own) for own in wanted if own.name in by_name and not _numbered(own)]
    taken = {id(layer) for layer, _ in pairs}
    pairs_of_unnamed: list[tuple[Any, Any]] = []
    for kind in sorted({type(own).__name__ for own in wanted if _numbered(own)}):
        own_ones = sorted((own for own in wanted if _numbered(own) and type(own).__name__ == kind), key=_number)
        others = sorted((one for one in given if _numbered(one) and type(one).__name__ == kind), key=_number)
        if len(own_ones) == len(others):
            pairs_of_unnamed += zip(others, own_ones, strict=True)
    pairs += pairs_of_unnamed
    taken |= {id(layer) for layer, _ in pairs_of_unnamed}
    matched = {id(own) for _, own in pairs}
    missing = [own.name for own in wanted if id(own) not in matched]
    extra = [layer.name for layer in given if id(layer) not in taken]
    if missing or extra:
        what = f"lacks the layer {missing[0]!r}" if missing else f"has a layer {extra[0]!r} that it has not"
        raise ForeignWeights(f"{source} is not {target}: it {what}; give weights of {target}")
    return pairs


def _numbered(layer: Any) -> bool:
    """Say whether Keras made up the layer's name: `conv2d_3`, `batch_normalization`, `normalization_1`."""
    return re.fullmatch(r"(conv2d|batch_normalization|normalization)(_\d+)?", layer.name) is not None


def _number(layer: Any) -> int:
    found = re.search(r"_(\d+)$", layer.name)
    return int(found[1]) if found else 0


def _fold_rescaling(source: Any, target: Any) -> None:
    """Fold the scaling by channel that keras.applications adds to EfficientNet with ImageNet weights.

    It divides by the channels' standard deviations once more, after the normalisation; the same as a variance that is
    as many times larger. The target's normalisation is told its numbers anew, as it keeps them as constants.
    """
    scales = [
        np.asarray(layer.scale, np.float64)
        for layer in every_layer(source)
        if type(layer).__name__ == "Rescaling" and np.size(layer.scale) > 1
    ]
    for layer in weighted_layers(target):
        if type(layer).__name__ != "Normalization":
            continue
        for scale in scales:
            mean, variance, count = layer.get_weights()
            layer.set_weights([mean, (variance / scale**2).astype(np.float32), count])
        layer.finalize_state()


def every_layer(model: Any) -> Iterator[Any]:
    """Yield the layers, those of nested models in their place."""
    for layer in model.layers:
        if getattr(layer, "layers", None):
            yield from every_layer(layer)
        else:
            yield layer

"""Build networks whose head, all layers behind the backbone, is described in a release."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.networks.backbones import HEAD, HEAD_PREFIX
from models.networks.registry import EARLIER_MAPS, architecture
from models.spec import Head, HeadLayer, NetworkSpec

_JOINED = f"{HEAD_PREFIX}joined"
"""Name of the layer that joins pooled feature maps: the last one, then the middles."""


def network_with_head(network: NetworkSpec, *, categories: int) -> Any:
    """Build an untrained network with the head that its specification describes.

    Args:
        network: Architecture, input size and head of the network.
        categories: Number of categories, the width of the last layer.

    Returns:
        A keras.Model from float32 (batch, input_px, input_px, 3) to float32 logits (batch, categories).
    """
    parts = architecture(network.architecture)
    if network.head is None:
        return parts.build(input_px=network.input_px, categories=categories)
    import keras

    backbone = parts.backbone(input_px=network.input_px, pooling=network.head.pooling)
    values = _joined(backbone, network.architecture, network.head)
    for place, layer in enumerate(network.head.layers):
        values = _keras_layer(layer, f"{HEAD_PREFIX}{place}")(values)
    logits = keras.layers.Dense(categories, name=HEAD, dtype="float32")(values)
    return keras.Model(backbone.input, logits, name=network.architecture)


def features_tensor(network: Any, head: Head | None) -> Any:
    """Return the tensor of a network's features: what its last layer receives, (batch, features).

    Where that is the last feature map joined with the middles of earlier ones, it is the last map alone: numbers of
    earlier ones are up to ten times as large, so that they alone would decide which images are alike.

    Args:
        network: The keras.Model to logits, as `network_with_head` builds it.
        head: Head of the network; None if only a Dense layer follows the backbone.
    """
    if head is not None and head.middles and not head.layers:
        return network.get_layer(_JOINED).input[0]
    return network.get_layer(HEAD).input


def most_middles(name: str) -> int:
    """Return of how many earlier feature maps a head of an architecture can join the middles."""
    return len(EARLIER_MAPS.get(name, ()))


def _joined(backbone: Any, name: str, head: Head) -> Any:
    """Return the pooled last feature map of a backbone, joined with the pooled middles that its head asks for."""
    if not head.middles:
        return backbone.output
    import keras

    pooling = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}[head.pooling]
    joined = [backbone.output]
    for place, layer in enumerate(EARLIER_MAPS[name][: head.middles]):
        whole = backbone.get_layer(layer).input
        margins = tuple((side // 4, side // 4) for side in whole.shape[1:3])
        middle = keras.layers.Cropping2D(margins, name=f"{HEAD_PREFIX}middle{place}")(whole)
        joined.append(pooling(name=f"{HEAD_PREFIX}pool{place}")(middle))
    return keras.layers.Concatenate(name=_JOINED)(joined)


def fill_head(model: Any, head: Head, weights: Sequence[Sequence[Any]]) -> None:
    """Set the weights of a head.

    Args:
        model: Network that `network_with_head` returned for this head; is changed in place.
        head: Its description.
        weights: Arrays of each layer of the head, then those of the last Dense layer: kernel (values, units) and bias
            (units,) of a Dense layer, factor and shift (values,) of a `scale`, slope (values,) of a `prelu`, none for
            other kinds.
    """
    import numpy as np

    for place, (layer, arrays) in enumerate(zip(head.layers, weights[:-1], strict=True)):
        values = list(arrays)
        if layer.kind == "scale":
            factor, shift = arrays
            values = [factor, shift, np.zeros_like(shift), np.ones_like(shift)]
        model.get_layer(f"{HEAD_PREFIX}{place}").set_weights(values)
    model.get_layer(HEAD).set_weights(list(weights[-1]))


def head_layers(model: Any) -> list[Any]:
    """Return the layers of a network of this project that belong to a described head, without the last one."""
    return [layer for layer in model.layers if layer.name.startswith(HEAD_PREFIX)]


def _keras_layer(layer: HeadLayer, name: str) -> Any:
    """Return the layer of Keras for one layer of a head. All compute in float32: they are small, and lose nothing."""
    import keras

    layers = keras.layers
    match layer.kind:
        case "dense":
            return layers.Dense(layer.units, name=name, dtype="float32")
        case "scale":
            return layers.BatchNormalization(epsilon=0.0, name=name, dtype="float32")
        case "prelu":
            return layers.PReLU(name=name, dtype="float32")
        case "relu":
            return layers.ReLU(max_value=layer.limit, negative_slope=layer.slope, name=name, dtype="float32")
        case "elu":
            return layers.ELU(alpha=layer.slope, name=name, dtype="float32")
        case _:
            return layers.Activation(layer.kind, name=name, dtype="float32")

"""The head of a foreign network: what stands behind its backbone, folded into the one Dense layer that is a head here.

Dense layers and BatchNormalization as it serves are affine, and so is what they make one after the other: a product
with one matrix, and one bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.networks.backbones import every_layer

# Of each family, the last activation; and the last layer with weights, should the activation be gone.
_BACKBONE_ENDS = ("top_activation", "block14_sepconv2_act", "top_bn", "block14_sepconv2_bn")
_ACTIVATIONS = ("ReLU", "LeakyReLU", "ELU", "PReLU", "Softmax")


class ForeignHead(ValueError):
    """A head that is no affine function of the features; the message names what in it is not."""


def head_of(model: Any) -> list[Any]:
    """Return the layers behind the backbone of a keras.Model, nested or flat, in order; none if it ends nowhere."""
    layers = list(every_layer(model))
    names = [layer.name for layer in layers]
    end = next((names.index(name) for name in _BACKBONE_ENDS if name in names), len(names))
    return layers[end + 1 :]


def folded(head: Sequence[Any], *, features: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fold a head into one Dense layer. Layers without weights are taken for the identity, activations excepted.

    Args:
        head: Its layers, in order; the activation behind the last one with weights is not looked at.
        features: How many values the backbone gives for an image.

    Returns:
        The kernel, (features, outputs), and the bias, (outputs,), float32.

    Raises:
        ForeignHead: If a layer cannot be folded, or there is none to fold.
    """
    last = max((place for place, layer in enumerate(head) if layer.weights), default=-1)
    kernel, bias = np.eye(features), np.zeros(features)
    for place, layer in enumerate(head[: last + 1]):
        kind = type(layer).__name__
        if kind not in ("Dense", "BatchNormalization") and not layer.weights and not _bends(layer):
            continue
        if kind not in ("Dense", "BatchNormalization") or (place < last and _bends(layer)):
            raise ForeignHead(f"{described(layer)} cannot be folded")
        given = layer.kernel.shape[0] if kind == "Dense" else layer.moving_variance.shape[0]
        if given != kernel.shape[1]:
            raise ForeignHead(f"{described(layer)} takes {given} values where there are {kernel.shape[1]}")
        if kind == "Dense":
            own, shift = _values(layer.kernel), _values(layer.bias) if layer.use_bias else 0.0
            kernel, bias = kernel @ own, bias @ own + shift
        else:
            factor = (_values(layer.gamma) if layer.scale else 1.0) / np.sqrt(
                _values(layer.moving_variance) + layer.epsilon
            )
            shift = (_values(layer.beta) if layer.center else 0.0) - _values(layer.moving_mean) * factor
            kernel, bias = kernel * factor, bias * factor + shift
    if last < 0:
        raise ForeignHead("there is no Dense layer in it")
    return kernel.astype(np.float32), bias.astype(np.float32)


def described(layer: Any) -> str:
    """Return what a layer is, as `Dense 'hidden' (relu)`."""
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    return f"{type(layer).__name__} {layer.name!r}" + (f" ({activation})" if activation != "linear" else "")


def _bends(layer: Any) -> bool:
    """Say whether a layer is or has an activation, other than the identity."""
    activation = getattr(layer, "activation", None)
    return type(layer).__name__ in _ACTIVATIONS or getattr(activation, "__name__", "linear") != "linear"


def _values(variable: Any) -> NDArray[np.float64]:
    return np.asarray(variable, np.float64)

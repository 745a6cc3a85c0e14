"""Fold the head of a foreign network, all layers behind its backbone, into the single Dense layer of our networks.

Dense layers and BatchNormalization in inference are affine functions. A chain of them is affine too, so it equals one
matrix product and one bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.networks.backbones import every_layer

# By family: the last activation of the backbone, and the last layer with weights in case the activation is missing.
_BACKBONE_ENDS = ("top_activation", "block14_sepconv2_act", "top_bn", "block14_sepconv2_bn")
_ACTIVATIONS = ("ReLU", "LeakyReLU", "ELU", "PReLU", "Softmax")


class ForeignHead(ValueError):
    """Raised when a foreign network's head is not an affine function of the features; the message names the layer."""


def head_of(model: Any) -> list[Any]:
    """Return a foreign network's head: the layers behind the backbone, in order; empty without a backbone."""
    layers = list(every_layer(model))
    names = [layer.name for layer in layers]
    end = next((names.index(name) for name in _BACKBONE_ENDS if name in names), len(names))
    return layers[end + 1 :]


def folded(head: Sequence[Any], *, features: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fold a foreign head into one Dense layer. Layers without weights count as the identity, except activations.

    Args:
        head: Layers of the head, in order; activations behind the last layer with weights are ignored.
        features: Number of values that the backbone computes for an image.

    Returns:
        The kernel, (features, outputs), and the bias, (outputs,), float32.

    Raises:
        ForeignHead: If a layer cannot be folded, or the head has no layer with weights.
    """
    last = max((place for place, layer in enumerate(head) if layer.weights), default=-1)
    kernel, bias = np.eye(features), np.zeros(features)
    for place, layer in enumerate(head[: last + 1]):
        kind = type(layer).__name__
        if kind not in ("Dense", "BatchNormalization") and not layer.weights and not _is_nonlinear(layer):
            continue
        if kind not in ("Dense", "BatchNormalization") or (place < last and _is_nonlinear(layer)):
            raise ForeignHead(f"{described(layer)} cannot be folded")
        given = layer.kernel.shape[0] if kind == "Dense" else layer.moving_variance.shape[0]
        if given != kernel.shape[1]:
            raise ForeignHead(f"{described(layer)} takes {given} values where there are {kernel.shape[1]}")
        if kind == "Dense":
            matrix, shift = _values(layer.kernel), _values(layer.bias) if layer.use_bias else 0.0
            kernel, bias = kernel @ matrix, bias @ matrix + shift
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
    """Describe a layer of a foreign head for a message: `Dense 'hidden' (relu)`."""
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    return f"{type(layer).__name__} {layer.name!r}" + (f" ({activation})" if activation != "linear" else "")


def _is_nonlinear(layer: Any) -> bool:
    """Return whether a layer is or has an activation other than the identity."""
    activation = getattr(layer, "activation", None)
    return type(layer).__name__ in _ACTIVATIONS or getattr(activation, "__name__", "linear") != "linear"


def _values(variable: Any) -> NDArray[np.float64]:
    """Return a variable of Keras as a float64 array."""
    return np.asarray(variable, np.float64)

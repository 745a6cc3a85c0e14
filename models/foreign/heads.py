"""Read the head of a foreign network, all layers behind its backbone, as the head of one of our networks.

Dense layers and BatchNormalization are affine after training, so a run of them equals one matrix product and one bias.
What stays of a head are activations, and one affine layer before, between and behind them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.networks.backbones import StoredLayer
from models.spec import MAX_HEAD_LAYERS, MAX_HEAD_UNITS, Head, HeadLayer

# By family: the last activation of the backbone, and the last layer with weights in case the activation is missing.
_BACKBONE_ENDS = ("top_activation", "block14_sepconv2_act", "top_bn", "block14_sepconv2_bn")
_POOLINGS = {"GlobalAveragePooling2D": "avg", "GlobalMaxPooling2D": "max"}
_RESHAPES = ("Flatten", "Reshape")
_IDENTITIES = (
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "AlphaDropout", "GaussianDropout", "GaussianNoise"),
    *("ActivityRegularization", "Identity"),
)
_ACTIVATIONS = ("Activation", "ReLU", "LeakyReLU", "ELU", "PReLU", "Softmax")

# By name in Keras. LeakyReLU has another slope as a layer than as a name.
_NAMED = {
    "relu": HeadLayer("relu"),
    "relu6": HeadLayer("relu", limit=6.0),
    "leaky_relu": HeadLayer("relu", slope=0.2),
    "elu": HeadLayer("elu", slope=1.0),
    "celu": HeadLayer("elu", slope=1.0),  # the two differ with another alpha, which a name cannot have
    "swish": HeadLayer("silu"),
    "hard_swish": HeadLayer("hard_silu"),
    **{name: HeadLayer(name) for name in ("selu", "gelu", "silu", "mish", "tanh", "sigmoid", "softplus", "softsign")},
    **{name: HeadLayer(name) for name in ("hard_sigmoid", "hard_silu")},
}
_STEEPER = 1.2
"""Factor from the hard sigmoid of Keras 3, x / 6 + 0.5, to that of Keras 2, 0.2 x + 0.5; both are held in 0 to 1."""

_LINEAR, _SOFTMAX = HeadLayer("linear"), HeadLayer("softmax")  # neither is a layer of ours

SIGMOID = (
    "its outputs are sigmoids, each a yes or no of its own, and a release needs one distribution over all categories; "
    "train the last layer with softmax, or give a network that was"
)
FLATTEN = (
    "its head flattens the feature map, so that its weights hold for one place in the picture each, and serving pools "
    "the map; put GlobalAveragePooling2D in the place of Flatten and train the head again"
)


class ForeignHead(ValueError):
    """Raised when a foreign network's head cannot be served; the message names the layer."""


class HeadOfAnotherKind(ForeignHead):
    """Raised when a head is of a kind that cannot be served, whatever its layers; the message says what to do."""


@dataclass(frozen=True)
class ReadHead:
    """A head as one of ours.

    Attributes:
        description: Pooling and layers; None if it is average pooling and one Dense layer.
        weights: Arrays of each layer and of the last Dense layer, float32, as `models.networks.heads.fill_head` takes
            them.
    """

    description: Head | None
    weights: list[list[NDArray[np.float32]]]


def split(layers: Sequence[StoredLayer]) -> tuple[list[StoredLayer], list[StoredLayer]]:
    """Split a foreign network's layers into backbone and head; the head is empty if no known backbone is found."""
    names = [layer.name for layer in layers]
    end = next((names.index(name) for name in _BACKBONE_ENDS if name in names), len(names))
    return list(layers[: end + 1]), list(layers[end + 1 :])


def refuse_kind(head: Sequence[StoredLayer]) -> None:
    """Refuse heads that no choice of weights makes ours; looks at kinds and options alone.

    Raises:
        HeadOfAnotherKind: If the head flattens the feature map, or ends in sigmoids.
    """
    pooled, last = False, _LINEAR
    for layer in head:
        pooled = pooled or layer.kind in _POOLINGS
        if layer.kind == "Flatten" and not pooled:
            raise HeadOfAnotherKind(FLATTEN)
        if layer.kind in ("Dense", *_ACTIVATIONS):
            last = _activation_of(layer, strict=False)
    if last.kind in ("sigmoid", "hard_sigmoid"):
        raise HeadOfAnotherKind(SIGMOID)


def read_head(head: Sequence[StoredLayer], *, features: int, outputs: int, of_keras_2: bool = False) -> ReadHead:
    """Read a foreign head as one of ours. A softmax at its end is left out: our networks end in logits.

    Args:
        head: Layers of the head, in order.
        features: Number of values that the backbone computes for an image.
        outputs: Number of categories.
        of_keras_2: Whether Keras 2 computed it, whose hard sigmoid is steeper.

    Raises:
        ForeignHead: If a layer cannot be served, stands in the wrong place or takes another number of values, or the
            head has no Dense layer.
    """
    refuse_kind(head)
    reading = _Reading(features, of_keras_2)
    for layer in head:
        if reading.ended and layer.kind not in (*_IDENTITIES, *_RESHAPES):
            raise ForeignHead(f"{described(layer)} stands behind a softmax")
        reading.take(layer)
    if not any(layer.kind == "Dense" for layer in head):
        raise ForeignHead("there is no Dense layer in it")
    if reading.pooling is None:
        raise ForeignHead("there is no global pooling in it")
    if reading.width != outputs:
        raise ForeignHead(f"it makes {reading.width} values of the features where there are {outputs} categories")
    weights = [*reading.weights, reading.affine.dense()]
    if len(reading.layers) > MAX_HEAD_LAYERS:
        raise ForeignHead(f"it has {len(reading.layers)} layers where at most {MAX_HEAD_LAYERS} can be served")
    plain = reading.pooling == "avg" and not reading.layers
    description = None if plain else Head(reading.pooling, tuple(reading.layers))
    return ReadHead(description, [[np.asarray(each, np.float32) for each in arrays] for arrays in weights])


def described(layer: StoredLayer) -> str:
    """Describe a layer of a foreign head for a message: `Dense 'hidden' (relu)`."""
    value = layer.options.get("activation")
    name = str(value.get("class_name")) if isinstance(value, Mapping) else str(value or "linear")
    return f"{layer.kind} {layer.name!r}" + (f" ({name})" if name != "linear" else "")


class _Affine:
    """A run of affine layers: values @ matrix * factor + shift, where no matrix is the identity."""

    def __init__(self, width: int) -> None:
        self.matrix: NDArray[np.float64] | None = None
        self.factor, self.shift = np.ones(width), np.zeros(width)

    @property
    def is_identity(self) -> bool:
        return self.matrix is None and bool((self.factor == 1).all() and (self.shift == 0).all())

    def multiply(self, kernel: NDArray[np.float64], bias: NDArray[np.float64] | float) -> None:
        """Put a Dense layer behind the run."""
        self.shift = self.shift @ kernel + bias
        self.matrix = self.factor[:, None] * kernel if self.matrix is None else (self.matrix * self.factor) @ kernel
        self.factor = np.ones(kernel.shape[1])

    def scale(self, factor: NDArray[np.float64], shift: NDArray[np.float64]) -> None:
        """Put a BatchNormalization behind the run."""
        self.factor, self.shift = self.factor * factor, self.shift * factor + shift

    def dense(self) -> list[NDArray[np.float64]]:
        """Return the run as the kernel and the bias of one Dense layer."""
        return [np.diag(self.factor) if self.matrix is None else self.matrix * self.factor, self.shift]


@dataclass
class _Reading:
    """State of `read_head` between two layers."""

    width: int
    of_keras_2: bool = False
    pooling: str | None = None
    ended: bool = False
    layers: list[HeadLayer] = field(default_factory=list)
    weights: list[list[NDArray[np.float64]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.affine = _Affine(self.width)

    def take(self, layer: StoredLayer) -> None:
        """Add the next layer; raise ForeignHead if it cannot be served."""
        match layer.kind:
            case "GlobalAveragePooling2D" | "GlobalMaxPooling2D":
                self._pool(layer)
            case "Flatten" | "Reshape":
                self._reshape(layer)
            case "Dense":
                self._dense(layer)
                self._activate(layer)
            case "BatchNormalization":
                self._normalise(layer)
            case kind if kind in _ACTIVATIONS:
                self._activate(layer)
            case kind if kind not in _IDENTITIES:
                raise ForeignHead(f"{described(layer)} cannot be served")

    def _pool(self, layer: StoredLayer) -> None:
        pooling = _POOLINGS[layer.kind]
        if self.pooling is not None:
            raise ForeignHead(f"{described(layer)} pools a second time")
        if pooling == "max" and not self.affine.is_identity:  # scaling keeps a mean's place, but not a maximum's
            raise ForeignHead(f"{described(layer)} stands behind other layers")
        self.pooling = pooling

    def _reshape(self, layer: StoredLayer) -> None:
        target = list(layer.options.get("target_shape") or [-1])
        if self.pooling is None or [size for size in target if size != 1] not in ([-1], [self.width]):
            raise ForeignHead(f"{described(layer)} cannot be served")

    def _dense(self, layer: StoredLayer) -> None:
        kernel, *bias = _arrays(layer, (1, 2))
        self._fits(layer, kernel, dimensions=2)
        if kernel.shape[1] > MAX_HEAD_UNITS:
            raise ForeignHead(f"{described(layer)} has more than {MAX_HEAD_UNITS} units")
        self.affine.multiply(kernel, bias[0] if bias else 0.0)
        self.width = kernel.shape[1]

    def _normalise(self, layer: StoredLayer) -> None:
        *learned, mean, variance = _arrays(layer, (2, 3, 4))
        self._fits(layer, variance, dimensions=1)
        scaled, centred = layer.options.get("scale", True), layer.options.get("center", True)
        if len(learned) != bool(scaled) + bool(centred):
            raise ForeignHead(f"{described(layer)} has {len(learned) + 2} arrays, others than it describes")
        factor = (learned[0] if scaled else 1.0) / np.sqrt(variance + _number(layer.options.get("epsilon", 1e-3)))
        self.affine.scale(factor, (learned[-1] if centred else 0.0) - mean * factor)

    def _activate(self, layer: StoredLayer) -> None:
        activation = _activation_of(layer)
        if activation in (_LINEAR, _SOFTMAX):
            self.ended = activation == _SOFTMAX
            return
        if self.pooling is None:
            raise ForeignHead(f"{described(layer)} stands before the pooling")
        if activation.kind == "hard_sigmoid" and self.of_keras_2:
            self.affine.scale(np.full(self.width, _STEEPER), np.zeros(self.width))
        if self.affine.matrix is not None:
            self._add(HeadLayer("dense", units=self.width), self.affine.dense())
        elif not self.affine.is_identity:
            self._add(HeadLayer("scale"), [self.affine.factor, self.affine.shift])
        self.affine = _Affine(self.width)
        slopes: list[NDArray[np.float64]] = []
        if activation.kind == "prelu":
            slopes = _arrays(layer, (1,))
            self._fits(layer, slopes[0].ravel(), dimensions=1, one_for_all=True)
            slopes = [np.broadcast_to(slopes[0].ravel(), (self.width,))]
        self._add(activation, slopes)

    def _add(self, layer: HeadLayer, arrays: list[NDArray[np.float64]]) -> None:
        self.layers.append(layer)
        self.weights.append(arrays)

    def _fits(self, layer: StoredLayer, array: Any, *, dimensions: int, one_for_all: bool = False) -> None:
        """Raise ForeignHead if an array of a layer does not take as many values as there are."""
        shape = array.shape
        if len(shape) != dimensions or not (shape[0] == self.width or (one_for_all and shape[0] == 1)):
            given = shape[0] if shape else 1
            raise ForeignHead(f"{described(layer)} takes {given} values where there are {self.width}")


def _arrays(layer: StoredLayer, expected: Sequence[int]) -> list[NDArray[np.float64]]:
    """Return the weights of a layer in float64; raise ForeignHead if their number is not as expected."""
    if len(layer.weights) not in expected:
        raise ForeignHead(f"{described(layer)} has {len(layer.weights)} arrays of weights")
    return [np.asarray(array, np.float64) for array in layer.weights]


def _activation_of(layer: StoredLayer, *, strict: bool = True) -> HeadLayer:
    """Return the activation of a Dense layer or of an activation layer.

    Raises:
        ForeignHead: If it cannot be served and `strict` is set; otherwise the identity is returned.
    """
    kind, options = layer.kind, layer.options
    if kind in ("Dense", "Activation"):
        value = options.get("activation") or "linear"
        if isinstance(value, Mapping) and isinstance(value.get("config"), Mapping):
            return _activation_of(StoredLayer(layer.name, str(value.get("class_name")), value["config"]), strict=strict)
        found = {**_NAMED, "linear": _LINEAR, "softmax": _SOFTMAX}.get(str(value))
        kind = "Activation"
    else:
        found = _layer_activation(kind, options)
    if found is None and strict:
        raise ForeignHead(f"{described(layer)} cannot be served")
    return found or _LINEAR


def _layer_activation(kind: str, options: Mapping[str, Any]) -> HeadLayer | None:
    """Return the activation that a layer of Keras of this kind is; None if we have none like it."""
    match kind:
        case "ReLU":
            limit = None if options.get("max_value") is None else _number(options["max_value"])
            if options.get("threshold") or (limit is not None and limit <= 0):
                return None
            return HeadLayer("relu", slope=_number(options.get("negative_slope") or 0.0), limit=limit)
        case "LeakyReLU":  # Keras 2 calls the slope alpha
            return HeadLayer("relu", slope=_number(options.get("negative_slope", options.get("alpha", 0.3))))
        case "ELU":
            return HeadLayer("elu", slope=_number(options.get("alpha", 1.0)))
        case "PReLU":
            return HeadLayer("prelu")
        case "Softmax":
            return _SOFTMAX if options.get("axis", -1) in (-1, 1, [-1], [1]) else None
    return None


def _number(value: Any) -> float:
    """Return a number of a configuration; raise ForeignHead if it is none."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ForeignHead(f"{str(value)[:80]!r} stands in it where a number was expected")
    return float(value)

"""Define the types that training, serving and storage share: network, category, prediction, predictor.

Imports no Keras, so that a driver that only plans work can use these types.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
"""uint8 (batch, height_px, width_px, 3), RGB, 0-255."""

Probabilities = NDArray[np.float32]
"""float32 (batch, categories), each row sums to 1."""

Features = NDArray[np.float32]
"""float32 (batch, features) of one network; their number is that of its architecture or head."""

MAX_NAME_CHARACTERS = 128
"""Longest run_id or release_id, in characters."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

PREPROCESSING = ("own", "0-255", "0-1", "-1-1")
"""Value ranges of network input: `own` is the range that the architecture was designed for."""

POOLINGS = ("avg", "max")
"""Global poolings of a feature map, by their name in keras.applications."""

HEAD_KINDS = (
    *("dense", "scale", "prelu", "relu", "elu", "selu", "gelu", "silu", "mish"),
    *("tanh", "sigmoid", "softplus", "softsign", "hard_sigmoid", "hard_silu"),
)
"""Kinds of the layers in a head before its last one."""

MAX_HEAD_LAYERS = 64
"""Most layers of a head."""

MAX_HEAD_UNITS = 16_384
"""Most outputs of a Dense layer in a head."""

MAX_HEAD_WEIGHTS = 2**27
"""Most weights of a head: half a gibibyte in float32."""

MAX_MIDDLES = 8
"""Most earlier feature maps whose middles a head joins."""

MAX_FEATURES = 3800
"""Most features that a head receives: those of Xception's last feature map and of the middles of two earlier ones."""


def is_name(name: object) -> bool:
    """Return whether a run_id or release_id is valid: it can name a directory, and cannot lead to another one."""
    return isinstance(name, str) and len(name) <= MAX_NAME_CHARACTERS and _NAME.fullmatch(name) is not None


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value of release.json is a finite number that a float can hold.

    Refused are `true`, which Python takes for 1, `NaN`, which passes every limit, and whole numbers of hundreds of
    digits, which no float holds.
    """
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


@dataclass(frozen=True)
class Category:
    """Shared type of a category, a leaf of the taxonomy.

    Attributes:
        category_id: Stable id with dots, `apparel.tops.t-shirt`; stored in the database.
        category_path: Readable path, `Apparel > Tops > T-shirt`.
    """

    category_id: str
    category_path: str


@dataclass(frozen=True)
class HeadLayer:
    """Shared type of a layer between pooling and the last Dense layer of a network; plain data.

    Attributes:
        kind: One of `HEAD_KINDS`. `scale` multiplies each feature by a factor and adds a shift, as BatchNormalization
            does after training. `prelu` has a slope for each feature.
        units: Number of outputs of a `dense` layer; 0 for all other kinds.
        slope: Slope of a `relu` below 0, or the alpha of an `elu`; 0 for all other kinds.
        limit: Largest output of a `relu`, above 0; None for no limit.
    """

    kind: str
    units: int = 0
    slope: float = 0.0
    limit: float | None = None


@dataclass(frozen=True)
class Head:
    """Shared type of a network's head: pooling, then these layers, then a Dense layer with one output per category.

    Attributes:
        pooling: How a feature map becomes one vector, one of `POOLINGS`.
        layers: Layers before the last Dense layer, in order.
        middles: Number of earlier feature maps, of which `models.networks.registry.EARLIER_MAPS` names the layers, of
            whose middle a vector is made too and joined to that of the whole last map. The middle is without a quarter
            of the side at each edge.
    """

    pooling: str = "avg"
    layers: tuple[HeadLayer, ...] = ()
    middles: int = 0


@dataclass(frozen=True)
class NetworkSpec:
    """Shared type of a release's network: its architecture, square input and weights file.

    Attributes:
        architecture: A key of `models.networks.registry.ARCHITECTURES`; also the network's name in the database.
        input_px: Side of the square input, in pixels.
        weights_file: File name inside the release's directory.
        weights_sha256: Hexadecimal SHA-256 of that file.
        ensemble_weight: Share of this network in the ensemble's distribution; the shares of a release sum to 1.
        preprocessing: Value range of its input, one of `PREPROCESSING`.
        head: Layers behind the backbone; None for average pooling and one Dense layer, as training makes them.
    """

    architecture: str
    input_px: int
    weights_file: str
    weights_sha256: str
    ensemble_weight: float
    preprocessing: str = "own"
    head: Head | None = None

    @property
    def middles(self) -> int:
        """Number of earlier feature maps whose middles the head joins, see `Head`."""
        return self.head.middles if self.head else 0


@dataclass(frozen=True)
class KnownSpec:
    """Shared type of the description of the images that a release knows, as release.json names it.

    Attributes:
        file: Name of the file inside the release's directory.
        sha256: Hexadecimal SHA-256 of that file.
        limit: Score above which an image is foreign to the release, above 0.
        calibrated_on: Number of calibrating images whose scores gave the limit.
        references: Number of images in the description.
        version: Version of the file and of the score.
    """

    file: str
    sha256: str
    limit: float
    calibrated_on: int
    references: int
    version: int


@dataclass(frozen=True)
class Predictions:
    """Shared type of the networks' output for one batch.

    Attributes:
        confidences: Calibrated distribution of the ensemble, float32 (batch, categories).
        by_network: Softmax of each network, by architecture name, float32 (batch, categories).
        features: What the last layer of each network received, of joined feature maps the last one, by architecture
            name, and under `models.networks.pixels.PIXELS` statistics of the pixels, float32 (batch, features); empty
            if the predictor gives none. By them a release finds images that are unlike those it knows.
    """

    confidences: Probabilities
    by_network: Mapping[str, Probabilities]
    features: Mapping[str, Features] = field(default_factory=dict)


class Predictor(Protocol):
    """Shared interface between jobs and networks: any object with these two members can serve."""

    @property
    def decode_px(self) -> int:
        """Side of the square images that `predict` takes, in pixels."""

    def predict(self, images: Images) -> Predictions:
        """Classify a batch.

        Args:
            images: uint8 (batch, decode_px, decode_px, 3), RGB, 0-255.

        Returns:
            Predictions with one row per image, in the order of the images: confidences and features in one call.
        """


def head_of(raw: object) -> Head:
    """Build the description of a head from the content of release.json.

    Args:
        raw: Object with `pooling` and `layers`, each layer an object with the attributes of `HeadLayer`, and
            `middles` if there are any.

    Raises:
        ValueError: If a value is invalid, or a size is out of bounds.
        TypeError: If a layer has an attribute that `HeadLayer` lacks.
    """
    match raw:
        case {"pooling": str(pooling), "layers": list(layers), **others} if pooling in POOLINGS and others.keys() <= {
            "middles"
        }:
            middles = others.get("middles", 0)
        case _:
            raise ValueError(f"a head is {str(raw)[:80]!r} where pooling, avg or max, and layers were expected")
    if len(layers) > MAX_HEAD_LAYERS:
        raise ValueError(f"a head has {len(layers)} layers where at most {MAX_HEAD_LAYERS} were expected")
    if type(middles) is not int or not 0 <= middles <= MAX_MIDDLES:
        raise ValueError(
            f"a head joins the middles of {str(middles)[:80]} earlier feature maps where at most {MAX_MIDDLES} were "
            "expected; upgrade shelfwise"
        )
    head = Head(pooling, tuple(_checked(HeadLayer(**layer)) for layer in layers), middles)
    units = [MAX_FEATURES, *(layer.units for layer in head.layers if layer.units)]
    if (weights := sum(before * after for before, after in pairwise(units))) > MAX_HEAD_WEIGHTS:
        raise ValueError(f"a head has about {weights:,} weights where at most {MAX_HEAD_WEIGHTS:,} were expected")
    return head


def _checked(layer: HeadLayer) -> HeadLayer:
    """Return the layer of a head; raise ValueError if its kind is unknown or a number is out of bounds."""
    if layer.kind not in HEAD_KINDS:
        raise ValueError(f"the kind {str(layer.kind)[:80]!r} of a head's layer is unknown; upgrade shelfwise")
    least, most = (1, MAX_HEAD_UNITS) if layer.kind == "dense" else (0, 0)
    if type(layer.units) is not int or not least <= layer.units <= most:
        raise ValueError(
            f"a {layer.kind} layer of a head has {str(layer.units)[:80]} units where {least} to {most} were expected"
        )
    for number in (layer.slope, 0.0 if layer.limit is None else layer.limit):
        if not is_number(number):
            raise ValueError(f"a {layer.kind} layer of a head has {str(number)[:80]!r} where a number was expected")
    if layer.limit is not None and layer.limit <= 0:
        raise ValueError(f"a {layer.kind} layer of a head has a limit of {layer.limit} where one above 0 was expected")
    return layer

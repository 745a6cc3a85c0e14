"""What a network, a category and a prediction are, for everything that trains, serves or stores them.

Nothing here imports Keras: a driver that only plans work can read these types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
"""uint8 (batch, height_px, width_px, 3), RGB, 0-255."""

Probabilities = NDArray[np.float32]
"""float32 (batch, categories), each row sums to 1."""

MAX_NAME_CHARACTERS = 128
"""Of a run_id or release_id."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

PREPROCESSING = ("own", "0-255", "0-1", "-1-1")
"""What a network may have been trained on: the range that its architecture was made for, or one of these."""


def is_name(name: object) -> bool:
    """Say whether a run_id or release_id is one that can name a directory and leaves none."""
    return isinstance(name, str) and len(name) <= MAX_NAME_CHARACTERS and _NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class Category:
    """A leaf of the taxonomy.

    Attributes:
        category_id: Dotted and stable, `apparel.tops.t-shirt`; what the database stores.
        category_path: What people read, `Apparel > Tops > T-shirt`.
    """

    category_id: str
    category_path: str


@dataclass(frozen=True)
class NetworkSpec:
    """One network of a release: an architecture, the square input it wants and its weights.

    Attributes:
        architecture: A key of `models.networks.registry.ARCHITECTURES`; also the network's name in the database.
        input_px: Side of the square input, in pixels.
        weights_file: File name inside the release's directory.
        weights_sha256: Hexadecimal SHA-256 of that file.
        ensemble_weight: Share of this network in the ensemble's distribution; the shares of a release sum to 1.
        preprocessing: One of `PREPROCESSING`; `own` is what the architecture was made for.
    """

    architecture: str
    input_px: int
    weights_file: str
    weights_sha256: str
    ensemble_weight: float
    preprocessing: str = "own"


@dataclass(frozen=True)
class Predictions:
    """What the networks say of one batch.

    Attributes:
        confidences: float32 (batch, categories), the ensemble's calibrated distribution.
        by_network: Each network's own softmax, float32 (batch, categories), keyed by its architecture.
    """

    confidences: Probabilities
    by_network: Mapping[str, Probabilities]


class Predictor(Protocol):
    """The seam between jobs and networks: any object with these two members can serve."""

    @property
    def decode_px(self) -> int:
        """Side of the square images that `predict` takes, in pixels."""

    def predict(self, images: Images) -> Predictions:
        """Classify a batch.

        Args:
            images: uint8 (batch, decode_px, decode_px, 3), RGB, 0-255.

        Returns:
            Predictions with one row for each image, in the same order.
        """

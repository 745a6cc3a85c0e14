"""Define the types that training, serving and storage share: network, category, prediction, predictor.

Imports no Keras, so that a driver that only plans work can use these types.
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
"""Longest run_id or release_id, in characters."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

PREPROCESSING = ("own", "0-255", "0-1", "-1-1")
"""Value ranges of network input: `own` is the range that the architecture was designed for."""


def is_name(name: object) -> bool:
    """Return whether a run_id or release_id is valid: it can name a directory, and cannot lead to another one."""
    return isinstance(name, str) and len(name) <= MAX_NAME_CHARACTERS and _NAME.fullmatch(name) is not None


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
class NetworkSpec:
    """Shared type of a release's network: its architecture, square input and weights file.

    Attributes:
        architecture: A key of `models.networks.registry.ARCHITECTURES`; also the network's name in the database.
        input_px: Side of the square input, in pixels.
        weights_file: File name inside the release's directory.
        weights_sha256: Hexadecimal SHA-256 of that file.
        ensemble_weight: Share of this network in the ensemble's distribution; the shares of a release sum to 1.
        preprocessing: Value range of its input, one of `PREPROCESSING`.
    """

    architecture: str
    input_px: int
    weights_file: str
    weights_sha256: str
    ensemble_weight: float
    preprocessing: str = "own"


@dataclass(frozen=True)
class Predictions:
    """Shared type of the networks' output for one batch.

    Attributes:
        confidences: Calibrated distribution of the ensemble, float32 (batch, categories).
        by_network: Softmax of each network, by architecture name, float32 (batch, categories).
    """

    confidences: Probabilities
    by_network: Mapping[str, Probabilities]


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
            Predictions with one row per image, in the order of the images.
        """

"""The score of an image: how unlike the images that a release learned from it is.

Distances to the nearest neighbours of deep features (Sun et al., 2022, arXiv:2204.06507). The features of each network
are centred, normalised to length 1 and projected to the directions in which the references differ most. A distance is 1
minus the mean cosine similarity to the nearest references. What lies outside these directions is similar to nothing.

The distances of the networks are standardised by those of the calibrating images and added up. Statistics of the pixels
(Mahalanobis distance) help where the networks are in doubt: their part is capped, so that they never decide alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.spec import Features

VERSION = 1
"""Version of the score and of the file of the description. Another version closes the gate."""

NEIGHBOURS = 3
"""Number of nearest references whose mean similarity counts."""

DIMENSIONS = 128
"""Most numbers to which the features of a network are projected."""

LEAST_SPREAD = 1e-3
"""Least standard deviation of distances: below it they are mainly rounding of the references to eight bits."""

_IMAGES, _REFERENCES = 128, 1000
"""Images and references that are compared at once: 0.5 MB of similarities, and as much of references in float32."""

Rows = NDArray[np.integer[Any]]
"""Row numbers of references."""

Distances = NDArray[np.float64]
"""float64 (images,), not a number for an image without finite features."""


@dataclass(frozen=True)
class NetworkImages:
    """What one network saw of the references, and by which its features become a distance.

    Attributes:
        mean: Mean of the references' features, float32 (features,).
        projection: Orthonormal directions, float16 (features, dimensions).
        references: Projected references, in units of `scale`, int8 (references, dimensions).
        scale: Unit of each dimension, float32 (dimensions,).
        middle: Median distance of the calibrating images.
        spread: Standard deviation of their distances, above 0.
    """

    mean: NDArray[np.float32]
    projection: NDArray[np.float16]
    references: NDArray[np.int8]
    scale: NDArray[np.float32]
    middle: float = 0.0
    spread: float = 1.0

    def points(self, features: Features) -> Features:
        """Return the projected directions of images, float32 (images, dimensions).

        Args:
            features: Features of the images, float32 (images, features).
        """
        projection, found = self.projection.astype(np.float32), np.empty((len(features), len(self.scale)), np.float32)
        for start in range(0, len(features), _IMAGES):
            rows = slice(start, start + _IMAGES)
            np.matmul(directions(features[rows], self.mean), projection, out=found[rows])
        return found

    def descriptors(self, points: Features) -> NDArray[np.int8]:
        """Return images in eight bits like the references, int8 (images, dimensions); zeros if they are not finite.

        Args:
            points: What `points` returned.
        """
        units = np.where(np.isfinite(points), points, 0.0) / self.scale
        return np.asarray(np.clip(np.rint(units), -127, 127), np.int8)

    def distances(self, features: Features, *, without: Sequence[Rows] | None = None) -> Distances:
        """Return the distance of each image from the references, from 0 to 2.

        Args:
            features: Features of the images, float32 (images, features).
            without: For each image, the rows of the references that do not count; None if all count. At least one
                reference must be left.
        """
        return self.distances_of(self.points(features), without=without)

    def distances_of(self, points: Features, *, without: Sequence[Rows] | None = None) -> Distances:
        """Return the distance of each image as `distances` does, from what `points` returned."""
        parts = range(0, len(self.references), _REFERENCES)
        nearest = np.full((len(points), len(parts), NEIGHBOURS), -np.inf, np.float32)
        units = points * self.scale
        memory = np.empty(_IMAGES * _REFERENCES, np.float32)  # for all parts, as asking for memory takes long
        for part, first in enumerate(parts):
            references = self.references[first : first + _REFERENCES].astype(np.float32)
            for start in range(0, len(points), _IMAGES):
                rows = slice(start, start + _IMAGES)
                some = units[rows]
                similar = memory[: len(some) * len(references)].reshape(len(some), -1)
                np.matmul(some, references.T, out=similar)
                for row, excluded in enumerate(() if without is None else without[rows]):
                    here = excluded[(excluded >= first) & (excluded < first + _REFERENCES)]
                    similar[row, here - first] = -np.inf
                nearest[rows, part] = _largest(similar, NEIGHBOURS)
        means = _mean(_largest(nearest.reshape(len(points), -1), NEIGHBOURS))
        return np.asarray(np.clip(1.0 - means, 0.0, 2.0), np.float64)


@dataclass(frozen=True)
class PixelImages:
    """Statistics of the pixels of the references, by which those of an image become a distance.

    Attributes:
        mean: Mean of the references' statistics, float32 (statistics,).
        unit: Unit of each statistic, above 0, float32 (statistics,).
        whitening: Takes statistics in these units to uncorrelated ones, float32 (statistics, statistics).
        middle: Median distance of the calibrating images.
        spread: Standard deviation of their distances, above 0.
        cap: Most that the pixels add to a score, in standard deviations.
    """

    mean: NDArray[np.float32]
    unit: NDArray[np.float32]
    whitening: NDArray[np.float32]
    middle: float = 0.0
    spread: float = 1.0
    cap: float = 3.0

    def distances(self, statistics: Features) -> Distances:
        """Return the Mahalanobis distance of each image's statistics, float32 (images, statistics), at least 0."""
        given = np.asarray(statistics, np.float64)
        finite = np.logical_and.reduce(np.isfinite(given), axis=1)[:, None]
        points = (np.where(finite, given, 0.0) - self.mean) / self.unit
        return np.where(finite[:, 0], np.linalg.norm(points @ self.whitening, axis=1), np.nan)


def directions(features: Features, mean: NDArray[np.float32]) -> Features:
    """Return features centred and normalised to length 1, float32 (images, features).

    Args:
        features: Features of one network, float32 (images, features).
        mean: What to subtract, float32 (features,).

    Returns:
        The directions: 0 where the features are the mean itself, NaN where they are not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        centred = np.asarray(features, np.float32) - mean
    finite = np.isfinite(centred).all(axis=1, keepdims=True)
    centred = np.where(finite, centred, 0.0)
    centred /= np.maximum(np.abs(centred).max(axis=1, keepdims=True), np.float32(1e-30))  # large values stay finite
    length = np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.float32(1e-30))
    return np.asarray(np.where(finite, centred / length, np.nan), np.float32)


def network_images(features: Features, *, dimensions: int) -> NetworkImages:
    """Describe the references of one network, as yet without the distances of the calibrating images.

    Args:
        features: Features of the references, finite and not all equal, float32 (references, features).
        dimensions: Most numbers to which they are projected.
    """
    from scipy.linalg import eigh

    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    points = directions(features, mean)
    width = points.shape[1]
    kept = min(dimensions, width)
    products = points.T @ points  # not centred again: similarities are to be preserved, not variances
    _, vectors = eigh(products.astype(np.float64), subset_by_index=(width - kept, width - 1))
    projection = vectors[:, ::-1].astype(np.float16)
    projected = points @ projection.astype(np.float32)
    scale = np.maximum(np.abs(projected).max(axis=0) / 127, np.float32(1e-6)).astype(np.float32)
    references = np.rint(projected / scale).astype(np.int8)
    return NetworkImages(mean, projection, references, scale)


def pixel_images(statistics: Features) -> PixelImages:
    """Describe the pixels of the references, as yet without the distances of the calibrating images.

    Args:
        statistics: Statistics of the references, float32 (references, statistics).
    """
    values = np.asarray(statistics, np.float64)
    mean, unit = values.mean(axis=0), values.std(axis=0) + 0.02  # a statistic that never varies is no evidence
    points = (values - mean) / unit
    variances, vectors = np.linalg.eigh(points.T @ points / len(points))
    whitening = vectors / np.sqrt(np.maximum(variances, 0) + 0.05)
    return PixelImages(mean.astype(np.float32), unit.astype(np.float32), whitening.astype(np.float32))


def network_part(
    networks: Mapping[str, NetworkImages], distances: Mapping[str, Distances], spread: float = 1.0
) -> Distances:
    """Return the sum of the networks' standardised distances of each image, in units of its own spread.

    Args:
        networks: References of each network, by architecture name.
        distances: Distance of each image by the same names.
        spread: Standard deviation of this sum among the calibrating images.
    """
    parts = [(distances[name] - network.middle) / network.spread for name, network in networks.items()]
    return np.asarray(np.sum(parts, axis=0) / spread, np.float64)


def pixel_part(pixels: PixelImages, distances: Distances) -> Distances:
    """Return the standardised distance of each image's pixels, at most the cap."""
    return np.asarray(np.minimum((distances - pixels.middle) / pixels.spread, pixels.cap), np.float64)


def _largest(values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return the largest values of each row, and numbers that are none before any other; overwrites the array."""
    rows = np.arange(len(values))
    largest = np.empty((len(values), count), np.float32)
    for place in range(count):  # for a few values faster than sorting
        at = values.argmax(axis=1)
        largest[:, place] = values[rows, at]
        values[rows, at] = -np.inf
    return largest


def _mean(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean of the finite values of each row, NaN for a row without one."""
    counted = np.isfinite(values)
    total = np.where(counted, values.astype(np.float64), 0.0).sum(axis=1)
    return np.where(counted.any(axis=1), total / np.maximum(counted.sum(axis=1), 1), np.nan)

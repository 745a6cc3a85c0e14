"""Choose the products whose labels would teach most: those that the release doubts, each for many that look like it.

The choice is the greedy solution of a facility location problem (Wei et al., 2015, "Submodularity in data subset
selection and active learning"): every product counts by its squared doubt, and is covered as well as it resembles the
most similar product that is chosen or has a label. The next choice is always the one that covers most of what is left.
So fifty near-equal shirts are one question, and the first choices are the best ones, however many people answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEAR = 0.95
"""Cosine similarity from which two descriptors count as near-equal: of these, one is asked."""

LEAST_DOUBT = 0.01
"""Least doubt that a product counts with, so that what is surely answered can be chosen when nothing else is left."""

MOST_COVERED = 4_000
"""Most products whose coverage is computed; of more, so many are drawn. They bound the time, not what can be chosen."""

_BLOCK = 64
"""Products whose gain is computed at once."""

Points = NDArray[np.float32]
"""Directions of descriptors, float32 (products, dimensions), each of length 1."""


@dataclass(frozen=True)
class Waiting:
    """Products that wait for a label.

    Attributes:
        descriptors: What the networks saw of each, (products, dimensions). Zeros, or a value that is not finite, are no
            descriptor.
        doubts: How unsure the release is of each, from 0 to 1, (products,); not a number counts as 1.
    """

    descriptors: NDArray[Any]
    doubts: NDArray[np.float64]


def doubt_of(confidences: list[float]) -> float:
    """Return how unsure an answer is: 1 minus what the best category has more than the second; 1 without a category.

    Args:
        confidences: Confidence of the categories, in any order.
    """
    best, second, *_ = [*sorted(confidences, reverse=True), 0.0, 0.0]
    return 1.0 - (best - second)


def choose(
    waiting: Waiting, count: int, *, labelled: NDArray[Any] | None = None, near: float = NEAR, seed: int = 7
) -> NDArray[np.int64]:
    """Choose the products whose labels would teach most.

    Args:
        waiting: The products to choose from.
        count: Most products to choose.
        labelled: Descriptors of products that have a label, (products, dimensions); what is near-equal to one of them
            is not asked again.
        near: Cosine similarity from which two descriptors are near-equal.
        seed: Seed of what is drawn if there are more than `MOST_COVERED` products.

    Returns:
        Rows of the chosen products, the most useful first, int64 (chosen,). They are fewer than `count` if the others
        have no descriptor, or are near-equal to a chosen or a labelled one.

    Raises:
        ValueError: If there is not one doubt for each descriptor.
    """
    if waiting.descriptors.ndim != 2 or waiting.doubts.shape != waiting.descriptors.shape[:1]:
        shapes = f"{waiting.descriptors.shape} and {waiting.doubts.shape}"
        raise ValueError(f"expected descriptors (products, dimensions) and a doubt of each, received shapes {shapes}")
    points, rows = _points(waiting.descriptors)
    doubts = np.clip(np.nan_to_num(waiting.doubts[rows], nan=1.0), LEAST_DOUBT, 1.0) ** 2
    known = _points(labelled)[0] if labelled is not None and len(labelled) else points[:0]
    search = _Search(points, doubts, known, near, seed)
    chosen: list[int] = []
    while len(chosen) < count and (row := search.next()) is not None:
        chosen.append(row)
    return np.asarray(rows[chosen], np.int64)


def _points(descriptors: NDArray[Any]) -> tuple[Points, NDArray[np.int64]]:
    """Return the directions of the descriptors that are some, and their rows."""
    values = np.asarray(descriptors, np.float32)
    lengths = np.linalg.norm(np.where(np.isfinite(values), values, 0.0), axis=1)
    rows = np.flatnonzero(np.isfinite(values).all(axis=1) & np.isfinite(lengths) & (lengths > 0))
    return values[rows] / lengths[rows, None], rows


class _Search:
    """State of the greedy search: how well each product is covered, and what each choice would gain at most."""

    def __init__(self, points: Points, doubts: NDArray[np.float64], labelled: Points, near: float, seed: int) -> None:
        self._points, self._near = points, near
        drawn = np.arange(len(points))
        if len(points) > MOST_COVERED:
            drawn = np.sort(np.random.default_rng(seed).choice(len(points), MOST_COVERED, replace=False))
        self._covered_points = np.ascontiguousarray(points[drawn].T)
        self._doubts = doubts[drawn].astype(np.float32)
        self._covered = np.zeros(len(drawn), np.float32)
        self._gains = np.full(len(points), np.inf)
        for start in range(0, len(labelled), _BLOCK):
            block = labelled[start : start + _BLOCK]
            self._covered = np.maximum(self._covered, (block @ self._covered_points).max(axis=0))
            self._gains[(points @ block.T).max(axis=1) >= near] = -np.inf
        for start in range(0, len(points), _BLOCK):
            self._update(np.arange(start, min(start + _BLOCK, len(points))))

    def next(self) -> int | None:
        """Return the row of the next choice; None if every product is chosen, or near-equal to a chosen one.

        A gain only falls while others are chosen. So the first place is sure once its gain is computed anew and is
        still the highest, and few gains are computed for a choice (lazy greedy, Minoux 1978).
        """
        if not len(self._gains):
            return None
        fresh = np.zeros(len(self._gains), bool)
        while True:
            best = int(self._gains.argmax())
            if self._gains[best] == -np.inf:
                return None
            if fresh[best]:
                break
            size = min(_BLOCK, len(self._gains))
            rows = np.append(np.argpartition(-self._gains, size - 1)[:size], best)  # among many equal ones best is not
            rows = np.unique(rows[~fresh[rows]])
            self._update(rows)
            fresh[rows] = True
        self._covered = np.maximum(self._covered, self._points[best] @ self._covered_points)
        self._gains[self._points @ self._points[best] >= self._near] = -np.inf
        self._gains[best] = -np.inf
        return best

    def _update(self, rows: NDArray[np.int64]) -> None:
        """Compute what choosing each of these products would gain, unless it cannot be chosen."""
        rows = rows[self._gains[rows] > -np.inf]
        added = self._points[rows] @ self._covered_points - self._covered
        self._gains[rows] = np.maximum(added, 0.0, out=added) @ self._doubts

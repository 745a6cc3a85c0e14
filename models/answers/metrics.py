"""Compute the metrics of an evaluation: accuracy, F1, confusion, reliability, risk-coverage, McNemar's test.

Works on NumPy arrays only; reads and writes no files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.answers.levels import Level

EXACT_DIFFERENCES = 5_000
"""Up to this number of products on which two releases differ, `mcnemar` computes the exact p-value."""


def quality(level: Level) -> dict[str, Any]:
    """Compute the metrics accuracy, F1 and confusion of the answers at one depth of the taxonomy.

    Args:
        level: Labels and answers of the examples at that depth.

    Returns:
        `top1` and `top3`: accuracies in [0, 1]. `macro_f1`: mean F1 of the categories that occur among the labels.
        `categories`: precision, recall, F1 and counts of each category. `confusion`: (true category, answered
        category, number of examples) for each pair that occurs, the most frequent first.
    """
    size = len(level.names)
    right = np.bincount(level.labels[level.hits], minlength=size)
    answered, real = np.bincount(level.winners, minlength=size), np.bincount(level.labels, minlength=size)
    categories = [
        {
            "category_id": name,
            "products": int(real[i]),
            "answered": int(answered[i]),
            "precision": _share(right[i], answered[i]),
            "recall": _share(right[i], real[i]),
            "f1": _share(2 * right[i], answered[i] + real[i]),
        }
        for i, name in enumerate(level.names)
    ]
    return {
        "top1": float(level.hits.mean()),
        "top3": float(level.ranked.mean()),
        "macro_f1": float(np.mean([2 * right[i] / (answered[i] + real[i]) for i in np.flatnonzero(real)])),
        "categories": categories,
        "confusion": _confusion(level),
    }


def _confusion(level: Level) -> list[tuple[str, str, int]]:
    """Count the (true, answered) pairs that occur; a full matrix of thousands of categories would be nearly empty."""
    size = len(level.names)
    pairs, counts = np.unique(level.labels.astype(np.int64) * size + level.winners, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    frequent_first = zip(pairs[order].tolist(), counts[order].tolist(), strict=True)
    return [(level.names[pair // size], level.names[pair % size], count) for pair, count in frequent_first]


def reliability(
    confidences: NDArray[np.floating[Any]], hits: NDArray[np.bool_], *, bins: int = 15
) -> list[tuple[float, float, int]]:
    """Return the points of a reliability diagram.

    Args:
        confidences: Confidence of each answer, in [0, 1], (examples,).
        hits: Whether the answer is right, (examples,).
        bins: Number of bins; each has about the same number of examples.

    Returns:
        (mean confidence, accuracy, number of examples) of each bin, the lowest confidence first.
    """
    order = np.argsort(confidences, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return [(float(confidences[part].mean()), float(hits[part].mean()), len(part)) for part in parts]


def risk_coverage(
    confidences: NDArray[np.floating[Any]], hits: NDArray[np.bool_], *, points: int = 100
) -> list[tuple[float, float, float]]:
    """Return the risk-coverage curve: the share of wrong answers if all answers above a threshold are accepted.

    Args:
        confidences: Confidence of each answer, in [0, 1], (examples,).
        hits: Whether the answer is right, (examples,).
        points: Highest number of points on the curve.

    Returns:
        (threshold, share of examples at or above it, share of these that are wrong), the highest threshold first.
    """
    order = np.argsort(-np.asarray(confidences), kind="stable")
    wrong = np.cumsum(~hits[order])
    places = np.unique(np.linspace(1, len(order), min(points, len(order))).round().astype(int))
    return [(float(confidences[order[n - 1]]), n / len(order), float(wrong[n - 1] / n)) for n in places]


@dataclass(frozen=True)
class McNemar:
    """Result of McNemar's test of two releases on the same products.

    Attributes:
        both: Number of products on which both releases are right.
        only_first: Number of products on which only the first release is right.
        only_second: Number of products on which only the second release is right.
        neither: Number of products on which both releases are wrong.
        p_value: Probability of a difference at least this large if both releases are equally good, in [0, 1].
        exact: Whether the p-value is the exact binomial one; False means the normal approximation.
    """

    both: int
    only_first: int
    only_second: int
    neither: int
    p_value: float
    exact: bool


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """Compare two releases on the same examples with McNemar's test (1947, Psychometrika 12, 153-157).

    Uses the exact, binomial form for up to `EXACT_DIFFERENCES` examples on which they differ. Above that it uses the
    normal approximation with Edwards' correction, which then agrees to four digits.

    Args:
        first: Whether the first release is right, bool (examples,).
        second: Whether the second release is right, bool (examples,).

    Returns:
        The four counts and the two-sided p-value.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    fewer, differing = min(only_first, only_second), only_first + only_second
    exact = differing <= EXACT_DIFFERENCES
    if exact:  # in integers, because a float overflows beyond about 1000 differing examples
        p_value = 2 * sum(math.comb(differing, count) for count in range(fewer + 1)) / 2**differing
    else:
        p_value = math.erfc(max(0, abs(only_first - only_second) - 1) / math.sqrt(2 * differing))
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    return McNemar(both, only_first, only_second, neither, min(1.0, p_value), exact)


def _share(part: Any, whole: Any) -> float | None:
    """Return part / whole; None if the whole is 0."""
    return float(part / whole) if whole else None

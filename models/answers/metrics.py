"""How good answers are: the figures of an evaluation, from arrays alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.answers.levels import Level

EXACT_DIFFERENCES = 5_000


def quality(level: Level) -> dict[str, Any]:
    """Measure answers at one level of the taxonomy.

    Args:
        level: What is known of each example.

    Returns:
        `top1`, `top3`, `macro_f1` (over the categories that occur); `categories`: precision, recall, F1 and counts of
        each; `confusion`: [true category, answered category, examples] wherever there are any, the most frequent first.
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
    """Count pairs; of thousands of categories nearly all pairs never occur."""
    size = len(level.names)
    pairs, counts = np.unique(level.labels.astype(np.int64) * size + level.winners, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    found = zip(pairs[order].tolist(), counts[order].tolist(), strict=True)
    return [(level.names[pair // size], level.names[pair % size], count) for pair, count in found]


def reliability(
    confidences: NDArray[np.floating[Any]], hits: NDArray[np.bool_], *, bins: int = 15
) -> list[tuple[float, float, int]]:
    """Return mean confidence, accuracy and size of equally full bins, the least sure first."""
    order = np.argsort(confidences, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return [(float(confidences[part].mean()), float(hits[part].mean()), len(part)) for part in parts]


def risk_coverage(
    confidences: NDArray[np.floating[Any]], hits: NDArray[np.bool_], *, points: int = 100
) -> list[tuple[float, float, float]]:
    """Follow the share of wrong answers while less and less sure ones are let through.

    Args:
        confidences: Of each answer.
        hits: Whether it was right.
        points: At most so many.

    Returns:
        (confidence from which on, share of examples let through, share of these that are wrong), the surest first.
    """
    order = np.argsort(-np.asarray(confidences), kind="stable")
    wrong = np.cumsum(~hits[order])
    places = np.unique(np.linspace(1, len(order), min(points, len(order))).round().astype(int))
    return [(float(confidences[order[n - 1]]), n / len(order), float(wrong[n - 1] / n)) for n in places]


@dataclass(frozen=True)
class McNemar:
    """Two releases on the same products.

    Attributes:
        both: Both were right.
        only_first: Only the first was.
        only_second: Only the second was.
        neither: None was.
        p_value: How likely a difference this large is if both are equally good.
        exact: Whether that is the binomial probability itself; the normal approximation for very many products.
    """

    both: int
    only_first: int
    only_second: int
    neither: int
    p_value: float
    exact: bool


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """Compare two on the same examples: McNemar, 1947, Psychometrika 12, 153-157.

    In its exact, binomial form up to `EXACT_DIFFERENCES` products on which they differ; beyond these the normal
    approximation with Edwards' correction, which agrees to four digits by then.

    Args:
        first: Whether the first was right on each example.
        second: Whether the second was.

    Returns:
        The four counts and the two-sided p-value.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    fewer, differing = min(only_first, only_second), only_first + only_second
    exact = differing <= EXACT_DIFFERENCES
    if exact:  # in integers: a float would overflow beyond a thousand differing examples
        p_value = 2 * sum(math.comb(differing, count) for count in range(fewer + 1)) / 2**differing
    else:
        p_value = math.erfc(max(0, abs(only_first - only_second) - 1) / math.sqrt(2 * differing))
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    return McNemar(both, only_first, only_second, neither, min(1.0, p_value), exact)


def _share(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None

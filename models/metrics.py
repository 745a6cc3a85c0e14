"""How good answers are: the figures of an evaluation, from arrays alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.spec import Probabilities

Labels = NDArray[np.integer[Any]]

EXACT_DIFFERENCES = 5_000


def level_names(category_ids: Sequence[str], depth: int) -> list[str]:
    """Return each category's node at a depth: `a.b.c` at 2 is `a.b`; a category that is no deeper is itself."""
    return [".".join(category_id.split(".")[:depth]) for category_id in category_ids]


def fold(rows: Probabilities, labels: Labels, names: Sequence[str]) -> tuple[Probabilities, Labels, list[str]]:
    """Sum columns that have the same name.

    Args:
        rows: (examples, columns).
        labels: Index of the true column of each example.
        names: Of the columns; equal ones become one.

    Returns:
        The summed columns, the labels as indices into them, and their names, sorted.
    """
    kept, place = np.unique(np.asarray(names, object), return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(kept)))
    summed = np.add.reduceat(rows[:, order], starts, axis=1, dtype=np.float64)
    return np.asarray(summed, np.float32), place[labels], kept.tolist()


def quality(rows: Probabilities, labels: Labels, names: Sequence[str]) -> dict[str, Any]:
    """Measure answers at one level of the taxonomy.

    Args:
        rows: Calibrated confidences, (examples, columns).
        labels: Index of the true column of each example.
        names: Of the columns.

    Returns:
        `top1`, `top3`, `macro_f1` (over the categories that occur); `categories`: precision, recall, F1 and counts of
        each; `confusion`: rows are true, columns are answered, in the order of `names`.
    """
    winners = rows.argmax(axis=1)
    # Of equal columns the first is the surer one, as for the winner: a category tied at 0 is no third answer.
    first_three = np.argsort(-rows, axis=1, kind="stable")[:, :3]
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (labels, winners), 1)
    right, answered, real = confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)
    categories = [
        {
            "category_id": name,
            "products": int(real[i]),
            "answered": int(answered[i]),
            "precision": _share(right[i], answered[i]),
            "recall": _share(right[i], real[i]),
            "f1": _share(2 * right[i], answered[i] + real[i]),
        }
        for i, name in enumerate(names)
    ]
    return {
        "top1": float((winners == labels).mean()),
        "top3": float((first_three == labels[:, None]).any(axis=1).mean()),
        "macro_f1": float(np.mean([2 * right[i] / (answered[i] + real[i]) for i in np.flatnonzero(real)])),
        "categories": categories,
        "confusion": confusion.tolist(),
    }


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

"""Finding, on held-out examples, how sure an answer must be to be right as often as was promised.

A threshold opens only where a lower confidence bound of the precision above it reaches the target, so that ten lucky
examples open nothing: at 95 % certainty a precision of 0.95 takes 59 examples without a mistake.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.answers.decision import DIGITS, ancestors
from models.spec import Probabilities

TARGET_PRECISION = 0.95
CERTAINTY = 0.95
FLOOR = 0.2
"""Below it a suggestion is wrong four times in five, and looking it up costs a person more than choosing."""


def precision_bound(hits: Any, total: Any, *, certainty: float = CERTAINTY) -> Any:
    """Bound a precision from below: Clopper and Pearson, 1934, Biometrika 26, 404-413, the one-sided interval.

    Args:
        hits: How many examples were right; a number or an array.
        total: Out of how many, at least `hits`.
        certainty: Probability that the true precision is above the bound, in (0, 1).

    Returns:
        The bound, in [0, 1): the quantile of Beta(hits, total - hits + 1) at 1 - certainty; 0 without a hit.
    """
    from scipy.special import betaincinv  # half a second that serving need not pay

    right, all_ = np.asarray(hits, np.float64), np.asarray(total, np.float64)
    bound = betaincinv(np.maximum(right, 1), all_ - right + 1, 1 - certainty)
    return np.where(right > 0, bound, 0.0)


def flawless_needed(target: float = TARGET_PRECISION, *, certainty: float = CERTAINTY) -> int:
    """Return how many right answers without a wrong one open a threshold: the bound of n out of n is a^(1/n)."""
    return math.ceil(round(math.log(1 - certainty) / math.log(target), 9))


def lowest_threshold(
    confidences: Sequence[float] | NDArray[np.floating[Any]],
    hits: NDArray[np.bool_],
    *,
    target: float = TARGET_PRECISION,
    certainty: float = CERTAINTY,
) -> float | None:
    """Find the lowest confidence from which on the precision is, by its lower bound, at least the target.

    The bound holds for each threshold by itself; taking the lowest of those that pass is slightly optimistic.

    Args:
        confidences: Of each example's answer.
        hits: Whether that answer was right.
        target: Precision that is promised, in (0, 1).
        certainty: Of the bound.

    Returns:
        One of the confidences, rounded to `models.answers.decision.DIGITS`; None if no threshold passes.
    """
    values = np.array([round(float(value), DIGITS) for value in confidences])
    order = np.argsort(-values, kind="stable")
    values = values[order]
    right = np.cumsum(np.asarray(hits, np.int64)[order])
    total = np.arange(1, len(values) + 1)
    # A threshold takes all examples of equal confidence or none, so only the last of each is a candidate.
    last = np.append(values[1:] != values[:-1], True) if len(values) else np.array([], bool)
    passing = values[last & (precision_bound(right, total, certainty=certainty) >= target)]
    return float(passing[-1]) if len(passing) else None


def fit_thresholds(
    confidences: Probabilities,
    labels: NDArray[np.integer[Any]],
    category_ids: Sequence[str],
    *,
    target: float = TARGET_PRECISION,
    certainty: float = CERTAINTY,
) -> dict[str, float | None]:
    """Find every leaf's threshold, and those of the inner nodes for what their leaves leave open.

    Args:
        confidences: The calibrated ensemble, (examples, categories).
        labels: The true category of each example, an index into the columns.
        category_ids: Of the columns.
        target: Precision that is promised to each category by itself, in (0, 1).
        certainty: Of the lower bound.

    Returns:
        By category_id, for every leaf and every inner node with at least two leaves; None never opens.
    """
    winners = confidences.argmax(axis=1)
    best = confidences.max(axis=1)
    found: dict[str, float | None] = {}
    unsure = np.ones(len(labels), bool)
    for index, category_id in enumerate(category_ids):
        own = np.flatnonzero(winners == index)
        gate = lowest_threshold(best[own], labels[own] == index, target=target, certainty=certainty)
        found[category_id] = gate
        if gate is not None:
            unsure[own] &= np.array([round(float(value), DIGITS) < gate for value in best[own]], bool)
    nodes = {node for category_id in category_ids for node in ancestors(category_id)}
    # The deepest first, as `decide` asks them: a node answers only for what no deeper one has taken.
    for node in sorted(nodes, key=lambda node: (-node.count("."), node)):
        below = np.array([category_id.startswith(f"{node}.") for category_id in category_ids])
        if below.sum() < 2:
            continue
        own = np.flatnonzero(unsure & below[winners])
        inside = np.minimum(confidences[own][:, below].sum(axis=1, dtype=np.float64), 1.0)
        gate = lowest_threshold(inside, below[labels[own]], target=target, certainty=certainty)
        found[node] = gate
        if gate is not None:
            unsure[own] &= np.array([round(float(value), DIGITS) < gate for value in inside], bool)
    return found

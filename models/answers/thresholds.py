"""Fit, on held-out examples, the confidence thresholds at which a target precision is reached.

A threshold is accepted only if a lower confidence bound of the precision above it reaches the target, so that a few
lucky examples are not enough: at 95 % certainty a target of 0.95 needs 59 examples without a mistake. Which categories
share a threshold is decided in `pools`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.answers.decision import DIGITS
from models.answers.taxonomy import ancestors
from models.spec import Probabilities

TARGET_PRECISION = 0.95
"""Default precision of what is published automatically, for each category."""

CERTAINTY = 0.95
"""Default probability with which the true precision lies above its lower bound."""

FLOOR = 0.2
"""Default confidence below which nothing is suggested.

Below it four of five suggestions are wrong, and checking one costs a person more than choosing a category.
"""


def precision_bound(hits: Any, total: Any, *, certainty: float = CERTAINTY) -> Any:
    """Return a lower bound of a precision for a threshold, by Clopper and Pearson (1934, Biometrika 26, 404-413).

    Args:
        hits: Number of right examples; a number or an array.
        total: Number of all examples, at least `hits`; a number or an array.
        certainty: Probability that the true precision is above the bound, in (0, 1).

    Returns:
        The bound, in [0, 1): the quantile of Beta(hits, total - hits + 1) at 1 - certainty; 0 if hits is 0.
    """
    from scipy.special import betaincinv  # takes 0.5 s to import; serving does not need it

    right, all_ = np.asarray(hits, np.float64), np.asarray(total, np.float64)
    bound = betaincinv(np.maximum(right, 1), all_ - right + 1, 1 - certainty)
    return np.where(right > 0, bound, 0.0)


def flawless_needed(target: float = TARGET_PRECISION, *, certainty: float = CERTAINTY) -> int:
    """Return how many right answers without a wrong one are enough for a threshold.

    The bound of n right answers out of n is a^(1/n), with a = 1 - certainty.

    Args:
        target: Required precision, in (0, 1).
        certainty: Probability that the true precision is above its lower bound, in (0, 1).
    """
    return math.ceil(round(math.log(1 - certainty) / math.log(target), 9))


def lowest_threshold(
    confidences: Sequence[float] | NDArray[np.floating[Any]],
    hits: NDArray[np.bool_],
    *,
    target: float = TARGET_PRECISION,
    certainty: float = CERTAINTY,
    at_least: float = 0.0,
) -> float | None:
    """Find the lowest threshold above which the lower bound of the precision reaches the target.

    The bound holds for each candidate threshold alone; choosing the lowest that passes is slightly optimistic.

    Args:
        confidences: Confidence of each answer, in [0, 1], (examples,).
        hits: Whether the answer is right, (examples,).
        target: Required precision, in (0, 1).
        certainty: Probability that the true precision is above its lower bound, in (0, 1).
        at_least: Lowest threshold that may be found.

    Returns:
        The threshold: one of the confidences, rounded to `models.answers.decision.DIGITS`; None if none passes.
    """
    values = rounded(confidences)
    order = np.argsort(-values, kind="stable")
    values = values[order]
    right = np.cumsum(np.asarray(hits, np.int64)[order])
    total = np.arange(1, len(values) + 1)
    # A threshold accepts all examples of equal confidence or none, so only the last of each is a candidate.
    last = np.append(values[1:] != values[:-1], True) if len(values) else np.array([], bool)
    allowed = last & (values >= at_least)
    passing = values[allowed & (precision_bound(right, total, certainty=certainty) >= target)]
    return float(passing[-1]) if len(passing) else None


def fit_nodes(
    confidences: Probabilities,
    labels: NDArray[np.integer[Any]],
    category_ids: Sequence[str],
    of_leaves: Mapping[str, float | None],
    *,
    target: float = TARGET_PRECISION,
    certainty: float = CERTAINTY,
) -> dict[str, float | None]:
    """Fit the thresholds of the inner nodes, on the examples that no leaf threshold accepts.

    Args:
        confidences: Calibrated confidences of the ensemble, (examples, categories).
        labels: True category of each example, as a column index, (examples,).
        category_ids: The category_id of each column.
        of_leaves: Threshold of each leaf by category_id; None means that it accepts nothing.
        target: Required precision of each node, in (0, 1).
        certainty: Probability that the true precision is above its lower bound, in (0, 1).

    Returns:
        Threshold by category_id: those of the leaves, and one for every inner node with at least two leaves; None means
        that no threshold reaches the target.
    """
    winners = confidences.argmax(axis=1)
    thresholds = {category_id: of_leaves[category_id] for category_id in category_ids}
    of_columns = np.array([math.inf if value is None else value for value in thresholds.values()])
    unsure = rounded(confidences.max(axis=1)) < of_columns[winners]
    nodes = {node for category_id in category_ids for node in ancestors(category_id)}
    # The deepest first, in the order of `decide`: a node gets only the examples that no deeper node accepts.
    for node in sorted(nodes, key=lambda node: (-node.count("."), node)):
        below = np.array([category_id.startswith(f"{node}.") for category_id in category_ids])
        if below.sum() < 2:
            continue
        rows = np.flatnonzero(unsure & below[winners])
        inside = np.minimum(confidences[rows][:, below].sum(axis=1, dtype=np.float64), 1.0)
        threshold = lowest_threshold(inside, below[labels[rows]], target=target, certainty=certainty)
        thresholds[node] = threshold
        if threshold is not None:
            unsure[rows] &= rounded(inside) < threshold
    return thresholds


def rounded(confidences: Sequence[float] | NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Round confidences as `decide` does, one by one: NumPy's own rounding may differ in the last digit."""
    return np.array([round(float(value), DIGITS) for value in confidences], np.float64)

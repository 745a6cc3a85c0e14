"""Fit the promise of each category: a threshold of its own, one that it shares with others, or none.

A category with many calibrating answers has a threshold of its own or none. The others pool their answers, because few
of them could reach the lower bound alone: first the siblings below one parent, then all that are left. A pooled
threshold promises its precision on average over its members, in the shares that they had in the calibrating answers.

A member that is significantly worse than the target leaves its pool, so that one bad member does not hide behind many
good ones. One that is outright worse leaves a pool that reaches no threshold too, so that it does not shut the others.

Only answers count as a category's examples, as the precision of what is published is one of answers: products labelled
with a category that is never answered say nothing about it. Their number does not depend on which of them are right, so
choosing between own and pooled by it does not bias the bound.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.answers.promises import CATALOG, CATEGORY, CURVE_TARGETS, CategoryPromise
from models.answers.thresholds import (
    CERTAINTY,
    TARGET_PRECISION,
    fit_nodes,
    flawless_needed,
    lowest_threshold,
    precision_bound,
    rounded,
)
from models.spec import Probabilities

OWN_FACTOR = 5
"""Answers that a category needs for a threshold of its own, in multiples of `flawless_needed`: 295 at 0.95."""

FEWEST = 5
"""Fewest answers of a member of a pool. A category with fewer is not published: nothing is known about it."""

OUTRIGHT = 0.001
"""Chance that any good member of a pool leaves because the pool reaches no threshold."""

SIBLINGS_DOUBT, AGAIN_DOUBT = 0.2, 0.5
"""Chance that a threshold of siblings misses its promise, and of a pool in which siblings are tried again, in parts of
that of other thresholds. So they are certain to 0.99 and 0.975 where others are to 0.95.

Of many small pools some open by luck alone: in simulations of badly calibrated shops, 11 % of the siblings' pools that
opened at 0.95 missed their promise, and then 8 % of the pools of what was left.
"""


@dataclass(frozen=True)
class FittedPromises:
    """Thresholds and promises of a release, as they were fitted to its calibrating answers.

    Attributes:
        thresholds: By category_id, for every leaf and every inner node with at least two leaves, the lowest confidence
            at which it is published or suggested; None means never.
        promises: Promise of each leaf, by category_id.
    """

    thresholds: Mapping[str, float | None]
    promises: Mapping[str, CategoryPromise]


def fit_promises(
    confidences: Probabilities,
    labels: NDArray[np.integer[Any]],
    category_ids: Sequence[str],
    *,
    by: str = CATEGORY,
    target: float = TARGET_PRECISION,
    certainty: float = CERTAINTY,
) -> FittedPromises:
    """Fit the thresholds and promises of all leaves, and then the thresholds of the inner nodes on the other examples.

    Args:
        confidences: Calibrated confidences of the ensemble, (examples, categories).
        labels: True category of each example, as a column index, (examples,).
        category_ids: The category_id of each column.
        by: `CATEGORY` for own thresholds and pools of the categories without, or `CATALOG` for one pool of all.
        target: Required precision of each category or pool, in (0, 1).
        certainty: Probability that the true precision is above its lower bound, in (0, 1).
    """
    fit = _LeafFit(_answers(confidences, labels), category_ids, target, certainty)
    fit.run(by)
    thresholds = fit_nodes(confidences, labels, category_ids, fit.thresholds, target=target, certainty=certainty)
    return FittedPromises(thresholds, fit.promises)


def share_by_target(
    confidences: Probabilities,
    labels: NDArray[np.integer[Any]],
    category_ids: Sequence[str],
    *,
    target: float = TARGET_PRECISION,
) -> list[dict[str, float]]:
    """Compute which share of the examples would be published for other target precisions, for both promises.

    Args:
        confidences: Calibrated confidences of the ensemble, (examples, categories).
        labels: True category of each example, as a column index, (examples,).
        category_ids: The category_id of each column.
        target: Target precision of the release, which is added to `CURVE_TARGETS`.

    Returns:
        One row for each target in ascending order: `target_precision`, and the share published by `category` and by
        `catalog`, each in [0, 1] and rounded to four digits.
    """
    answers = _answers(confidences, labels)
    rows = []
    for each in sorted({*CURVE_TARGETS, target}):
        row = {"target_precision": each}
        for by in (CATEGORY, CATALOG):
            fit = _LeafFit(answers, category_ids, each, CERTAINTY)
            fit.run(by)
            published = sum(promise.above for promise in fit.promises.values() if promise.kind != "closed")
            row[by] = round(published / max(len(labels), 1), 4)
        rows.append(row)
    return rows


def upper_bound(hits: int, total: int, *, certainty: float = CERTAINTY) -> float:
    """Return the one-sided upper bound of a precision by Clopper and Pearson; 1 without examples.

    Args:
        hits: Number of right examples.
        total: Number of all examples, at least `hits`.
        certainty: Probability that the true precision is below the bound, in (0, 1).
    """
    return 1.0 - float(precision_bound(total - hits, total, certainty=certainty))


@dataclass(frozen=True)
class _Answers:
    """The best leaf of each example: its column, its rounded confidence and whether it is right, each (examples,)."""

    winners: NDArray[np.intp]
    confidences: NDArray[np.float64]
    hits: NDArray[np.bool_]


def _answers(confidences: Probabilities, labels: NDArray[np.integer[Any]]) -> _Answers:
    winners = confidences.argmax(axis=1)
    return _Answers(winners, rounded(confidences.max(axis=1)), winners == labels)


class _LeafFit:
    """Fit of the leaves' thresholds and promises; both are complete after `run`."""

    def __init__(self, answers: _Answers, category_ids: Sequence[str], target: float, certainty: float) -> None:
        self.answers = answers
        self.ids = category_ids
        self.target, self.certainty = target, certainty
        self.examples = np.bincount(answers.winners, minlength=len(category_ids))
        self.thresholds: dict[str, float | None] = dict.fromkeys(category_ids)
        self.promises: dict[str, CategoryPromise] = {}

    def run(self, by: str) -> None:
        """Decide the promise of every leaf."""
        own_from = OWN_FACTOR * flawless_needed(self.target, certainty=self.certainty) if by == CATEGORY else np.inf
        left, certainty = [], self.certainty
        for leaf, examples in enumerate(self.examples):
            if examples < FEWEST:
                self._close(leaf, "few")
            elif examples >= own_from:
                self._open_own(leaf, self._lowest(self.answers.winners == leaf, certainty=self.certainty))
            else:
                left.append(leaf)
        if by == CATEGORY:
            left, certainty = self._without_siblings(left)
        members, threshold = self._pool(left, "", certainty=certainty)
        if len(members) == 1:
            # There is nobody to share with, or nobody any more: it keeps the certainty and the threshold of the pool.
            self._open_own(members[0], threshold)
        else:
            self._open_pool(members, threshold, "")
        self.promises = {name: self.promises[name] for name in self.ids}

    def _without_siblings(self, leaves: Sequence[int]) -> tuple[list[int], float]:
        """Open the pools of siblings that reach the target.

        Returns:
            The leaves that are in no pool yet, and the certainty that a pool of these needs.
        """
        below: dict[str, list[int]] = defaultdict(list)
        for leaf in leaves:
            below[self._parent(leaf)].append(leaf)
        left = below.pop("", [])  # without a parent all are siblings, which is the pool of all that are left
        again: set[int] = set()
        for parent, siblings in below.items():
            if len(siblings) == 1:
                left += siblings
                continue
            members, threshold = self._pool(siblings, parent, certainty=self._certainty(SIBLINGS_DOUBT))
            if threshold is not None and len(members) > 1:
                self._open_pool(members, threshold, parent)
            else:
                left += members
                again.update(members)
        if not again:
            return sorted(left), self.certainty
        same = again.issuperset(left) and len({self._parent(leaf) for leaf in left}) == 1
        return sorted(left), self._certainty(SIBLINGS_DOUBT if same else AGAIN_DOUBT)

    def _parent(self, leaf: int) -> str:
        return self.ids[leaf].rpartition(".")[0]

    def _certainty(self, doubt: float) -> float:
        """Return a higher certainty, with a part of the usual doubt."""
        return 1 - doubt * (1 - self.certainty)

    def _pool(self, leaves: Sequence[int], pool: str, *, certainty: float) -> tuple[list[int], float | None]:
        """Fit one threshold to the answers of several leaves, and close the leaves that must leave the pool.

        The pool is fitted again without them, and its threshold may rise but not fall. Some members leave by bad luck
        alone, and a pool that forgets their wrong answers looks better than it is. In simulations of 50 categories that
        were calibrated unequally, a third of the pools whose threshold could fall missed their target.

        If the pool reaches no threshold, only members leave that are outright worse than the target, with almost no
        doubt: a pool that could forget whoever looks bad would open too easily.

        It ends: each round but the last takes at least one leaf out and none comes back, so there are at most as many
        rounds as leaves, and one more. All leaves that must go leave in the same round, so their order does not matter.

        Returns:
            The leaves that stay, and their threshold; None if the pool does not reach the target.
        """
        members, threshold = list(leaves), 0.0
        while True:
            found = self._lowest(np.isin(self.answers.winners, members), at_least=threshold, certainty=certainty)
            if found is None and len(members) < 2:
                return members, None
            threshold = threshold if found is None else found
            sure = 1 - OUTRIGHT / len(members) if found is None else self.certainty
            leaving = [leaf for leaf in members if self._is_worse(leaf, threshold, certainty=sure)]
            if not leaving:
                return members, found
            for leaf in leaving:
                self._close(leaf, "worse", pool, threshold)
            members = [leaf for leaf in members if leaf not in leaving]

    def _is_worse(self, leaf: int, threshold: float, *, certainty: float) -> bool:
        """Return whether a leaf's own precision above a threshold lies significantly below the target."""
        right, published = self._counts(leaf, threshold)
        return upper_bound(right, published, certainty=certainty) < self.target

    def _lowest(self, rows: NDArray[np.bool_], *, certainty: float, at_least: float = 0.0) -> float | None:
        confidences, hits = self.answers.confidences[rows], self.answers.hits[rows]
        return lowest_threshold(confidences, hits, target=self.target, certainty=certainty, at_least=at_least)

    def _counts(self, leaf: int, threshold: float | None) -> tuple[int, int]:
        """Return how many answers of a leaf at or above a threshold are right, and how many there are."""
        if threshold is None:
            return 0, 0
        rows = (self.answers.winners == leaf) & (self.answers.confidences >= threshold)
        return int(self.answers.hits[rows].sum()), int(rows.sum())

    def _open_own(self, leaf: int, threshold: float | None) -> None:
        if threshold is None:
            self._close(leaf, "own")
        else:
            self._open(leaf, threshold, "own", "")

    def _open_pool(self, leaves: Sequence[int], threshold: float | None, pool: str) -> None:
        for leaf in leaves:
            if threshold is None:
                self._close(leaf, "pool", pool)
            else:
                self._open(leaf, threshold, "pool", pool)

    def _open(self, leaf: int, threshold: float, kind: str, pool: str) -> None:
        name, (right, above) = self.ids[leaf], self._counts(leaf, threshold)
        self.thresholds[name] = threshold
        self.promises[name] = CategoryPromise(kind, pool, int(self.examples[leaf]), above, right)

    def _close(self, leaf: int, reason: str, pool: str = "", threshold: float | None = None) -> None:
        right, above = self._counts(leaf, threshold)
        self.promises[self.ids[leaf]] = CategoryPromise("closed", pool, int(self.examples[leaf]), above, right, reason)

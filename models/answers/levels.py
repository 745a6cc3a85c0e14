"""Reduce distributions over all categories to the few arrays that metrics need, at each depth of the taxonomy.

A distribution may have thousands of categories. It is reduced as soon as it is computed and then freed, so that the
memory of an evaluation grows with the number of products, not with products times categories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.spec import Probabilities

Labels = NDArray[np.integer[Any]]

RANKS = 3
"""The k of the top-k accuracy that is measured beside the top-1 accuracy."""


@dataclass(frozen=True)
class Level:
    """Labels and answers of some examples at one level (depth) of the taxonomy; all arrays are (examples,).

    Attributes:
        depth: Depth in the taxonomy, from 1; that of the deepest leaves stands for all leaves.
        names: Nodes at that depth, sorted, as `level_names` returns them.
        labels: True node, as an index into `names`.
        winners: Node with the highest calibrated confidence, as an index into `names`.
        confidences: Calibrated confidence of `winners`, in [0, 1].
        ranked: Whether the true node is among the `RANKS` nodes with the highest confidence.
        raw_winners: Node with the highest confidence before the temperature, as an index into `names`.
        raw_confidences: Confidence of `raw_winners`, before the temperature, in [0, 1].
        by_network: By architecture name, the node with the highest softmax of that network alone.
    """

    depth: int
    names: tuple[str, ...]
    labels: Labels
    winners: Labels
    confidences: NDArray[np.floating[Any]]
    ranked: NDArray[np.bool_]
    raw_winners: Labels
    raw_confidences: NDArray[np.floating[Any]]
    by_network: Mapping[str, Labels]

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Whether the answered node is the true one, (examples,)."""
        return np.asarray(self.winners == self.labels)


def depths(category_ids: Sequence[str]) -> list[int]:
    """Return the depths of a taxonomy that are measured, one level each: from the deepest leaves up to 1."""
    deepest = max(category_id.count(".") for category_id in category_ids) + 1
    return [deepest, *range(deepest - 1, 0, -1)]


def level_names(category_ids: Sequence[str], depth: int) -> list[str]:
    """Return each category's node at a level: `a.b` for `a.b.c` at depth 2; a less deep category is its own node."""
    return [".".join(category_id.split(".")[:depth]) for category_id in category_ids]


def fold(rows: Probabilities, labels: Labels, names: Sequence[str]) -> tuple[Probabilities, Labels, list[str]]:
    """Fold a distribution to a level of the taxonomy: sum the columns whose categories have the same node there.

    Args:
        rows: Probabilities, (examples, columns).
        labels: Index of the true column of each example, (examples,).
        names: Name of each column; columns with equal names are summed.

    Returns:
        The summed columns, float32 (examples, distinct names); the labels as indices into these; and the distinct
        names, sorted.
    """
    kept, place = np.unique(np.asarray(names, object), return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(kept)))
    summed = np.add.reduceat(rows[:, order], starts, axis=1, dtype=np.float64)
    return np.asarray(summed, np.float32), place[labels], kept.tolist()


def among_first(rows: Probabilities, labels: Labels, *, count: int = RANKS) -> NDArray[np.bool_]:
    """Reduce distributions to whether the true column is among those with the highest probabilities.

    Of columns with equal probability the first ranks higher, as with argmax.

    Args:
        rows: Probabilities, (examples, columns).
        labels: Index of the true column of each example, (examples,).
        count: Number of highest columns among which the true one is searched.

    Returns:
        bool (examples,).
    """
    true = rows[np.arange(len(labels)), labels][:, None]
    before = np.arange(rows.shape[1]) < labels[:, None]
    return np.asarray(((rows > true) | ((rows == true) & before)).sum(axis=1) < count)


def build_level(
    category_ids: Sequence[str],
    depth: int,
    labels: Labels,
    confidences: Probabilities,
    *,
    raw: Probabilities,
    by_network: Mapping[str, Probabilities],
) -> Level:
    """Reduce distributions over all categories to the answers at one level of the taxonomy.

    Args:
        category_ids: The category_id of each column.
        depth: Depth in the taxonomy, from 1.
        labels: Index of the true column of each example, (examples,).
        confidences: Calibrated confidences of the ensemble, (examples, columns).
        raw: Probabilities of the ensemble before the temperature, (examples, columns).
        by_network: Softmax of each network, by architecture name, (examples, columns).
    """
    columns = level_names(category_ids, depth)
    rows, nodes, names = fold(confidences, labels, columns)
    raw_rows = fold(raw, labels, columns)[0]
    return Level(
        depth,
        tuple(names),
        nodes,
        rows.argmax(axis=1),
        rows.max(axis=1),
        among_first(rows, nodes),
        raw_rows.argmax(axis=1),
        raw_rows.max(axis=1),
        {name: fold(part, labels, columns)[0].argmax(axis=1) for name, part in by_network.items()},
    )


def joined(parts: Sequence[Level]) -> Level:
    """Concatenate the examples of several levels of the same depth, in the given order."""

    def whole(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    first = parts[0]
    return Level(
        first.depth,
        first.names,
        whole("labels"),
        whole("winners"),
        whole("confidences"),
        whole("ranked"),
        whole("raw_winners"),
        whole("raw_confidences"),
        {name: np.concatenate([part.by_network[name] for part in parts]) for name in first.by_network},
    )

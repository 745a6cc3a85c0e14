"""Answers at each depth of the taxonomy: of a distribution over all categories, the little that figures are made of.

A distribution over thousands of categories is looked at once and let go, so that an evaluation holds as many products
as it is asked about.
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
"""An answer of so many categories is measured beside that of one."""


@dataclass(frozen=True)
class Level:
    """What is kept of some examples at one depth; all arrays have one entry an example.

    Attributes:
        depth: From 1; of the leaves it is that of the deepest.
        names: The nodes at that depth, sorted, as `level_names` gives them.
        labels: The true node, an index into `names`.
        winners: The answered node.
        confidences: Of that answer, calibrated, in [0, 1].
        ranked: Whether the true node is among the first `RANKS`.
        raw_winners: The answered node without the temperature.
        raw_confidences: Of that answer.
        by_network: The node that each network answers by itself.
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
        """Whether the answered node is the true one."""
        return np.asarray(self.winners == self.labels)


def depths(category_ids: Sequence[str]) -> list[int]:
    """Return the depths of a taxonomy, that of the deepest leaves first."""
    deepest = max(category_id.count(".") for category_id in category_ids) + 1
    return [deepest, *range(deepest - 1, 0, -1)]


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


def among_first(rows: Probabilities, labels: Labels, *, count: int = RANKS) -> NDArray[np.bool_]:
    """Say whether the true column is among the surest; of equal columns the first is the surer one, as for the winner.

    Args:
        rows: (examples, columns).
        labels: Index of the true column of each example.
        count: How many are looked at.
    """
    own = rows[np.arange(len(labels)), labels][:, None]
    before = np.arange(rows.shape[1]) < labels[:, None]
    return np.asarray(((rows > own) | ((rows == own) & before)).sum(axis=1) < count)


def look(
    category_ids: Sequence[str],
    depth: int,
    labels: Labels,
    confidences: Probabilities,
    *,
    raw: Probabilities,
    by_network: Mapping[str, Probabilities],
) -> Level:
    """Look at distributions at one depth.

    Args:
        category_ids: Of the columns.
        depth: From 1.
        labels: Index of the true column of each example.
        confidences: The calibrated ensemble, (examples, columns).
        raw: The same without the temperature.
        by_network: Each network's softmax.
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
    """Put the examples of several looks at one depth together, one look after another."""

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

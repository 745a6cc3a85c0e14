"""From one calibrated distribution to what is done with it: published, suggested to a person, or left open.

Predict decides each image, publish each product of several images, and evaluate both again; all of them here, so that
what was measured is what is published.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from models.spec import Category

AUTO_THRESHOLD = 0.8
"""Confidence from which a category is published without a person, for releases without thresholds of their own."""

DIGITS = 6
"""Confidences are compared as they are stored, rounded to so many digits: what a reader sees explains the status."""


@dataclass(frozen=True)
class Policy:
    """When an answer is published, suggested or left open.

    Attributes:
        thresholds: By category_id, the confidence from which a leaf is `auto`, or from which an inner node of the
            taxonomy is suggested in place of an unsure leaf below it. None never is. A leaf that is missing takes
            `AUTO_THRESHOLD`, an inner node that is missing is never suggested.
        floor: Below it even the best category is no suggestion, and the answer is `unknown`; in [0, 1].
    """

    thresholds: Mapping[str, float | None] = field(default_factory=dict)
    floor: float = 0.0

    def threshold(self, category_id: str) -> float:
        """Return the confidence from which a leaf is published without a person; infinite if it never is."""
        found = self.thresholds.get(category_id, AUTO_THRESHOLD)
        return math.inf if found is None else float(found)


@dataclass(frozen=True)
class Answer:
    """What is said of an image or a product.

    Attributes:
        category_id: A leaf; with status `review` perhaps an inner node; None with status `unknown`.
        confidence: Calibrated probability of exactly that, in [0, 1]; None with status `unknown`.
        status: `auto`, `review` or `unknown`.
    """

    category_id: str | None
    confidence: float | None
    status: str


def decide(confidences: Mapping[str, float], policy: Policy) -> Answer:
    """Decide what is done with a distribution.

    A sure leaf is published. Otherwise the deepest node above the best leaf that is sure is suggested: the sum over its
    leaves is the probability that the product belongs somewhere below it. Otherwise the leaf is suggested, unless it is
    below the floor.

    Args:
        confidences: Calibrated probability by leaf; leaves that are missing count 0. Of equal ones the first wins.
        policy: Of the release that answered.

    Returns:
        The answer, its confidence rounded to `DIGITS`.
    """
    if not confidences:
        return Answer(None, None, "unknown")
    leaf = max(confidences, key=confidences.__getitem__)
    confidence = round(float(confidences[leaf]), DIGITS)
    if confidence >= policy.threshold(leaf):
        return Answer(leaf, confidence, "auto")
    for node in ancestors(leaf):
        needed = policy.thresholds.get(node)
        if needed is None:
            continue
        inside = sum_below(confidences, node)
        if inside >= needed:
            return Answer(node, inside, "review")
    if confidence < policy.floor:
        return Answer(None, None, "unknown")
    return Answer(leaf, confidence, "review")


def ancestors(category_id: str) -> list[str]:
    """Return the inner nodes above a category, the deepest first: `apparel.tops`, `apparel`."""
    parts = category_id.split(".")
    return [".".join(parts[:depth]) for depth in range(len(parts) - 1, 0, -1)]


def above_others(category_ids: Iterable[str]) -> list[str]:
    """Return, in order, those that are inner nodes above others of them, and so can be no leaves."""
    every = set(category_ids)
    return sorted(every & {node for category_id in every for node in ancestors(category_id)})


def sum_below(confidences: Mapping[str, float], node: str) -> float:
    """Return the probability of everything below an inner node, at most 1, rounded to `DIGITS`."""
    inside = math.fsum(value for category_id, value in confidences.items() if category_id.startswith(f"{node}."))
    return round(min(inside, 1.0), DIGITS)


def inner_nodes(categories: Iterable[Category]) -> tuple[Category, ...]:
    """Return the inner nodes of a taxonomy, in order of category_id.

    A node's readable path is the beginning of its leaves' paths; where those have another depth than the id, it is the
    id's own parts.
    """
    found: dict[str, Category] = {}
    for category in categories:
        names = category.category_path.split(" > ")
        fits = len(names) == category.category_id.count(".") + 1
        for node in ancestors(category.category_id):
            depth = node.count(".") + 1
            path = " > ".join(names[:depth]) if fits else node.replace(".", " > ")
            found.setdefault(node, Category(node, path))
    return tuple(found[node] for node in sorted(found))

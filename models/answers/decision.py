"""Decide from a calibrated distribution whether a category is published, suggested to a person, or left unknown.

Predict decides for each image, publish for each product with several images, and evaluate repeats both. All three call
this module, so that an evaluation measures exactly what is published. Reads and writes no files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from models.answers.reasons import BELOW_THRESHOLD, TAXONOMY, first_of
from models.answers.taxonomy import ancestors

AUTO_THRESHOLD = 0.8
"""Lowest confidence at which a leaf is published without review, if the release has no threshold for it."""

DIGITS = 6
"""Decimal digits to which confidences are rounded before they are stored and compared with thresholds.

Both use the same rounding, so that a stored confidence always explains its status.
"""


@dataclass(frozen=True)
class Policy:
    """Thresholds by which a release decides that an answer is published, suggested or left unknown.

    Attributes:
        thresholds: Lowest confidence by category_id. A leaf at or above its threshold is `auto`. An inner node of the
            taxonomy at or above its threshold is suggested if the best leaf below it is not `auto`. None means never.
            A leaf without an entry uses `AUTO_THRESHOLD`; an inner node without an entry is never suggested.
        floor: Lowest confidence at which the best leaf is suggested, in [0, 1]; below it the answer is `unknown`.
    """

    thresholds: Mapping[str, float | None] = field(default_factory=dict)
    floor: float = 0.0

    def threshold(self, category_id: str) -> float:
        """Return the lowest confidence at which a leaf is published without review; infinity if it never is."""
        threshold = self.thresholds.get(category_id, AUTO_THRESHOLD)
        return math.inf if threshold is None else float(threshold)


@dataclass(frozen=True)
class Answer:
    """A decision: the category and status of an image or a product.

    Attributes:
        category_id: A leaf, or with status `review` possibly an inner node; None with status `unknown`.
        confidence: Calibrated probability of that category, in [0, 1]; None with status `unknown`.
        status: `auto` (published), `review` (suggested to a person) or `unknown`.
        review_reason: Why it is not published, one of `models.answers.reasons.REVIEW_REASONS`; None with status `auto`.
    """

    category_id: str | None
    confidence: float | None
    status: str
    review_reason: str | None = None


def decide(confidences: Mapping[str, float], policy: Policy, *, held: str | None = None) -> Answer:
    """Decide whether a distribution leads to a published, a suggested or an unknown category.

    1. If the best leaf reaches its threshold, it is published, unless the answer is held back.
    2. Otherwise the deepest node above it that reaches its own threshold is suggested. The confidence of a node is the
       sum over its leaves: the probability that the product belongs somewhere below it. A best leaf that is only held
       back is suggested itself.
    3. Otherwise the best leaf is suggested, unless its confidence is below the floor.

    Args:
        confidences: Calibrated probability by category_id of the leaf. Missing leaves count as 0; the first of equal
            ones is the best.
        policy: Thresholds of the release that made the distribution.
        held: Reason for which the answer is not published whatever its confidence; None if there is none.

    Returns:
        The answer, with its confidence rounded to `DIGITS`.
    """
    if not confidences:
        return Answer(None, None, "unknown", first_of((held, BELOW_THRESHOLD)))
    leaf = max(confidences, key=confidences.__getitem__)
    confidence = round(float(confidences[leaf]), DIGITS)
    if confidence >= policy.threshold(leaf):
        answer = Answer(leaf, confidence, "auto")
        return answer if held is None else held_back(answer, held, policy)
    for node in ancestors(leaf):
        needed = policy.thresholds.get(node)
        if needed is None:
            continue
        inside = sum_below(confidences, node)
        if inside >= needed:
            return Answer(node, inside, "review", first_of((held, TAXONOMY)))
    reason = first_of((held, BELOW_THRESHOLD))
    if confidence < policy.floor:
        return Answer(None, None, "unknown", reason)
    return Answer(leaf, confidence, "review", reason)


def held_back(answer: Answer, reason: str, policy: Policy) -> Answer:
    """Return an answer that is held back for a reason: of status `review`, or `unknown` below the floor.

    An answer that is not published anyway keeps its category and status, and the first of both reasons.
    """
    if answer.status != "auto":
        return replace(answer, review_reason=first_of((reason, answer.review_reason)))
    if answer.confidence is not None and answer.confidence < policy.floor:
        return Answer(None, None, "unknown", reason)
    return replace(answer, status="review", review_reason=reason)


def sum_below(confidences: Mapping[str, float], node: str) -> float:
    """Return the confidence of an inner node in a decision: the sum of its leaves, at most 1, rounded to `DIGITS`."""
    inside = math.fsum(value for category_id, value in confidences.items() if category_id.startswith(f"{node}."))
    return round(min(inside, 1.0), DIGITS)

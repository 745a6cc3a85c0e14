"""Why an answer is not published by itself: the closed list of reasons, and which of several is kept.

Predict knows the reasons that lie in an image (`IMAGE_REASONS`); publish adds those that lie in the run
(`RUN_REASONS`). Both are combined here, so that predict, publish, evaluate and a cleared decision agree.
"""

from __future__ import annotations

from collections.abc import Iterable

GATE_CLOSED = "gate_closed"
FOREIGN_NIGHT = "foreign_night"
FOREIGN_GROUP = "foreign_group"
FOREIGN_IMAGE = "foreign_image"
SHARED_PICTURE = "shared_picture"
CHANGED_PICTURE = "changed_picture"
TAXONOMY = "taxonomy"
BELOW_THRESHOLD = "below_threshold"

REVIEW_REASONS = (
    *(GATE_CLOSED, FOREIGN_NIGHT, FOREIGN_GROUP, FOREIGN_IMAGE),
    *(SHARED_PICTURE, CHANGED_PICTURE, TAXONOMY, BELOW_THRESHOLD),
)
"""All reasons. Where several hold, the first one is kept. `sql.records.REVIEW_REASONS` says what each means."""

UNTRUSTED = (GATE_CLOSED, FOREIGN_IMAGE)
"""Reasons for which the release cannot judge an image. A foreign image has no say in its product's answer, as long as
another image of the product has one. An image whose gate could not be computed may be a usual one: it keeps its say,
and holds its product back."""

IMAGE_REASONS = (*UNTRUSTED, TAXONOMY, BELOW_THRESHOLD)
"""Reasons that predict finds in a single image."""

RUN_REASONS = (FOREIGN_NIGHT, FOREIGN_GROUP, SHARED_PICTURE)
"""Reasons for which publish holds the answers of a run back."""


def first_of(reasons: Iterable[str | None]) -> str | None:
    """Return the reason that is kept where several hold; None if none does."""
    held = {reason for reason in reasons if reason is not None}
    return min(held, key=REVIEW_REASONS.index) if held else None

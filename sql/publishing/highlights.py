"""Record a summary of a run's answers: counts by status, histograms of confidence, and products to look at.

It is computed from the temporary tables of the publish, so that a report need not search millions of products. Which
products moved to another category is only known at that moment, because the next run overwrites the answer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.publishing import changed_pictures
from sql.records import RunRecord
from sql.schema.runs import run_highlights, runs

BINS = 20
"""Number of bins of a histogram, equally wide over [0, 1]."""

SHOWN = 24
"""Highest number of products of a kind that are recorded for a run."""

# A person's decision that stands again is no answer of the run.
_MOVED = "replaces AND NOT decided AND old_status IS NOT NULL AND category_id IS DISTINCT FROM old_category_id"

_COUNT = sa.text(f"""
SELECT
    status,
    review_reason,
    CAST(round(confidence * 1000000000) AS BIGINT) / {1_000_000_000 // BINS} AS bin,
    sum(CASE WHEN decided THEN 0 ELSE 1 END) AS answered,
    sum(CASE WHEN replaces AND NOT decided AND old_status IS NULL THEN 1 ELSE 0 END) AS first_answered,
    sum(CASE WHEN {_MOVED} THEN 1 ELSE 0 END) AS moved,
    sum(CASE WHEN decided OR (old_decided AND NOT replaces) THEN 1 ELSE 0 END) AS left_to_people
FROM answer_changes
GROUP BY 1, 2, 3
""")  # noqa: S608 - our own text

_KEEP = """
INSERT INTO run_highlights (
    run_id, kind, place, product_id, category_id, previous_category_id, confidence, status, review_reason, ingest_date
)
SELECT
    :run_id,
    :kind,
    :after + row_number() OVER (ORDER BY {order}),
    product_id,
    category_id,
    old_category_id,
    confidence,
    status,
    review_reason,
    ingest_date
FROM (
    SELECT product_id, category_id, old_category_id, confidence, status, review_reason, ingest_date
    FROM answer_changes
    WHERE {which}
    ORDER BY {order}
    LIMIT :rows
) AS chosen
"""

# The highest confidence first: these products are most likely shown in the new category.
_KEEP_MOVED = sa.text(_KEEP.format(which=_MOVED, order="coalesce(confidence, 0) DESC, product_id"))

# Answers that are current because of this run, written by this publish or by an earlier publish of the same run.
_KEEP_LEAST_CERTAIN = sa.text(
    _KEEP.format(
        which="status = 'review' AND (replaces OR (old_status = status AND old_category_id = category_id))",
        order="confidence, product_id",
    )
)


def record(connection: Connection, run: RunRecord, *, again: bool) -> RunRecord:
    """Write the run's highlights: its counts by status, histograms of confidence, and products to look at.

    Args:
        connection: In the publishing transaction, after the answers were written.
        run: The run as its driver reports it.
        again: Whether the run was published before; then its earlier counts of moved and first answered are added.

    Returns:
        The run with additional `counts`: products answered by status, answered for the first time, moved to another
        category, and left as a person decided. Its `summary` gets a histogram of the confidence for each status, and
        as `review_reasons` the number of products for each reason, also of those that a person has to look at again
        because their picture changed.
    """
    counts: Counter[str] = Counter(auto=0, review=0, unknown=0, first_answered=0, moved=0, left_to_people=0)
    reasons: Counter[str] = Counter()
    histograms = {status: [0] * BINS for status in ("auto", "review", "unknown")}
    for row in connection.execute(_COUNT):
        counts[row.status] += int(row.answered)
        if row.review_reason is not None:
            reasons[row.review_reason] += int(row.answered)
        for name in ("first_answered", "moved", "left_to_people"):
            counts[name] += int(getattr(row, name))
        if row.bin is not None:
            histograms[row.status][min(int(row.bin), BINS - 1)] += int(row.answered)
    reasons += Counter({changed_pictures.REASON: changed_pictures.count_waiting(connection)})
    moved = counts["moved"]
    if again:
        earlier = connection.execute(sa.select(runs.c.counts).where(runs.c.run_id == run.run_id)).scalar_one()
        for name in ("first_answered", "moved"):
            counts[name] += earlier[name]
    _write_rows(connection, run.run_id, moved)
    found = {"confidence_histograms": histograms, "review_reasons": dict(sorted(reasons.items()))}
    return replace(run, counts={**run.counts, **counts}, summary={**run.summary, **found})


def _write_rows(connection: Connection, run_id: str, moved: int) -> None:
    table = run_highlights
    connection.execute(table.delete().where(table.c.run_id == run_id, table.c.kind == "least_certain"))
    values: dict[str, Any] = {"run_id": run_id, "after": 0, "rows": SHOWN}
    connection.execute(_KEEP_LEAST_CERTAIN, {**values, "kind": "least_certain"})
    if moved:
        last = sa.select(sa.func.coalesce(sa.func.max(table.c.place), 0))
        after = connection.execute(last.where(table.c.run_id == run_id, table.c.kind == "moved")).scalar_one()
        connection.execute(_KEEP_MOVED, {**values, "kind": "moved", "after": after, "rows": max(SHOWN - after, 0)})

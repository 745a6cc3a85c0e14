"""What a run's answers were, kept with the run: counts by status, a histogram of confidence, and what to look at.

Taken from the temporary tables of its publish, so that nobody ever has to search millions of products for it. The
products that moved are only known at that moment: the next run overwrites the answer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.records import RunRecord
from sql.schema.runs import run_highlights, runs

BINS = 20
"""Of the histogram, equally wide over [0, 1]."""

SHOWN = 24
"""Products of a kind that a run keeps."""

_MOVED = "replaces AND old_status IS NOT NULL AND category_id IS DISTINCT FROM old_category_id"

_COUNT = sa.text(f"""
SELECT
    status,
    CAST(round(confidence * 1000000000) AS BIGINT) / {1_000_000_000 // BINS} AS bin,
    count(*) AS answered,
    sum(CASE WHEN replaces AND old_status IS NULL THEN 1 ELSE 0 END) AS first_answered,
    sum(CASE WHEN {_MOVED} THEN 1 ELSE 0 END) AS moved,
    sum(CASE WHEN old_status = 'manual' THEN 1 ELSE 0 END) AS left_to_people
FROM answer_changes
GROUP BY 1, 2
""")  # noqa: S608 - our own text

_KEEP = """
INSERT INTO run_highlights (
    run_id, kind, place, product_id, category_id, previous_category_id, confidence, status, ingest_date
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
    ingest_date
FROM (
    SELECT product_id, category_id, old_category_id, confidence, status, ingest_date
    FROM answer_changes
    WHERE {which}
    ORDER BY {order}
    LIMIT :rows
) AS chosen
"""

# The surest first: they have moved where everybody sees it.
_KEEP_MOVED = sa.text(_KEEP.format(which=_MOVED, order="coalesce(confidence, 0) DESC, product_id"))

# Those that stand now because of this run, whether this publish wrote them or an earlier one of the same run.
_KEEP_LEAST_CERTAIN = sa.text(
    _KEEP.format(
        which="status = 'review' AND (replaces OR (old_status = status AND old_category_id = category_id))",
        order="confidence, product_id",
    )
)


def record(connection: Connection, run: RunRecord, *, again: bool) -> RunRecord:
    """Write the run's highlights, from `answer_changes`.

    Args:
        connection: In the publishing transaction, after the answers were written.
        run: As its driver reports it.
        again: Whether the run was published before; then what moved at first still counts.

    Returns:
        The run with more `counts`: answered products by status, those answered for the first time, moved, or left to
        people's decisions; and with histograms of the answered products' confidence by status in `summary`.
    """
    counts: Counter[str] = Counter(auto=0, review=0, unknown=0, first_answered=0, moved=0, left_to_people=0)
    histograms = {status: [0] * BINS for status in ("auto", "review", "unknown")}
    for row in connection.execute(_COUNT):
        counts[row.status] += int(row.answered)
        for name in ("first_answered", "moved", "left_to_people"):
            counts[name] += int(getattr(row, name))
        if row.bin is not None:
            histograms[row.status][min(int(row.bin), BINS - 1)] += int(row.answered)
    moved = counts["moved"]
    if again:
        earlier = connection.execute(sa.select(runs.c.counts).where(runs.c.run_id == run.run_id)).scalar_one()
        for name in ("first_answered", "moved"):
            counts[name] += earlier[name]
    _write_rows(connection, run.run_id, moved)
    return replace(run, counts={**run.counts, **counts}, summary={**run.summary, "confidence_histograms": histograms})


def _write_rows(connection: Connection, run_id: str, moved: int) -> None:
    table = run_highlights
    connection.execute(table.delete().where(table.c.run_id == run_id, table.c.kind == "least_certain"))
    values: dict[str, Any] = {"run_id": run_id, "after": 0, "rows": SHOWN}
    connection.execute(_KEEP_LEAST_CERTAIN, {**values, "kind": "least_certain"})
    if moved:
        last = sa.select(sa.func.coalesce(sa.func.max(table.c.place), 0))
        after = connection.execute(last.where(table.c.run_id == run_id, table.c.kind == "moved")).scalar_one()
        connection.execute(_KEEP_MOVED, {**values, "kind": "moved", "after": after, "rows": max(SHOWN - after, 0)})

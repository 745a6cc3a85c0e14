"""Write the row of a run in `runs`, and its counts per category in `run_category_counts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.records import PUBLISHED, SHADOW_GATES, RunRecord
from sql.schema.releases import releases
from sql.schema.runs import run_category_counts, runs

REFUSED = "refused"
"""Key in the summary of a published run: `error` and `at_utc` of the last repetition, if its input was refused."""

# A backfill may predict pictures of products that have left, which are in no other count either.
_COUNTS = sa.text("""
INSERT INTO run_category_counts (run_id, category_id, image_count, confidence_sum_e9, product_count)
SELECT :run_id, category_id, sum(images), sum(confidence_e9), sum(products)
FROM (
    SELECT
        coalesce(category_id, '') AS category_id,
        image_count AS images,
        confidence_sum_e9 AS confidence_e9,
        0 AS products
    FROM staged_counts
    UNION ALL
    SELECT
        coalesce(category_id, ''),
        -count(*),
        -coalesce(sum(CAST(round(confidence * 1000000000) AS BIGINT)), 0),
        0
    FROM staged_predictions
    WHERE product_id IN (SELECT product_id FROM product_categories WHERE left_at IS NOT NULL)
    GROUP BY category_id
    UNION ALL
    SELECT category_id, 0, 0, sum(product_count)
    FROM category_totals
    GROUP BY category_id
) AS counted
GROUP BY category_id
HAVING sum(images) > 0 OR sum(products) > 0
""")


def begin(connection: Connection, run: RunRecord, state: str, moment: datetime) -> bool:
    """Insert the run's row in `runs` if there is none. Return whether the run was published before."""
    stored = connection.execute(sa.select(runs.c.state).where(runs.c.run_id == run.run_id)).scalar()
    if stored is None:
        connection.execute(runs.insert().values(run_id=run.run_id, **_values(connection, run, state, moment)))
    return stored == "published"


def stands(connection: Connection, run_id: str) -> bool:
    """Return whether the run was published before, and was not retracted since."""
    row = connection.execute(sa.select(runs.c.state, runs.c.retracted_at_utc).where(runs.c.run_id == run_id)).first()
    return row is not None and row.state == "published" and row.retracted_at_utc is None


def has_read_more(connection: Connection, run: RunRecord) -> bool:
    """Return whether a night publishes a later ingest than its row notes; this may change no row of its results."""
    stored = connection.execute(sa.select(runs.c.summary).where(runs.c.run_id == run.run_id)).scalar_one()
    before, now = stored.get(PUBLISHED) or {}, run.summary.get(PUBLISHED) or {}
    return "ingest_no" in before and (now.get("ingest_no", 0) > before["ingest_no"] or bool(now.get("earlier")))


def finish(connection: Connection, run: RunRecord, moment: datetime) -> None:
    """Mark the run's row published, and write its counts per category, without those of products that have left.

    They come from `staged_counts`, `staged_predictions` and `category_totals`; `left_at` of the answers is that of now.
    """
    _write(connection, run, _values(connection, run, "published", moment))
    _end_retraction(connection, run.run_id)
    connection.execute(run_category_counts.delete().where(run_category_counts.c.run_id == run.run_id))
    connection.execute(_COUNTS, {"run_id": run.run_id})


def start(
    connection: Connection, run: RunRecord, steps: Sequence[str] = (), earlier: Mapping[str, str] | None = None
) -> None:
    """Mark the run's row as running, unless the run is published.

    Args:
        connection: In a transaction that holds the run's lease.
        run: The run; its summary and seconds are added to those in its row.
        steps: Names of the steps that this driver will run; earlier reports of these steps are removed.
        earlier: The driver that the run was taken from, `from` and `since_utc`; None if there was none.
    """
    if not begin(connection, run, "running", run.started_at_utc):
        values = {**_values(connection, run, "running", run.started_at_utc), "finished_at_utc": None}
        _write(connection, run, values, steps, earlier)


def record_step(connection: Connection, run_id: str, step: str, report: Mapping[str, Any], *, changed: bool) -> None:
    """Add a step's report to the run's row; the row of a published run changes only if the step `changed` anything."""
    row = connection.execute(sa.select(runs).where(runs.c.run_id == run_id)).one()
    if row.state == "published" and not changed:
        return
    seconds = {step: report["seconds"]} if "seconds" in report else {}
    values = {"summary": {**row.summary, step: dict(report)}, "seconds": {**row.seconds, **seconds}}
    connection.execute(runs.update().where(runs.c.run_id == run_id).values(**values))


def fail(connection: Connection, run: RunRecord, moment: datetime, error: str, *, refused: bool = False) -> None:
    """Mark the run's row as failed, unless the run is published; such a row only keeps that its input was `refused`."""
    if not begin(connection, run, "failed", moment):
        _write(connection, run, {**_values(connection, run, "failed", moment), "error": error})
    elif refused:
        summary = connection.execute(sa.select(runs.c.summary).where(runs.c.run_id == run.run_id)).scalar_one()
        kept = {**summary, REFUSED: {"error": error, "at_utc": moment.isoformat()}}
        connection.execute(runs.update().where(runs.c.run_id == run.run_id).values(summary=kept))


def accept(connection: Connection, run_id: str) -> None:
    """Let a published run's row forget that a repetition was refused: it was published again, and changed nothing."""
    summary = connection.execute(sa.select(runs.c.summary).where(runs.c.run_id == run_id)).scalar_one()
    if REFUSED in summary:
        kept = {name: value for name, value in summary.items() if name != REFUSED}
        connection.execute(runs.update().where(runs.c.run_id == run_id).values(summary=kept))


def note_shadow(connection: Connection, run_id: str, release_id: str, gates: Mapping[str, Any]) -> None:
    """Note in a run's summary which answers of a challenger are held back; the same note again changes nothing.

    The notes lie under `SHADOW_GATES`, one for each release that was challenger.
    """
    summary = connection.execute(sa.select(runs.c.summary).where(runs.c.run_id == run_id)).scalar_one()
    before = summary.get(SHADOW_GATES) or {}
    if before.get(release_id) != gates:
        noted = {**summary, SHADOW_GATES: {**before, release_id: dict(gates)}}
        connection.execute(runs.update().where(runs.c.run_id == run_id).values(summary=noted))


def retract(connection: Connection, run_id: str, retraction: Mapping[str, Any], moment: datetime) -> None:
    """Mark the run's row as retracted, with who did it and why in its summary; its counts stay as they were."""
    summary = connection.execute(sa.select(runs.c.summary).where(runs.c.run_id == run_id)).scalar_one()
    values = {"retracted_at_utc": moment, "summary": {**summary, "retracted": dict(retraction)}}
    connection.execute(runs.update().where(runs.c.run_id == run_id).values(**values))


def _end_retraction(connection: Connection, run_id: str) -> None:
    """Let a run that is published again count again; its summary keeps who had retracted it, when and why."""
    row = connection.execute(sa.select(runs).where(runs.c.run_id == run_id)).one()
    if row.retracted_at_utc is None:
        return
    summary = dict(row.summary)
    ended = {**summary.pop("retracted", {}), "at_utc": row.retracted_at_utc.isoformat()}
    summary["retracted_before"] = [*summary.get("retracted_before", ()), ended]
    connection.execute(runs.update().where(runs.c.run_id == run_id).values(retracted_at_utc=None, summary=summary))


def withdraw(connection: Connection, run_id: str) -> None:
    """Delete the row in `runs` of a run that has not done anything."""
    connection.execute(runs.delete().where(runs.c.run_id == run_id, runs.c.state == "running"))


def _write(
    connection: Connection,
    run: RunRecord,
    values: dict[str, Any],
    steps: Sequence[str] = (),
    earlier: Mapping[str, str] | None = None,
) -> None:
    """Update a run's row; its first start time and the reports of other steps and attempts stay."""
    row = connection.execute(sa.select(runs).where(runs.c.run_id == run.run_id)).one()
    merged = {}
    for name in ("summary", "seconds"):
        kept = {key: value for key, value in getattr(row, name).items() if key not in (*steps, REFUSED)}
        merged[name] = kept | values[name]
    _keep_earlier(row.summary, merged["summary"])
    if earlier:
        merged["summary"]["taken_over"] = [*row.summary.get("taken_over", ()), dict(earlier)]
    merged["started_at_utc"] = row.started_at_utc
    connection.execute(runs.update().where(runs.c.run_id == run.run_id).values(**values | merged))


def _keep_earlier(before: Mapping[str, Any], summary: dict[str, Any]) -> None:
    """Keep in a night's summary which earlier nights it has published: a repetition takes only what is new of them."""
    known = (before.get(PUBLISHED) or {}).get("earlier")
    if known and PUBLISHED in summary:
        now = summary[PUBLISHED]
        summary[PUBLISHED] = {**now, "earlier": {**known, **now.get("earlier", {})}}


def _values(connection: Connection, run: RunRecord, state: str, moment: datetime) -> dict[str, Any]:
    known = connection.execute(sa.select(releases.c.release_id).where(releases.c.release_id == run.release_id)).scalar()
    return {
        "kind": run.kind,
        "run_date": run.run_date,
        "release_id": known,
        "state": state,
        "counts": dict(run.counts),
        "seconds": dict(run.seconds),
        "summary": dict(run.summary),
        "error": None,
        "started_at_utc": run.started_at_utc,
        "finished_at_utc": moment,
    }

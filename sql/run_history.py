"""Read the rows of `runs`: one by its id, the latest, and how long an image took in them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from sql.engine import reading
from sql.records import PUBLISHED
from sql.schema import migrate
from sql.schema.runs import run_leases, runs
from sql.store import ProductDatabase

LISTED = (
    *("run_id", "kind", "run_date", "state", "release_id", "started_at_utc", "finished_at_utc", "retracted_at_utc"),
    "error",
)

RUNS_OF_AN_ESTIMATE = 5
"""Number of latest runs whose duration is averaged."""


def find_run(database: ProductDatabase, run_id: str) -> dict[str, Any] | None:
    """Return a run's row in `runs` as a dictionary by column name.

    Args:
        database: Migrated.
        run_id: Name of the run.

    Returns:
        The row, with the additional key `holder`: host and process id of the driver that works on it or died, None if
        its lease has ended. None if there is no such run.
    """
    migrate.check(database.engine)
    held = runs.outerjoin(run_leases, run_leases.c.run_id == runs.c.run_id)
    query = sa.select(runs, run_leases.c.holder).select_from(held).where(runs.c.run_id == run_id)
    with reading(database.engine) as connection:
        row = connection.execute(query).mappings().first()
    return dict(row) if row else None


def list_runs(database: ProductDatabase, *, state: str | None = None, limit: int = 20) -> list[tuple[Any, ...]]:
    """Return the columns `LISTED` of the latest rows in `runs`, the latest first.

    Args:
        database: Migrated.
        state: Only runs in this state: `running`, `published` or `failed`; None is all.
        limit: Highest number of runs.
    """
    migrate.check(database.engine)
    query = sa.select(*(runs.c[name] for name in LISTED)).order_by(runs.c.started_at_utc.desc(), runs.c.run_id)
    if state:
        query = query.where(runs.c.state == state)
    with reading(database.engine) as connection:
        return [tuple(row) for row in connection.execute(query.limit(limit))]


def runs_at_work(database: ProductDatabase) -> list[tuple[str, str]]:
    """Return run_id and holder (host and process id) of each lease, in order: a driver works on the run, or died."""
    query = sa.select(run_leases.c.run_id, run_leases.c.holder).order_by(run_leases.c.run_id)
    with reading(database.engine) as connection:
        return [(row.run_id, row.holder) for row in connection.execute(query)]


def runs_published_before(database: ProductDatabase, moment: datetime) -> set[str]:
    """Return the run_id of the runs that were published before a moment, those that were taken back since included."""
    query = sa.select(runs.c.run_id).where(runs.c.state == "published", runs.c.finished_at_utc < moment)
    with reading(database.engine) as connection:
        return set(connection.execute(query).scalars())


def published_nights(database: ProductDatabase) -> dict[date, int | None]:
    """Return the dates of the nights that are published, by their own runs or by those of later nights.

    Args:
        database: Migrated.

    Returns:
        Maps each date to the highest ingest_no of its rows in the dataset that was published; None if it is not known.
    """
    note = runs.c.summary[PUBLISHED].as_json()
    query = sa.select(runs.c.run_date, note).where(runs.c.kind == "nightly", runs.c.state == "published")
    found: dict[date, int | None] = {}

    def add(day: date, number: int | None) -> None:
        known = found.get(day, number)
        found[day] = None if known is None or number is None else max(known, number)

    with reading(database.engine) as connection:
        for day, published in connection.execute(query):
            add(day, (published or {}).get("ingest_no"))
            for earlier, number in (published or {}).get("earlier", {}).items():
                add(date.fromisoformat(earlier), number)
    return found


def seconds_per_image(database: ProductDatabase, release_id: str) -> float | None:
    """Average the seconds per image over a release's latest runs, with Spark's start; None without any run."""
    newest_first = (
        sa.select(runs.c.summary)
        .where(runs.c.release_id == release_id, runs.c.state == "published")
        .order_by(runs.c.started_at_utc.desc())
        .limit(RUNS_OF_AN_ESTIMATE)
    )
    with reading(database.engine) as connection:
        steps = [summary.get("predict") or {} for summary in connection.execute(newest_first).scalars()]
    images = sum(step.get("images", 0) for step in steps)
    return sum(step.get("seconds", 0.0) for step in steps) / images if images else None

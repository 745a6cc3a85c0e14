"""How the review goes: what waits and since when, who decides how much, how often people agree, who looks closely."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.engine import reading
from sql.review.records import Filter
from sql.review.selections import CHANGED_PICTURE, REVIEW
from sql.review.totals import count_waiting
from sql.schema.columns import UtcDateTime
from sql.schema.releases import categories
from sql.schema.runs import runs
from sql.store import ProductDatabase

_RUNS = 10
"""Number of the latest runs."""


@dataclass(frozen=True)
class WaitingSince:
    """A suggested category, how many products wait in it, and since when the oldest of them waits.

    Attributes:
        category_id: The category; None for products without a suggestion.
        category_path: Its readable path; empty for None.
        count: Number of products.
        since_utc: When the run of the oldest of these answers ended, or the picture changed; None if no run gave them.
    """

    category_id: str | None
    category_path: str
    count: int
    since_utc: datetime | None


@dataclass(frozen=True)
class Pace:
    """How many decisions a person made in one hour.

    Attributes:
        decided_by: The person.
        hour_utc: Begin of the hour: `2026-11-01 14`.
        count: Number of decisions, also of those that were taken back later.
    """

    decided_by: str
    hour_utc: str
    count: int


@dataclass(frozen=True)
class Agreement:
    """How often people agreed with what a release suggested for a category, without decisions that were cleared.

    Attributes:
        release_id: The release.
        category_id: What it suggested.
        category_path: Readable path of it.
        decisions: Number of decisions.
        accepted: Number of those for the suggested category, or one below it.
    """

    release_id: str | None
    category_id: str
    category_path: str
    decisions: int
    accepted: int


@dataclass(frozen=True)
class Caught:
    """What a person answered on planted products.

    Attributes:
        answered_by: The person.
        shown_wrongly: Number of planted products that were shown as another category.
        caught: Number of these that the person did not accept.
        shown_rightly: Number of planted products that were shown as their category.
        accepted: Number of these that the person accepted.
    """

    answered_by: str
    shown_wrongly: int
    caught: int
    shown_rightly: int
    accepted: int


@dataclass(frozen=True)
class LastRun:
    """What a run brought: its row in `runs`."""

    run_id: str
    kind: str
    run_date: date
    release_id: str | None
    state: str
    finished_at_utc: datetime | None
    retracted_at_utc: datetime | None
    counts: Mapping[str, Any]


@dataclass(frozen=True)
class Progress:
    """How the review goes.

    Attributes:
        waiting: What waits by category, most products first.
        unknown: Number of products of status unknown, which the queue shows where they are asked for.
        pace: Decisions by person and hour, the latest hour first.
        agreement: By release and category, most decisions first.
        planted: By person.
        runs: The latest runs, the latest first.
    """

    waiting: tuple[WaitingSince, ...]
    unknown: int
    pace: tuple[Pace, ...]
    agreement: tuple[Agreement, ...]
    planted: tuple[Caught, ...]
    runs: tuple[LastRun, ...]


# The index of runs has all of it, so the products are not read.
_WAITING = sa.text(f"""
SELECT waiting.category_id, waiting.product_count, run.finished_at_utc
FROM (
    SELECT run_id, category_id, count(*) AS product_count
    FROM product_categories
    WHERE {REVIEW.condition}
    GROUP BY run_id, category_id
) AS waiting
LEFT JOIN runs AS run ON run.run_id = waiting.run_id
UNION ALL
SELECT suggested_category_id, count(*), min(updated_at_utc)
FROM product_categories
WHERE {CHANGED_PICTURE.condition}
GROUP BY suggested_category_id
""").columns(finished_at_utc=UtcDateTime())  # noqa: S608 - texts of our own

# What takes a page back restores a former decision, which is no decision of its own.
_PACE = sa.text("""
SELECT decision.decided_by, substr(CAST(decision.decided_at_utc AS TEXT), 1, 13) AS hour_utc, count(*) AS decisions
FROM overrides AS decision
WHERE
    decision.decided_at_utc >= :since
    AND decision.action <> 'clear'
    AND NOT EXISTS (
        SELECT 1
        FROM overrides AS earlier
        WHERE
            earlier.product_id = decision.product_id
            AND earlier.page_id = decision.page_id
            AND earlier.override_id < decision.override_id
    )
GROUP BY decision.decided_by, substr(CAST(decision.decided_at_utc AS TEXT), 1, 13)
ORDER BY hour_utc DESC, decision.decided_by
""").bindparams(sa.bindparam("since", type_=UtcDateTime()))

# Who chooses a category below a suggested group agrees with it.
_AGREEMENT = sa.text("""
SELECT
    decision.release_id,
    decision.suggested_category_id,
    category.category_path,
    count(*) AS decisions,
    sum(CASE
        WHEN decision.category_id = decision.suggested_category_id THEN 1
        WHEN substr(decision.category_id, 1, length(decision.suggested_category_id) + 1)
            = decision.suggested_category_id || '.' THEN 1
        ELSE 0
    END) AS accepted
FROM overrides AS decision
LEFT JOIN categories AS category ON category.category_id = decision.suggested_category_id
WHERE
    decision.suggested_category_id IS NOT NULL
    AND decision.decided_at_utc >= :since
    AND decision.action <> 'clear'
    AND NOT EXISTS (
        SELECT 1
        FROM overrides AS later
        WHERE
            later.product_id = decision.product_id
            AND later.override_id > decision.override_id
            AND (later.action = 'clear' OR later.page_id = decision.page_id)
    )
GROUP BY decision.release_id, decision.suggested_category_id, category.category_path
ORDER BY decisions DESC, decision.release_id, decision.suggested_category_id
""").bindparams(sa.bindparam("since", type_=UtcDateTime()))

# A product that was shown in a group of its category was shown rightly.
_PLANTED = sa.text("""
SELECT
    answered_by,
    sum(CASE WHEN shown_rightly THEN 0 ELSE 1 END) AS shown_wrongly,
    sum(CASE WHEN NOT shown_rightly AND NOT accepted THEN 1 ELSE 0 END) AS caught,
    sum(CASE WHEN shown_rightly THEN 1 ELSE 0 END) AS shown_rightly,
    sum(CASE WHEN shown_rightly AND accepted THEN 1 ELSE 0 END) AS accepted
FROM (
    SELECT
        answered_by,
        accepted,
        known_category_id = shown_category_id
        OR substr(known_category_id, 1, length(shown_category_id) + 1) = shown_category_id || '.' AS shown_rightly
    FROM planted_answers
    WHERE answered_at_utc >= :since
) AS planted
GROUP BY answered_by
ORDER BY answered_by
""").bindparams(sa.bindparam("since", type_=UtcDateTime()))


def progress(database: ProductDatabase, *, since: datetime) -> Progress:
    """Return how the review goes.

    Args:
        database: Migrated.
        since: Begin of the time over which decisions are counted, with a time zone.
    """
    told = {"since": since}
    names = ("run_id", "kind", "run_date", "release_id", "state", "finished_at_utc", "retracted_at_utc", "counts")
    latest = sa.select(*(runs.c[name] for name in names)).order_by(runs.c.started_at_utc.desc(), runs.c.run_id)
    with reading(database.engine) as connection:
        return Progress(
            waiting=_waiting(connection),
            unknown=sum(count_waiting(connection, Filter(status="unknown")).values()),
            pace=tuple(Pace(row.decided_by, row.hour_utc, row.decisions) for row in connection.execute(_PACE, told)),
            agreement=tuple(
                Agreement(
                    row.release_id, row.suggested_category_id, row.category_path or "", row.decisions, row.accepted
                )
                for row in connection.execute(_AGREEMENT, told)
            ),
            planted=tuple(Caught(*row) for row in connection.execute(_PLANTED, told)),
            runs=tuple(LastRun(*row) for row in connection.execute(latest.limit(_RUNS))),
        )


def _waiting(connection: Connection) -> tuple[WaitingSince, ...]:
    counts: Counter[str | None] = Counter()
    since: dict[str | None, datetime] = {}
    for category_id, count, moment in connection.execute(_WAITING):
        counts[category_id] += count
        if moment is not None:
            since[category_id] = min(moment, since.get(category_id, moment))
    rows = connection.execute(sa.select(categories.c.category_id, categories.c.category_path))
    paths: dict[str | None, str] = {row.category_id: row.category_path for row in rows}
    listed = sorted(counts.items(), key=lambda each: (-each[1], each[0] or ""))
    return tuple(WaitingSince(name, paths.get(name, name or ""), count, since.get(name)) for name, count in listed)

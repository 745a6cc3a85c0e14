"""A run in the hands of one driver, from its first step on: what becomes of it is in its row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from jobs.config import RunConfig, UsageError
from sql.errors import SupersededError
from sql.records import RunRecord
from sql.run_history import find_run
from sql.store import ProductDatabase


@dataclass(frozen=True)
class Claim:
    """A run in the hands of this driver.

    Attributes:
        started_at_utc: When it took the run.
        token: What it can publish with, as long as no other driver takes the run.
    """

    started_at_utc: datetime
    token: str


@contextmanager
def recorded(database: ProductDatabase, run: RunConfig) -> Iterator[Claim]:
    """Claim a run, so that whatever becomes of it its row says how to go on.

    A call that is wrong is no run and leaves none, unless there was one before; a run that another driver has taken
    over is that driver's to record.
    """
    record = RunRecord(
        run.run_id,
        run.kind,
        run.run_date,
        None,
        datetime.now(UTC),
        summary={"call": list(run.call)} if run.call else {},
    )
    known = find_run(database, run.run_id)
    token = database.claim(record)
    try:
        yield Claim(record.started_at_utc, token)
    except SupersededError:
        raise
    except UsageError as error:
        if known:
            database.record_failure(record, str(error)[:1000])
        else:
            database.withdraw(run.run_id, token)
        raise
    except Exception as error:
        database.record_failure(record, f"{type(error).__name__}: {error}"[:1000])
        raise

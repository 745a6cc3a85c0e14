"""A run in the hands of one driver, from its first step on: what becomes of it is in its row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jobs.errors import UsageError
from jobs.runs.config import RunConfig
from sql.errors import SupersededError
from sql.records import RunRecord
from sql.run_history import find_run
from sql.store import ProductDatabase


@dataclass(frozen=True)
class Claim:
    """A run in the hands of this driver.

    Attributes:
        database: That the run is written to.
        run_id: The run.
        started_at_utc: When this driver took it.
        token: What it can publish with, as long as no other driver takes the run.
    """

    database: ProductDatabase
    run_id: str
    started_at_utc: datetime
    token: str

    def record(self, step: str, report: Mapping[str, Any], *, changed: bool) -> None:
        """Put what a finished step reports into the run's row; that of a published run changes only with its data."""
        self.database.record_step(self.run_id, self.token, step, report, changed=changed)

    def end(self) -> None:
        """Leave the run to the driver of its next step."""
        self.database.end_claim(self.run_id, self.token)


@contextmanager
def recorded(
    database: ProductDatabase, run: RunConfig, *, steps: Sequence[str] = (), started_at_utc: datetime | None = None
) -> Iterator[Claim]:
    """Claim a run, so that whatever becomes of it its row says how to go on.

    A call that is wrong is no run and leaves none, unless there was one before; a run that another driver has taken
    over is that driver's to record.

    Args:
        database: Migrated.
        run: The run.
        steps: The steps that the block records; what was recorded of them before goes from the row.
        started_at_utc: When a run that has no row yet began; None is now.

    Yields:
        The claim.
    """
    record = RunRecord(
        run.run_id,
        run.kind,
        run.run_date,
        None,
        started_at_utc or datetime.now(UTC),
        summary={"call": list(run.call)} if run.call else {},
    )
    known = find_run(database, run.run_id)
    token = database.claim(record, steps)
    try:
        yield Claim(database, run.run_id, record.started_at_utc, token)
    except SupersededError:
        raise
    except UsageError as error:
        if known:
            database.record_failure(record, str(error)[:1000], token)
        else:
            database.withdraw(run.run_id, token)
        raise
    except Exception as error:
        database.record_failure(record, f"{type(error).__name__}: {error}"[:1000], token)
        raise

"""A driver's claim (lease) on a run: the driver records each step and the outcome in the run's row of the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jobs.errors import RunRefused, UsageError
from jobs.runs.config import RunConfig
from sql.errors import SupersededError
from sql.records import RunRecord
from sql.run_history import find_run
from sql.store import ProductDatabase


@dataclass(frozen=True)
class Claim:
    """The claim of this driver on a run.

    Attributes:
        database: Database that contains the run.
        run_id: Identifier of the run.
        started_at_utc: When this driver claimed the run.
        token: Token of the claim; the driver can publish with it until another driver claims the run.
    """

    database: ProductDatabase
    run_id: str
    started_at_utc: datetime
    token: str

    def record(self, step: str, report: Mapping[str, Any], *, changed: bool) -> None:
        """Write the report of a finished step to the run's row.

        Args:
            step: Name of the step.
            report: The step's report.
            changed: Whether the step changed data; the row of a published run is updated only then.
        """
        self.database.record_step(self.run_id, self.token, step, report, changed=changed)

    def end(self) -> None:
        """End the claim, so that another driver can run the next step."""
        self.database.end_claim(self.run_id, self.token)


@contextmanager
def recorded(
    database: ProductDatabase, run: RunConfig, *, steps: Sequence[str] = (), started_at_utc: datetime | None = None
) -> Iterator[Claim]:
    """Claim a run for the length of a block, and record a failure of the block in the run's row.

    A UsageError is a wrong call: the claim is withdrawn, and the row is deleted if the run had none before; otherwise
    the failure is recorded. Nothing is recorded if another driver has taken over the run.

    Args:
        database: Migrated database.
        run: The run to claim.
        steps: Steps that the block records; earlier reports of these steps are deleted from the row.
        started_at_utc: Start of a run that has no row yet; None means now.

    Yields:
        The claim.

    Raises:
        SupersededError: If another driver has taken over the run.
    """
    record = RunRecord(
        run.run_id,
        run.kind,
        run.run_date,
        None,
        started_at_utc or datetime.now(UTC),
        summary={"call": list(run.call)} if run.call else {},
    )
    earlier = find_run(database, run.run_id)
    token = database.claim(record, steps)
    try:
        yield Claim(database, run.run_id, record.started_at_utc, token)
    except SupersededError:
        raise
    except UsageError as error:
        if earlier:
            database.record_failure(record, str(error)[:1000], token)
        else:
            database.withdraw(run.run_id, token)
        raise
    except Exception as error:
        sentence, refused = f"{type(error).__name__}: {error}"[:1000], isinstance(error, RunRefused)
        database.record_failure(record, sentence, token, refused=refused)
        raise

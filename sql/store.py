"""The product database: opened by a URL, brought to this program's schema, published into by runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Engine

from sql.engine import BUSY_TIMEOUT_SECONDS, make_engine, writing
from sql.explanations import describe
from sql.publishing import leases, run_rows
from sql.publishing.publish import Publication, publish
from sql.publishing.taxonomy import promote_release, register_release
from sql.records import CategoryRecord, Combine, PublishCounts, ReleaseRecord, Rows, RunRecord
from sql.schema import migrate


def open_database(url: str, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> ProductDatabase:
    """Open a product database; connects when first used.

    Args:
        url: `sqlite:///path` or `postgresql://user@host:5432/database`.
        busy_timeout_seconds: How long SQLite waits for another writer.

    Raises:
        DatabaseError: The URL cannot be used.
    """
    return ProductDatabase(make_engine(url, busy_timeout_seconds=busy_timeout_seconds))


class ProductDatabase:
    """One database of products, categories, runs and answers.

    Attributes:
        engine: SQLAlchemy's, for reading; everything that writes answers goes through the methods.
    """

    def __init__(self, engine: Engine) -> None:
        """Wrap an engine of `sql.engine.make_engine`."""
        self.engine = engine

    def __str__(self) -> str:
        """Name the database without its password."""
        return describe(self.engine.url)

    def upgrade(self) -> None:
        """Make or update tables and views; what is there stays."""
        migrate.upgrade(self.engine)

    def replace(self) -> Path | None:
        """Copy an SQLite database of another version to a new file, make a new one, and return the copy if any."""
        return migrate.replace(self.engine)

    def make(self) -> None:
        """Make tables and views in a new SQLite database; one with any table is left as it is."""
        migrate.make(self.engine)

    def is_new(self) -> bool:
        """Say whether an SQLite database is not there or has no table at all."""
        return migrate.is_new(self.engine)

    def check(self) -> None:
        """Raise a DatabaseError with the command to run, unless the schema is this program's."""
        migrate.check(self.engine)

    def publish(
        self,
        run: RunRecord,
        *,
        predictions: Iterable[Rows],
        rejections: Iterable[Rows],
        products: Iterable[Rows],
        categories: Iterable[CategoryRecord],
        release: ReleaseRecord,
        combine: Combine,
        force: bool = False,
        token: str | None = None,
    ) -> PublishCounts:
        """Write a run in one transaction; readers see all of it or none, and the same run again changes no row.

        Args:
            run: Its row; one that is published keeps its row unless this publish changes anything.
            predictions: Batches of tuples in the order of `PREDICTION_COLUMNS`, read once.
            rejections: Batches in the order of `REJECTION_COLUMNS`; they replace the run's earlier ones.
            products: Batches in the order of `PRODUCT_COLUMNS`.
            categories: The release's taxonomy.
            release: The release that predicted.
            combine: Makes one answer of a product's several images.
            force: Replace answers of newer releases too; never newer images' or people's.
            token: Of `claim`, for a driver that claimed the run when it began; None claims it now.

        Returns:
            What was written.

        Raises:
            SupersededError: Another driver claimed the run after `token` was given out; nothing was written.
            DatabaseError: Nothing was written; the message says why and what to do.
        """
        migrate.check(self.engine)
        publication = Publication(run, predictions, rejections, products, categories, release, combine, force)
        return publish(self.engine, publication, token)

    def claim(self, run: RunRecord, steps: Sequence[str] = ()) -> str:
        """Take a run over, before it computes anything; from then on only the returned token can publish it.

        Args:
            run: Its row becomes `running`, unless it is published. Where another driver has the run, dead or alive, the
                row's summary says so from then on, under `taken_over`.
            steps: The steps that this driver will report; what was reported of them before goes from the row.

        Returns:
            The token for `publish`.
        """
        migrate.check(self.engine)
        with writing(self.engine, exclusive=False) as connection:
            # The lease first: a driver that publishes this run holds it and still needs the run's row.
            taken = leases.take(connection, run.run_id)
            run_rows.start(connection, run, steps, taken.earlier)
            return taken.token

    def record_step(self, run_id: str, token: str, step: str, report: Mapping[str, Any], *, changed: bool) -> None:
        """Put what a finished step reports into the run's row, beside what other steps have reported.

        Args:
            run_id: The run.
            token: Of `claim`.
            step: Its name in `summary`, and in `seconds` if the report has seconds.
            report: What JSON can hold.
            changed: Whether the step did anything; only then does the row of a published run change.

        Raises:
            SupersededError: Another driver claimed the run after `token` was given out; nothing was written.
        """
        with writing(self.engine, exclusive=False) as connection:
            leases.hold(connection, run_id, token)
            run_rows.record_step(connection, run_id, step, report, changed=changed)

    def end_claim(self, run_id: str, token: str) -> None:
        """End this driver's claim on a run that another driver is to go on with."""
        with writing(self.engine, exclusive=False) as connection:
            if leases.held_by(connection, run_id, token):
                leases.give_back(connection, run_id)

    def withdraw(self, run_id: str, token: str) -> None:
        """Take back the first claim on a run that turns out to be none: its row goes, unless another has claimed it."""
        migrate.check(self.engine)
        with writing(self.engine, exclusive=False) as connection:
            if leases.held_by(connection, run_id, token):
                leases.give_back(connection, run_id)
                run_rows.withdraw(connection, run_id)

    def record_failure(self, run: RunRecord, error: str, token: str) -> None:
        """Write the row of a failed run and nothing else; a published run stays published.

        Args:
            run: The run; its release may be one that the database never saw.
            error: Why, one sentence.
            token: Of `claim`. If another driver has claimed the run since, what becomes of it is that one's to record.
        """
        migrate.check(self.engine)
        with writing(self.engine, exclusive=False) as connection:
            if leases.held_by(connection, run.run_id, token):
                run_rows.fail(connection, run, run.finished_at_utc or datetime.now(UTC), error)
                leases.give_back(connection, run.run_id)

    def promote_release(self, release: ReleaseRecord, *, at_utc: datetime) -> None:
        """Make a release's answers stand before those of every release promoted earlier or never.

        Args:
            release: Registered if the database does not know it yet.
            at_utc: Aware; when it became champion.
        """
        migrate.check(self.engine)
        with writing(self.engine) as connection:
            register_release(connection, release, at_utc)
            promote_release(connection, release.release_id, at_utc)

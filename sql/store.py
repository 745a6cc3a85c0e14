"""The product database: open it by URL, create or check its schema, and publish runs into it."""

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
from sql.publishing.releases import promote_release, register_release
from sql.publishing.settling import CombineBy
from sql.records import (
    USUAL_PICTURES,
    CategoryRecord,
    Combine,
    PublishCounts,
    ReleaseRecord,
    Rows,
    RunRecord,
    SharedPictures,
)
from sql.schema import migrate


def open_database(
    url: str, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS, keep_connections: bool = False
) -> ProductDatabase:
    """Open the product database at a URL; it connects when first used.

    Args:
        url: `sqlite:///path` or `postgresql://user@host:5432/database`.
        busy_timeout_seconds: Time that SQLite waits for another writer.
        keep_connections: Whether some connections to a server stay open, for a process that answers many small
            requests.

    Raises:
        DatabaseError: The URL is not valid; the message shows the valid forms.
    """
    engine = make_engine(url, busy_timeout_seconds=busy_timeout_seconds, keep_connections=keep_connections)
    return ProductDatabase(engine)


class ProductDatabase:
    """The product database: its methods create or check the schema, claim runs and publish them.

    Attributes:
        engine: SQLAlchemy engine, for reading only; use the methods to write answers.
    """

    def __init__(self, engine: Engine) -> None:
        """Wrap an engine from `sql.engine.make_engine`."""
        self.engine = engine

    def __str__(self) -> str:
        """Return the database's name and place, without its password."""
        return describe(self.engine.url)

    def upgrade(self) -> None:
        """Create the tables and views; existing tables and rows stay."""
        migrate.upgrade(self.engine)

    def replace(self) -> Path | None:
        """Copy an SQLite database of another version to a new file, create a new one, and return the copy if any."""
        return migrate.upgrade_or_set_aside(self.engine)

    def make(self) -> None:
        """Create tables and views in a new SQLite database; a database with any table is left as it is."""
        migrate.make(self.engine)

    def is_new(self) -> bool:
        """Return whether an SQLite database file does not exist or has no table."""
        return migrate.is_new(self.engine)

    def check(self) -> None:
        """Raise a DatabaseError with the command to run, if the database does not have this program's schema."""
        migrate.check(self.engine)

    def publish(
        self,
        run: RunRecord,
        *,
        predictions: Iterable[Rows],
        rejections: Iterable[Rows],
        products: Iterable[Rows],
        image_changes: Iterable[Rows] = (),
        categories: Iterable[CategoryRecord],
        release: ReleaseRecord,
        combine: Combine,
        combine_by: CombineBy | None = None,
        force: bool = False,
        pictures: SharedPictures = USUAL_PICTURES,
        token: str | None = None,
    ) -> PublishCounts:
        """Write a run in one transaction: readers see all of it or nothing. Publishing it again changes no row.

        Args:
            run: Content of its row; the row of a published run changes only if this publish changes anything.
            predictions: Batches of tuples in the order of `PREDICTION_COLUMNS`, read once.
            rejections: Batches of tuples in the order of `REJECTION_COLUMNS`; they replace the run's earlier ones.
            products: Batches of tuples in the order of `PRODUCT_COLUMNS`.
            image_changes: Batches of tuples in the order of `IMAGE_CHANGE_COLUMNS`.
            categories: The release's taxonomy.
            release: The release that predicted.
            combine: Computes one answer from the images of a product with several.
            combine_by: Returns this function for the manifest of another release, whose answers change because images
                have left or moved; None uses `combine` for all.
            force: Also replace answers of newer releases; never answers on newer images or of people.
            pictures: Which pictures are under so many products that they hold answers back. What is found is added to
                the run's summary, in the form that `sql.publishing.shared_pictures` describes.
            token: Token from `claim`, for a driver that claimed the run when it began; None claims it now.

        Returns:
            Number of rows of each kind, and of those that changed.

        Raises:
            SupersededError: Another driver has claimed the run since `claim` returned `token`; nothing was written.
            DatabaseError: Nothing was written; the message has the reason and the remedy.
        """
        migrate.check(self.engine)
        by = combine_by or (lambda _manifest: combine)
        publication = Publication(
            run, predictions, rejections, products, image_changes, categories, release, combine, by, force, pictures
        )
        return publish(self.engine, publication, token)

    def claim(self, run: RunRecord, steps: Sequence[str] = ()) -> str:
        """Take the lease of a run before it computes anything; from then on only the returned token can publish it.

        Args:
            run: The run; its row becomes `running`, unless it is published. If another driver has the run, dead or
                alive, it is recorded in the row's summary under `taken_over`.
            steps: Names of the steps that this driver will report; earlier reports of them are removed from the row.

        Returns:
            The token for `publish` and the other methods.
        """
        migrate.check(self.engine)
        with writing(self.engine, exclusive=False) as connection:
            # The lease first: a driver that publishes this run holds it and still needs the run's row.
            taken = leases.take(connection, run.run_id)
            run_rows.start(connection, run, steps, taken.earlier)
            return taken.token

    def record_step(self, run_id: str, token: str, step: str, report: Mapping[str, Any], *, changed: bool) -> None:
        """Add the report of a finished step to the run's row, beside the reports of other steps.

        Args:
            run_id: The run.
            token: Token from `claim`.
            step: Name of the step in `summary`, and in `seconds` if the report has seconds.
            report: The report, JSON values by name.
            changed: Whether the step changed anything; only then does the row of a published run change.

        Raises:
            SupersededError: Another driver has claimed the run since `claim` returned `token`; nothing was written.
        """
        with writing(self.engine, exclusive=False) as connection:
            leases.hold(connection, run_id, token)
            run_rows.record_step(connection, run_id, step, report, changed=changed)

    def end_claim(self, run_id: str, token: str) -> None:
        """Release the lease of this driver on a run, so that another driver can continue it."""
        with writing(self.engine, exclusive=False) as connection:
            if leases.held_by(connection, run_id, token):
                leases.give_back(connection, run_id)

    def withdraw(self, run_id: str, token: str) -> None:
        """Delete the row of a claimed run that has nothing to do, unless another driver has claimed it."""
        migrate.check(self.engine)
        with writing(self.engine, exclusive=False) as connection:
            if leases.held_by(connection, run_id, token):
                leases.give_back(connection, run_id)
                run_rows.withdraw(connection, run_id)

    def record_failure(self, run: RunRecord, error: str, token: str, *, refused: bool = False) -> None:
        """Record in its row that a run failed; a published run stays published.

        Args:
            run: The run; its release need not be registered.
            error: Reason, one sentence.
            token: Token from `claim`. If another driver has claimed the run since, nothing is written.
            refused: Whether its input was refused, so that the same again fails again. The row of a published run keeps
                this as `refused` in its summary, until the run is published again.
        """
        migrate.check(self.engine)
        with writing(self.engine, exclusive=False) as connection:
            if leases.held_by(connection, run.run_id, token):
                moment = run.finished_at_utc or datetime.now(UTC)
                run_rows.fail(connection, run, moment, error, refused=refused)
                leases.give_back(connection, run.run_id)

    def promote_release(self, release: ReleaseRecord, *, at_utc: datetime) -> None:
        """Make a release's answers win against those of every release promoted earlier or never.

        Args:
            release: The release; it is registered if it is not yet.
            at_utc: When it became champion, with a time zone.
        """
        migrate.check(self.engine)
        with writing(self.engine) as connection:
            register_release(connection, release, at_utc)
            promote_release(connection, release.release_id, at_utc)

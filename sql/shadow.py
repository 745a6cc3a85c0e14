"""Store a challenger's predictions for a published run; the current answers do not change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sql.engine import lock_writers
from sql.errors import DatabaseError
from sql.explanations import database_errors_explained
from sql.publishing import history, releases, run_rows, shared_pictures, taxonomy
from sql.publishing.staging import count_staged, stage
from sql.records import CategoryRecord, ReleaseRecord, Rows
from sql.store import ProductDatabase


def publish_shadow(
    database: ProductDatabase,
    run_id: str,
    *,
    predictions: Iterable[Rows],
    categories: Iterable[CategoryRecord],
    release: ReleaseRecord,
    gates: Mapping[str, Any] | None = None,
    at_utc: datetime | None = None,
) -> int:
    """Publish a shadow run: add a challenger's predictions to the history; current answers do not change.

    The pictures that the champion's run found to be shared hold the challenger's predictions back too, so that they are
    not published when the challenger is promoted and a decision is cleared.

    Args:
        database: Migrated.
        run_id: A run that the champion has published.
        predictions: Batches of tuples in the order of `PREDICTION_COLUMNS`, read once.
        categories: The challenger's taxonomy.
        release: The challenger's release.
        gates: Note of which answers of the challenger are held back, for the run's summary; None notes nothing.
        at_utc: Time of the predictions, with a time zone; None is now.

    Returns:
        Number of rows added or changed; a repeated call changes none.

    Raises:
        DatabaseError: Nothing was written; the message has the reason.
    """
    database.check()
    moment = at_utc or datetime.now(UTC)
    engine = database.engine
    with database_errors_explained(engine), engine.connect() as connection:
        connection.begin()
        stage(connection, "staged_predictions", predictions)
        if engine.dialect.name == "sqlite":
            connection.commit()  # temporary tables are in a separate file; the write lock is held for the merge alone
            connection.execution_options(sqlite_begin="BEGIN IMMEDIATE").begin()
        lock_writers(connection)
        releases.register_release(connection, release, moment)
        taxonomy.merge_categories(connection, categories, release, rename=False)
        count_staged(connection)
        taxonomy.refuse_unknown_categories(connection, "staged_counts", release.release_id)
        if not run_rows.stands(connection, run_id):
            raise DatabaseError(
                f"Run {run_id!r} is not published, or was retracted: publish the champion's answers first."
            )
        shared = shared_pictures.noted(connection, run_id)
        shared_pictures.hold_noted(connection, run_id, release.release_id, shared)
        _, changed = history.merge_predictions(connection, run_id, release.release_id, moment)
        changed += shared_pictures.hold_older(connection, run_id, release.release_id)
        if gates is not None:
            run_rows.note_shadow(connection, run_id, release.release_id, gates)
        connection.commit()
    return changed

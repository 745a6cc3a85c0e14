"""Merge a run's staged rows into the database: history, current answers, rejections, catalog, and the run itself.

Everything here runs inside one transaction that holds the writers' lock, so each statement sees all earlier runs and
readers see none of it until the commit. The statements are the same text on both engines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from sql import answers, catalog, history
from sql.engine import explained, lock_writers
from sql.errors import DatabaseError
from sql.records import CategoryRecord, Combine, PublishCounts, ReleaseRecord, Rows, RunRecord
from sql.staging import stage
from sql.tables import runs


@dataclass(frozen=True)
class Publication:
    """Everything that one publish takes; the fields are those of `ProductDatabase.publish`."""

    run: RunRecord
    predictions: Iterable[Rows]
    rejections: Iterable[Rows]
    products: Iterable[Rows]
    categories: Iterable[CategoryRecord]
    release: ReleaseRecord
    combine: Combine
    force: bool = False


def publish(engine: Engine, publication: Publication) -> PublishCounts:
    """Write a run in one transaction; the same run again changes no row.

    Raises:
        DatabaseError: Nothing was written; the message says why and what to do.
    """
    with explained(engine), engine.connect() as connection:
        # SQLite stages in its own temporary file first, so that the database's only write lock is held for the merge
        # alone; PostgreSQL stages in the same transaction, before it queues for the writers' lock.
        connection.begin()
        stage(connection, "staged_predictions", publication.predictions)
        stage(connection, "staged_rejections", publication.rejections)
        stage(connection, "staged_products", publication.products)
        if engine.dialect.name == "sqlite":
            connection.commit()
            connection.execution_options(sqlite_begin="BEGIN IMMEDIATE").begin()
        else:
            connection.exec_driver_sql("SET LOCAL work_mem = '128MB'")
        lock_writers(connection)
        counts = _merge(connection, publication)
        connection.commit()
    return counts


def _merge(connection: Connection, publication: Publication) -> PublishCounts:
    run, release = publication.run, publication.release
    moment = run.finished_at_utc or datetime.now(UTC)
    catalog.register_release(connection, release, moment)
    catalog.merge_categories(connection, publication.categories, release)
    _refuse_unknown_categories(connection, release)
    published = _insert_run(connection, run, moment)
    images, images_changed = history.merge_predictions(connection, run.run_id, release.release_id, moment)
    product_count, products_changed = answers.update(
        connection, release_id=release.release_id, moment=moment, combine=publication.combine, force=publication.force
    )
    rejections, rejections_changed = history.merge_rejections(connection, run.run_id)
    counts = PublishCounts(
        images=images,
        images_changed=images_changed,
        products=product_count,
        products_changed=products_changed,
        rejections=rejections,
        rejections_changed=rejections_changed,
        catalog_rows_changed=catalog.merge_products(connection),
    )
    if counts.changed or not published:
        _finish_run(connection, run, moment)
    return counts


def _refuse_unknown_categories(connection: Connection, release: ReleaseRecord) -> None:
    unknown = connection.execute(
        sa.text(
            "SELECT category_id, min(product_id) AS product_id FROM staged_predictions "
            "WHERE category_id IS NOT NULL AND category_id NOT IN (SELECT category_id FROM categories) "
            "GROUP BY category_id ORDER BY category_id LIMIT 1"
        )
    ).first()
    if unknown is not None:
        raise DatabaseError(
            f"The prediction of product {unknown.product_id!r} has category {unknown.category_id!r}, which release "
            f"{release.release_id!r} does not list: publish with the release that made the predictions."
        )


def _insert_run(connection: Connection, run: RunRecord, moment: datetime) -> bool:
    stored = connection.execute(sa.select(runs.c.state).where(runs.c.run_id == run.run_id)).scalar()
    if stored is None:
        connection.execute(runs.insert().values(run_id=run.run_id, **run_values(run, "published", moment)))
    return stored == "published"


def _finish_run(connection: Connection, run: RunRecord, moment: datetime) -> None:
    same = runs.c.run_id == run.run_id
    connection.execute(runs.update().where(same).values(**run_values(run, "published", moment)))


def run_values(run: RunRecord, state: str, moment: datetime, error: str | None = None) -> dict[str, object]:
    """Return the row of a run without its key."""
    return {
        "kind": run.kind,
        "run_date": run.run_date,
        "release_id": run.release_id,
        "state": state,
        "counts": dict(run.counts),
        "seconds": dict(run.seconds),
        "summary": dict(run.summary),
        "error": error,
        "started_at_utc": run.started_at_utc,
        "finished_at_utc": moment,
    }

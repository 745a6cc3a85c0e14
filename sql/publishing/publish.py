"""Merge a run's staged rows into the database: history, current answers, rejections, catalog, and the run itself.

It is one transaction that holds the writers' lock. So each statement sees all earlier runs whole, and readers see
nothing of this run before its commit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.engine import Connection, Engine

from sql.engine import lock_writers, tune
from sql.explanations import database_errors_explained
from sql.publishing import answer_changes as changes
from sql.publishing import (
    answers,
    changed_pictures,
    highlights,
    history,
    leases,
    products,
    releases,
    run_rows,
    settling,
    shared_pictures,
    taxonomy,
)
from sql.publishing.positions import merge_positions
from sql.publishing.staging import analyze_grown, count_staged, stage
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


@dataclass(frozen=True)
class Publication:
    """Everything that one publish merges: the run, its rows by kind, its release and how images are combined.

    `pictures` says which pictures are under so many products that they hold answers back.
    """

    run: RunRecord
    predictions: Iterable[Rows]
    rejections: Iterable[Rows]
    products: Iterable[Rows]
    image_changes: Iterable[Rows]
    categories: Iterable[CategoryRecord]
    release: ReleaseRecord
    combine: Combine
    combine_by: settling.CombineBy
    force: bool = False
    pictures: SharedPictures = USUAL_PICTURES


def publish(engine: Engine, publication: Publication, token: str | None = None) -> PublishCounts:
    """Merge a run into the database in one transaction; publishing the same run again changes no row.

    Args:
        engine: Of a migrated database.
        publication: The run.
        token: Token of the run's lease; None takes the lease now.

    Raises:
        SupersededError: Another driver has the run.
        DatabaseError: Nothing was written; the message says why and what to do.
    """
    run_id = publication.run.run_id
    with database_errors_explained(engine), engine.connect() as connection:
        connection.begin()
        if engine.dialect.name == "postgresql":
            # Locked before the long part, so that a second driver waits instead of doing the same work.
            leases.hold(connection, run_id, token)
            tune(connection)
        _stage(connection, publication)
        if engine.dialect.name == "sqlite":
            # SQLite keeps temporary tables in a separate file, so its only write lock is held for the merge alone.
            connection.commit()
            connection.execution_options(sqlite_begin="BEGIN IMMEDIATE").begin()
            leases.hold(connection, run_id, token)
        lock_writers(connection)
        counts = _merge(connection, publication)
        leases.give_back(connection, run_id)
        connection.commit()
    return counts


def _stage(connection: Connection, publication: Publication) -> None:
    stage(connection, "staged_predictions", publication.predictions)
    stage(connection, "staged_rejections", publication.rejections)
    stage(connection, "staged_products", publication.products)
    stage(connection, "staged_image_changes", publication.image_changes)


def _merge(connection: Connection, publication: Publication) -> PublishCounts:
    run, release = publication.run, publication.release
    moment = run.finished_at_utc or datetime.now(UTC)
    releases.register_release(connection, release, moment)
    taxonomy.merge_categories(connection, publication.categories, release)
    count_staged(connection)
    taxonomy.refuse_unknown_categories(connection, "staged_counts", release.release_id)
    published = run_rows.stands(connection, run.run_id)
    run_rows.begin(connection, run, "published", moment)
    images_moved = merge_positions(connection)
    catalog_rows_changed = products.merge_products(connection, fill=publication.pictures.in_table)
    run = shared_pictures.hold(connection, run, release.release_id, publication.pictures)
    images, images_changed = history.merge_predictions(connection, run.run_id, release.release_id, moment)
    analyze_grown(connection, "category_predictions", images_changed)
    images_changed += shared_pictures.hold_older(connection, run.run_id, release.release_id)
    product_count, products_changed = _merge_answers(connection, publication, moment)
    left, returned = settling.mark_presence(connection)
    rejections, rejections_changed = history.merge_rejections(connection, run.run_id)
    counts = PublishCounts(
        images=images,
        images_changed=images_changed,
        products=product_count,
        products_changed=products_changed,
        rejections=rejections,
        rejections_changed=rejections_changed,
        catalog_rows_changed=catalog_rows_changed,
        images_moved=images_moved,
        products_left=left,
        products_returned=returned,
    )
    if counts.changed or not published or run_rows.has_read_more(connection, run):
        run_rows.finish(connection, highlights.record(connection, run, again=published), moment)
    else:
        run_rows.accept(connection, run.run_id)
    return counts


def _merge_answers(connection: Connection, publication: Publication, moment: datetime) -> tuple[int, int]:
    release_id = publication.release.release_id
    newer = () if publication.force else tuple(releases.newer_releases(connection, release_id))
    changes.prepare(connection)
    rule = changes.Rule(release_id, newer)
    manifest = publication.release.manifest
    answered = answers.add_answers(connection, "staged_predictions", rule, publication.combine, manifest=manifest)
    changed_pictures.find(connection, changed_pictures.OF_A_RUN)
    settling.settle(connection, publication.combine_by, forced=release_id if publication.force else "")
    changed = changes.apply(connection, moment) + changed_pictures.mark(connection, moment)
    analyze_grown(connection, "product_categories", changed)
    return answered, changed

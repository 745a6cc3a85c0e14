"""Steps in the life of products, taken by a database and by the model at once, and what both have afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa

from sql.decided_labels import standing_decisions
from sql.named_queries import run_query
from sql.overrides import Override, clear_override, set_overrides
from sql.pictures import allow_picture
from sql.records import ReleaseRecord, SharedPictures, StoredImage
from sql.retract import retract_run
from sql.schema.tables import metadata
from sql.store import ProductDatabase
from tests.sql import runs
from tests.sql.ingested import Catalog, CatalogRow, Dataset, Row
from tests.sql.life_model import SHARED, SHARED_BY, Given, Held, HeldBy, Life

RELEASES = {release.release_id: release for release in (runs.RELEASE, runs.NEWER_RELEASE)}
BELOW = "below_threshold"
CATEGORY_IDS = [category.category_id for category in runs.CATEGORIES]


def predict(release: str, product: str, picture: str) -> Given:
    """Answer one picture, each release in its own way; each knows three pictures in four."""
    number = int(runs.sha(f"{release}/{product}/{picture}"), 16)
    confidence = (0.95, 0.85, 0.75, 0.65)[number % 4]
    category_id, foreign = CATEGORY_IDS[number // 4 % 4], number // 16 % 4 == 0
    if foreign:
        return category_id, confidence, "review", "foreign_image"
    return (category_id, confidence, "auto", None) if confidence >= 0.8 else (category_id, confidence, "review", BELOW)


def combine(release: str, product: str, pictures: list[Held]) -> Given:
    """Answer several pictures by `runs.combine`."""
    images = []
    for picture, held_by in pictures:
        category_id, confidence, _, reason = predict(release, product, picture)
        top = [(str(category_id), confidence or 0.0), (runs.BOOT, round((1 - (confidence or 0.0)) / 2, 6))]
        images.append(StoredImage(top, reason, held_by))
    decision = runs.combine(images)
    return decision.category_id, decision.confidence, decision.status, decision.review_reason


def held_by_run(held: str | None, release: str) -> HeldBy:
    """Return which pictures a run holds back: none, those of two categories, or all."""

    def held_by(product: str, picture: str) -> str | None:
        everything = held != "foreign_group" or predict(release, product, picture)[0] in CATEGORY_IDS[:2]
        return held if everything else None

    return held_by


@dataclass
class Lives:
    """A database, its model, and the dataset that both publish from.

    Attributes:
        database: Migrated and empty.
        dataset: What was ingested.
        model: What the database must hold.
        champion: The release that predicts nights.
        nights: Nights that were published as such.
        moment: Number of promotions and decisions so far, which order their times.
    """

    database: ProductDatabase
    dataset: Dataset = field(default_factory=Dataset)
    model: Life = field(default_factory=lambda: Life(predict, combine))
    champion: ReleaseRecord = runs.RELEASE
    nights: set[int] = field(default_factory=set)
    moment: int = 0

    def __post_init__(self) -> None:
        """Make the first release the champion."""
        self.promote(self.champion)

    def read(
        self,
        name: str,
        night: int,
        catalog: Catalog,
        *,
        partial: bool = False,
        title: str = "a title",
        publish: int = 1,
        held: str | None = None,
    ) -> None:
        """Read a catalog for a night, and publish the night as often as `publish` says.

        Files without a name of their catalog are older than all others, so such a catalog is read at the start only.
        """
        if not name and any(row.catalog for row in self.dataset.rows):
            return
        self.dataset.read(name, night, catalog, partial=partial, title=title)
        for _ in range(publish):
            self.publish(night, held=held)

    def publish(self, night: int, *, held: str | None = None) -> None:
        """Publish a night by the champion, with the changes of earlier nights that were never published.

        Args:
            night: The night.
            held: Why the run holds images back: None, or `foreign_group`, or `foreign_night`.
        """
        missed = {other for other in self.dataset.nights() if other < night and other not in self.nights}
        self.nights.add(night)
        rows = [
            row
            for row in self.dataset.rows
            if row.night == night or (row.night in missed and row.outcome in ("unchanged", "named", "left"))
        ]
        catalog_rows = [
            row for row in self.dataset.catalog_rows if row.night == night or (row.night in missed and not row.stored)
        ]
        self._publish(night, self.champion, rows, catalog_rows, held=held)

    def backfill(
        self, release: ReleaseRecord, nights: Iterable[int], *, force: bool = False, held: str | None = None
    ) -> None:
        """Predict the stored pictures of some nights again; a backfill has no changes of what catalogs name."""
        of = set(nights)
        rows = [row for row in self.dataset.rows if row.night in of and row.outcome == "stored"]
        catalog_rows = [row for row in self.dataset.catalog_rows if row.night in of]
        run_id = f"backfill-{'-'.join(map(str, sorted(of)))}-{release.release_id}"
        self._publish(max(of, default=0), release, rows, catalog_rows, run_id=run_id, force=force, held=held)

    def promote(self, release: ReleaseRecord) -> None:
        """Make a release the champion."""
        self.moment += 1
        self.database.promote_release(release, at_utc=runs.run_record().started_at_utc + timedelta(hours=self.moment))
        self.model.promote(release.release_id)
        self.champion = release

    def retract(self, number: int) -> None:
        """Take one of the published runs back, if there is any."""
        if published := sorted(self.model.runs):
            run = published[number % len(published)]
            retract_run(self.database, run, by="maria", combine_by=runs.combine_by)
            self.model.retract(run)

    def decide(self, product: str, category_id: str | None) -> None:
        """Let a person decide on a product that the database knows."""
        if product in self.model.answers or product in {position[0] for position in self.model.shown}:
            set_overrides(self.database, [Override(product, category_id)], decided_by="maria")
            self.model.decide(product, category_id)

    def clear(self, product: str) -> None:
        """Take a person's decision back, if there is one, also if an answer of another picture has replaced it."""
        if product in self.model.decisions:
            clear_override(self.database, product, decided_by="maria", combine_by=runs.combine_by)
            self.model.clear(product)

    def allow(self) -> None:
        """Allow the shared picture, if the database knows it and it is not allowed yet."""
        known = any(row.picture == SHARED for row in self.model.rows)
        if known and not self.model.allowed:
            allow_picture(self.database, runs.picture_of("", SHARED), by="maria", combine_by=runs.combine_by)
            self.model.allow()

    def _publish(
        self,
        night: int,
        release: ReleaseRecord,
        rows: list[Row],
        catalog_rows: list[CatalogRow],
        run_id: str | None = None,
        force: bool = False,
        held: str | None = None,
    ) -> None:
        run_id = run_id or f"nightly-{runs.NIGHT + timedelta(days=night)}"
        held_by = held_by_run(held, release.release_id)
        runs.publish(
            self.database,
            [_prediction(row, release.release_id, held_by) for row in rows if row.outcome == "stored"],
            night=night,
            rejections=[
                runs.rejection(
                    row.position[0],
                    image_no=row.position[1],
                    night=row.night,
                    ingest_no=row.ingest_no,
                    catalog_name=row.catalog or None,
                )
                for row in rows
                if row.outcome == "rejected"
            ],
            products=[
                runs.product(
                    row.position[0],
                    f"{row.position[0]}: {row.title}",
                    image_no=row.position[1],
                    night=row.night,
                    ingest_no=row.ingest_no,
                )
                for row in catalog_rows
            ],
            image_changes=[_image_change(row) for row in rows if row.outcome in ("unchanged", "named", "left")],
            release=release,
            run_id=run_id,
            force=force,
            pictures=SharedPictures(groups=SHARED_BY),
        )
        self.model.publish(night, release.release_id, rows, catalog_rows, run=run_id, held_by=held_by, force=force)


def _prediction(row: Row, release: str, held_by: HeldBy) -> tuple[Any, ...]:
    product, image_no = row.position
    category_id, confidence, status, reason = predict(release, product, str(row.picture))
    return runs.prediction(
        product,
        category_id,
        confidence or 0.0,
        content=str(row.picture),
        image_no=image_no,
        night=row.night,
        ingest_no=row.ingest_no,
        status=status,
        catalog_name=row.catalog or None,
        reason=reason,
        held_by=held_by(product, str(row.picture)),
    )


def _image_change(row: Row) -> tuple[Any, ...]:
    night, ingest_no = row.counts_at
    return runs.image_change(
        row.position[0],
        row.outcome,
        content=row.picture,
        image_no=row.position[1],
        night=night,
        ingest_no=ingest_no,
        catalog_name=row.catalog or None,
    )


def found(database: ProductDatabase) -> dict[str, Any]:
    """Return what a database holds, in the form of `expected`."""
    with database.engine.connect() as connection:
        answers = connection.execute(sa.select(metadata.tables["product_categories"])).all()
        totals = connection.execute(sa.select(metadata.tables["category_totals"])).all()
        shown = connection.execute(sa.select(metadata.tables["products"])).all()
        queue = connection.execute(
            sa.text("SELECT product_id, review_reason, suggested_category_id, confidence FROM review_queue")
        ).all()
        current = connection.execute(sa.text("SELECT product_id FROM current_categories")).scalars().all()
    [decided] = run_query(database, "decisions_since_training").rows
    return {
        "answers": {
            row.product_id: (
                (row.category_id, row.confidence, row.status, row.review_reason),
                row.release_id,
                row.image_count,
                _moment(row.ingest_date, row.ingest_no),
                _night(row.left_at),
                row.decided,
                (row.suggested_category_id, row.suggested_confidence, row.suggested_release_id),
            )
            for row in answers
        },
        "totals": {(row.category_id, row.status, row.review_reason): tuple(row)[3:] for row in totals},
        "shown": {
            (row.product_id, row.image_no): (
                str(row.title).removeprefix(f"{row.product_id}: "),
                _moment(row.ingest_date, row.ingest_no),
                row.reason is not None,
            )
            for row in shown
        },
        "queue": sorted(tuple(row) for row in queue),
        "current": sorted(current),
        "decisions": {
            each.product_id: (each.category_id, each.contents) for each in standing_decisions(database).decisions
        },
        "teaching": decided[2],
    }


def expected(model: Life) -> dict[str, Any]:
    """Return what a database must hold: answers, totals, rows of `products`, two views, and what trainings learn."""
    return {
        "answers": {
            product: (
                *(answer.given, answer.release, answer.image_count, answer.newest, answer.left_at),
                *(answer.decided, answer.suggested or (None, None, None)),
            )
            for product, answer in model.answers.items()
        },
        "totals": model.totals(),
        "shown": {position: (row.title, row.read_at, row.broken) for position, row in model.shown.items()},
        "queue": sorted(model.queue()),
        "current": sorted(product for product, answer in model.answers.items() if answer.left_at is None),
        "decisions": {
            product: (category_id, frozenset(runs.picture_of(product, picture) for picture in pictures))
            for product, (category_id, pictures) in model.decisions.items()
        },
        "teaching": model.teaching(),
    }


def empty(database: ProductDatabase) -> None:
    """Delete every row."""
    with database.engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())


def _night(day: date | None) -> int | None:
    return None if day is None else (day - runs.NIGHT).days


def _moment(day: date | None, number: int | None) -> tuple[int, int] | None:
    return None if day is None or number is None else ((day - runs.NIGHT).days, number)

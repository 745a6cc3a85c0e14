"""Small runs to publish, and what is in a database afterwards."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from sql.records import (
    REVIEW_REASONS,
    USUAL_PICTURES,
    CategoryRecord,
    Combine,
    Decision,
    PublishCounts,
    ReleaseRecord,
    Rows,
    RunRecord,
    SharedPictures,
    StoredImage,
)
from sql.schema.tables import metadata
from sql.store import ProductDatabase

CATEGORIES = tuple(
    CategoryRecord(category_id, category_path)
    for category_id, category_path in (
        ("apparel.tops.shirt", "Apparel > Tops > Shirt"),
        ("apparel.tops.t-shirt", "Apparel > Tops > T-shirt"),
        ("apparel.tops-outlet", "Apparel > Tops outlet"),
        ("shoes.boot", "Shoes > Boot"),
    )
)
SHIRT, T_SHIRT, OUTLET, BOOT = (category.category_id for category in CATEGORIES)
RELEASE = ReleaseRecord("release-1", "taxonomy-1", {"labels": [SHIRT]})
NEWER_RELEASE = ReleaseRecord("release-2", "taxonomy-1")
NIGHT = date(2026, 11, 1)


def sha(content: str) -> str:
    """Stand in for the hash of an image with this content."""
    return hashlib.sha256(content.encode()).hexdigest()


def picture_of(product_id: str, content: str) -> str:
    """Return the hash of a product's picture; one whose content begins with `shared` is the same for all products."""
    return sha(content if content.startswith("shared") else f"{product_id}/{content}")


def prediction(
    product_id: str,
    category_id: str | None = SHIRT,
    confidence: float = 0.9,
    *,
    content: str = "A",
    image_no: int = 0,
    night: int = 0,
    ingest_no: int = 1,
    status: str = "auto",
    other: str | None = None,
    catalog_name: str | None = "shop",
    reason: str | None = None,
    held_by: str | None = None,
    foreign_score: float | None = None,
    picture_at: str | None = None,
) -> tuple[Any, ...]:
    """One row in the order of PREDICTION_COLUMNS; `other` is a second network's choice.

    Without a reason an answer that is not published is below the threshold.
    """
    top_k = [[category_id, confidence], [BOOT, round((1 - confidence) / 2, 6)]]
    by_network = {"xception": [category_id, confidence], "efficientnet": [other or category_id, confidence]}
    return (
        product_id,
        picture_of(product_id, content),
        image_no,
        f"file:///shop/{product_id}-{image_no}.jpg",
        NIGHT + timedelta(days=night),
        ingest_no,
        category_id,
        confidence,
        status,
        json.dumps(top_k),
        json.dumps(by_network),
        catalog_name,
        reason or (None if status == "auto" else "below_threshold"),
        held_by,
        foreign_score,
        picture_at,
    )


def rejection(
    product_id: str,
    reason: str = "truncated",
    *,
    image_no: int = 0,
    night: int = 0,
    ingest_no: int = 1,
    catalog_name: str | None = "shop",
) -> tuple[Any, ...]:
    """One row in the order of REJECTION_COLUMNS."""
    seen = datetime(2026, 11, 1, 2, 30, 15, 123456, tzinfo=UTC) + timedelta(days=night)
    day = NIGHT + timedelta(days=night)
    uri, detail = f"file:///shop/{product_id}.jpg", "ends after 10 bytes"
    return (product_id, image_no, uri, None, day, ingest_no, reason, detail, seen, catalog_name)


def image_change(
    product_id: str,
    outcome: str,
    *,
    content: str | None = None,
    image_no: int = 0,
    night: int = 0,
    ingest_no: int = 1,
    catalog_name: str | None = "shop",
) -> tuple[Any, ...]:
    """One row in the order of IMAGE_CHANGE_COLUMNS."""
    picture = picture_of(product_id, content) if content else None
    return (product_id, image_no, catalog_name, outcome, picture, NIGHT + timedelta(days=night), ingest_no)


def product(
    product_id: str,
    title: str = "a title",
    *,
    group_id: str | None = None,
    category: str | None = None,
    image_no: int = 0,
    night: int = 0,
    ingest_no: int = 1,
) -> tuple[Any, ...]:
    """One row in the order of PRODUCT_COLUMNS."""
    uri, day = f"file:///shop/{product_id}-{image_no}.jpg", NIGHT + timedelta(days=night)
    return (product_id, image_no, uri, title, category, None, group_id, day, ingest_no)


def run_record(night: int = 0, *, release: ReleaseRecord = RELEASE, run_id: str | None = None) -> RunRecord:
    """A nightly run, or one with a name of its own, which ends at a time of its own."""
    day = NIGHT + timedelta(days=night)
    started = datetime(2026, 11, 1, 1, tzinfo=UTC) + timedelta(days=night)
    return RunRecord(
        run_id=run_id or f"nightly-{day}",
        kind="nightly",
        run_date=day,
        release_id=release.release_id,
        started_at_utc=started,
        finished_at_utc=started + timedelta(hours=1, milliseconds=zlib.crc32((run_id or "").encode()) % 1000),
        counts={"images": 1},
        seconds={"predict": 1.5},
    )


def combine(images: Sequence[StoredImage]) -> Decision:
    """Mean confidence of each category over the images that are not foreign, or over all; auto from 0.8 on."""
    deciding = [image for image in images if image.review_reason != "foreign_image"] or images
    totals: dict[str, float] = {}
    for image in deciding:
        for category_id, confidence in image.top:
            totals[category_id] = totals.get(category_id, 0.0) + confidence / len(deciding)
    best = min(totals, key=lambda category_id: (-totals[category_id], category_id))
    reasons = {image.held_by for image in deciding} | {image.held_by for image in images} & {"foreign_night"}
    reasons |= {image.review_reason for image in deciding} & {"gate_closed", "foreign_image"}
    if totals[best] < 0.8:
        reasons.add("below_threshold")
    reason = next((name for name in REVIEW_REASONS if name in reasons), None)
    return Decision(best, round(totals[best], 9), "review" if reason else "auto", reason)


def combine_by(_manifest: Mapping[str, Any]) -> Combine:
    """Decide for every release alike."""
    return combine


def publish(
    database: ProductDatabase,
    predictions: Iterable[tuple[Any, ...]] = (),
    *,
    night: int = 0,
    rejections: Iterable[tuple[Any, ...]] = (),
    products: Iterable[tuple[Any, ...]] = (),
    image_changes: Iterable[tuple[Any, ...]] = (),
    release: ReleaseRecord = RELEASE,
    run_id: str | None = None,
    force: bool = False,
    pictures: SharedPictures = USUAL_PICTURES,
    combine: Combine = combine,
) -> PublishCounts:
    """Publish one run of a single batch."""
    return database.publish(
        run_record(night, release=release, run_id=run_id),
        predictions=[list(predictions)],
        rejections=[list(rejections)],
        products=[list(products)],
        image_changes=[list(image_changes)],
        categories=CATEGORIES,
        release=release,
        combine=combine,
        force=force,
        pictures=pictures,
    )


def publish_record(
    database: ProductDatabase, run: RunRecord, predictions: Iterable[tuple[Any, ...]] = ()
) -> PublishCounts:
    """Publish a run as its record says, with nothing but predictions."""
    return database.publish(
        run,
        predictions=[list(predictions)],
        rejections=[],
        products=[],
        categories=CATEGORIES,
        release=RELEASE,
        combine=combine,
    )


def fail(database: ProductDatabase, run: RunRecord, error: str) -> None:
    """Let a driver take a run and fail."""
    database.record_failure(run, error, database.claim(run))


def dump(database: ProductDatabase) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table, in the order of the keys."""
    with database.engine.connect() as connection:
        return {
            table.name: [
                tuple(json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value for value in row)
                for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns))
            ]
            for table in metadata.sorted_tables
        }


def answer(database: ProductDatabase, product_id: str) -> dict[str, Any]:
    """Return the current answer of one product."""
    table = metadata.tables["product_categories"]
    with database.engine.connect() as connection:
        row = connection.execute(sa.select(table).where(table.c.product_id == product_id)).mappings().one()
    return dict(row)


def batches(rows: Iterable[tuple[Any, ...]], size: int = 1000) -> Iterable[Rows]:
    """Cut rows into batches."""
    batch: list[tuple[Any, ...]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    yield batch


def of_another_version(database: ProductDatabase, revision: str = "0005") -> None:
    """Give a database the revision of an earlier development version, or of a newer program."""
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE shelfwise_version SET version_num = :revision"), {"revision": revision})

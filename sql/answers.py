"""Derive the current answer of each product from the current images of one release.

A product of one image has that image's answer as it is. A product of several has what the caller's `combine` makes of
them; only these products leave the database, some thousand at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeEngine

from sql.catalog import newer_releases
from sql.records import Combine
from sql.staging import create_temporary, insert_rows
from sql.tables import UtcDateTime, product_categories

CHUNK_PRODUCTS = 2000
"""Products of several images that are in memory at a time."""

_COMBINED_COLUMNS = ("product_id", "category_id", "confidence", "status")


_CURRENT_IMAGES = sa.text("""
INSERT INTO current_images (
    product_id, image_no, image_sha256, category_id, confidence, status, run_id, ingest_date, image_count, newness
)
SELECT
    product_id, image_no, image_sha256, category_id, confidence, status, run_id, ingest_date,
    count(*) OVER (PARTITION BY product_id),
    row_number() OVER (PARTITION BY product_id ORDER BY ingest_date DESC, image_no)
FROM (
    SELECT
        prediction.*,
        row_number() OVER (PARTITION BY product_id, image_no ORDER BY ingest_date DESC, image_sha256) AS place
    FROM category_predictions AS prediction
    WHERE release_id = :release_id AND product_id IN (SELECT product_id FROM staged_predictions)
) AS ranked
WHERE place = 1
""")

_SEVERAL_IMAGES = sa.text("""
SELECT image.product_id, CAST(prediction.top_k AS TEXT) AS top_k
FROM current_images AS image
INNER JOIN category_predictions AS prediction
    ON
        prediction.product_id = image.product_id
        AND prediction.release_id = :release_id
        AND prediction.image_sha256 = image.image_sha256
WHERE image.image_count > 1
ORDER BY image.product_id, image.image_no
""")

_ANSWERS = sa.text("""
INSERT INTO product_categories (
    product_id, category_id, confidence, status, release_id, image_count, ingest_date, run_id, updated_at_utc
)
SELECT
    newest.product_id,
    CASE WHEN newest.image_count = 1 THEN newest.category_id ELSE combined.category_id END,
    CASE WHEN newest.image_count = 1 THEN newest.confidence ELSE combined.confidence END,
    CASE WHEN newest.image_count = 1 THEN newest.status ELSE combined.status END,
    :release_id,
    newest.image_count,
    newest.ingest_date,
    newest.run_id,
    :moment
FROM current_images AS newest
LEFT JOIN combined_answers AS combined ON combined.product_id = newest.product_id
WHERE newest.newness = 1
ORDER BY newest.product_id
ON CONFLICT (product_id) DO UPDATE SET
    previous_category_id = CASE
        WHEN excluded.category_id IS DISTINCT FROM product_categories.category_id THEN product_categories.category_id
        ELSE product_categories.previous_category_id
    END,
    category_id = excluded.category_id,
    confidence = excluded.confidence,
    status = excluded.status,
    release_id = excluded.release_id,
    image_count = excluded.image_count,
    ingest_date = excluded.ingest_date,
    run_id = excluded.run_id,
    updated_at_utc = excluded.updated_at_utc
WHERE
    product_categories.status <> 'manual'
    AND (
        excluded.ingest_date > product_categories.ingest_date
        OR (
            excluded.ingest_date = product_categories.ingest_date
            AND product_categories.release_id NOT IN :newer_releases
        )
    )
    AND (
        excluded.category_id IS DISTINCT FROM product_categories.category_id
        OR excluded.confidence IS DISTINCT FROM product_categories.confidence
        OR excluded.status <> product_categories.status
        OR excluded.release_id <> product_categories.release_id
        OR excluded.image_count <> product_categories.image_count
        OR excluded.ingest_date <> product_categories.ingest_date
        OR excluded.run_id <> product_categories.run_id
    )
""").bindparams(
    sa.bindparam("moment", type_=UtcDateTime()), sa.bindparam("newer_releases", type_=sa.Text(), expanding=True)
)


def update(
    connection: Connection, *, release_id: str, moment: datetime, combine: Combine, force: bool
) -> tuple[int, int]:
    """Bring the answers of the staged products up to date.

    An answer stays as it is if a person gave it, if its images are newer, or if they are as new and its release is a
    newer one.

    Args:
        connection: In a transaction that holds the writers' lock, with `staged_predictions` merged into the history.
        release_id: The release that answers.
        moment: Aware; what changed rows carry.
        combine: Makes one answer of several images.
        force: Replace the answers of newer releases, too.

    Returns:
        How many products were considered, and how many rows were added or changed.
    """
    _find_current_images(connection, release_id)
    _combine_images(connection, release_id, combine)
    newer = [] if force else newer_releases(connection, release_id)
    values = {"release_id": release_id, "moment": moment, "newer_releases": newer}
    changed = connection.execute(_ANSWERS, values).rowcount
    considered = connection.execute(sa.text("SELECT count(*) FROM current_images WHERE newness = 1")).scalar_one()
    return considered, changed


def _find_current_images(connection: Connection, release_id: str) -> None:
    copied = ("product_id", "category_id", "confidence", "status", "run_id", "ingest_date", "image_count")
    types: dict[str, TypeEngine[Any]] = {name: product_categories.c[name].type for name in copied}
    extra: dict[str, TypeEngine[Any]] = {"image_no": sa.Integer(), "image_sha256": sa.Text(), "newness": sa.Integer()}
    create_temporary(connection, "current_images", {**types, **extra})
    connection.execute(_CURRENT_IMAGES, {"release_id": release_id})


def _combine_images(connection: Connection, release_id: str, combine: Combine) -> None:
    types: dict[str, TypeEngine[Any]] = {name: product_categories.c[name].type for name in _COMBINED_COLUMNS}
    create_temporary(connection, "combined_answers", types)
    images = connection.execute(_SEVERAL_IMAGES.execution_options(yield_per=CHUNK_PRODUCTS), {"release_id": release_id})
    answered = _answered(((row.product_id, row.top_k) for row in images), combine)
    while chunk := list(islice(answered, CHUNK_PRODUCTS)):
        insert_rows(connection, "combined_answers", _COMBINED_COLUMNS, chunk)


def _answered(
    images: Iterable[tuple[str, str | None]], combine: Combine
) -> Iterator[tuple[str, str | None, float | None, str]]:
    for product_id, of_product in groupby(images, key=itemgetter(0)):
        tops = [[(category, score) for category, score in json.loads(top_k or "[]")] for _, top_k in of_product]
        decision = combine(tops)
        yield product_id, decision.category_id, decision.confidence, decision.status

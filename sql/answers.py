"""Derive the current answer of each product from the current images of one release.

A product of one image has that image's answer as it is. A product of several has what the caller's `combine` makes of
them; only these products leave the database, some thousand at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeEngine

from sql.catalog import refuse_unknown_categories
from sql.records import Combine
from sql.staging import analyze, create_temporary, insert_rows
from sql.tables import product_categories

CHUNK_PRODUCTS = 2000
"""Products of several images that are in memory at a time."""

ANSWER_COLUMNS = ("product_id", "category_id", "confidence", "status", "image_count", "ingest_date", "run_id")

_COMBINED_COLUMNS = ("product_id", "category_id", "confidence", "status")

# Of a product with one row, min() of a column is its value; this one pass settles nearly all products.
_ONE_ROW = """
INSERT INTO run_answers (product_id, category_id, confidence, status, image_count, ingest_date, run_id)
SELECT product_id, min(category_id), min(confidence), min(status), count(*), min(ingest_date), min(run_id)
FROM category_predictions
WHERE release_id = :release_id AND product_id IN (SELECT product_id FROM {products})
GROUP BY product_id
"""

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
        row_number() OVER (
            PARTITION BY prediction.product_id, prediction.image_no
            ORDER BY prediction.ingest_date DESC, prediction.image_sha256
        ) AS place
    FROM run_answers AS several
    INNER JOIN category_predictions AS prediction ON prediction.product_id = several.product_id
    WHERE several.image_count > 1 AND prediction.release_id = :release_id
) AS ranked
WHERE place = 1
""")

_TOPS = sa.text("""
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

_SEVERAL_IMAGES = sa.text("""
INSERT INTO run_answers (product_id, category_id, confidence, status, image_count, ingest_date, run_id)
SELECT
    newest.product_id,
    CASE WHEN newest.image_count = 1 THEN newest.category_id ELSE combined.category_id END,
    CASE WHEN newest.image_count = 1 THEN newest.confidence ELSE combined.confidence END,
    CASE WHEN newest.image_count = 1 THEN newest.status ELSE combined.status END,
    newest.image_count,
    newest.ingest_date,
    newest.run_id
FROM current_images AS newest
LEFT JOIN combined_answers AS combined ON combined.product_id = newest.product_id
WHERE newest.newness = 1
""")


def derive(connection: Connection, *, release_id: str, products: str, combine: Combine) -> int:
    """Fill the temporary table `run_answers`, one row a product, from the merged history.

    Args:
        connection: In a transaction that holds the writers' lock.
        release_id: The release that answers.
        products: Temporary table whose product_id are to be answered.
        combine: Makes one answer of several images.

    Returns:
        How many products have an answer.
    """
    create_temporary(connection, "run_answers", _types(ANSWER_COLUMNS))
    answered = connection.execute(sa.text(_ONE_ROW.format(products=products)), {"release_id": release_id}).rowcount
    analyze(connection, "run_answers")
    several = connection.execute(sa.text("SELECT 1 FROM run_answers WHERE image_count > 1 LIMIT 1")).first()
    if several is not None:
        _combine_images(connection, release_id, combine)
    return answered


def _combine_images(connection: Connection, release_id: str, combine: Combine) -> None:
    extra: dict[str, TypeEngine[Any]] = {"image_no": sa.Integer(), "image_sha256": sa.Text(), "newness": sa.Integer()}
    create_temporary(connection, "current_images", {**_types(ANSWER_COLUMNS), **extra})
    create_temporary(connection, "combined_answers", _types(_COMBINED_COLUMNS))
    connection.execute(_CURRENT_IMAGES, {"release_id": release_id})
    analyze(connection, "current_images")
    tops = connection.execute(_TOPS.execution_options(yield_per=CHUNK_PRODUCTS), {"release_id": release_id})
    combined = _combined(((row.product_id, row.top_k) for row in tops), combine)
    while chunk := list(islice(combined, CHUNK_PRODUCTS)):
        insert_rows(connection, "combined_answers", _COMBINED_COLUMNS, chunk)
    refuse_unknown_categories(connection, "combined_answers", release_id)
    connection.execute(sa.text("DELETE FROM run_answers WHERE image_count > 1"))
    connection.execute(_SEVERAL_IMAGES)


def _types(columns: tuple[str, ...]) -> dict[str, TypeEngine[Any]]:
    return {name: product_categories.c[name].type for name in columns}


def _combined(
    images: Iterable[tuple[str, str | None]], combine: Combine
) -> Iterator[tuple[str, str | None, float | None, str]]:
    for product_id, of_product in groupby(images, key=itemgetter(0)):
        tops = [[(category, score) for category, score in json.loads(top_k or "[]")] for _, top_k in of_product]
        decision = combine(tops)
        yield product_id, decision.category_id, decision.confidence, decision.status

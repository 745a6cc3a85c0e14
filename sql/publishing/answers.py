"""Derive the current answer of each product from the current images of one release.

A product with one image gets the answer of that image, or a suggestion where the run held the image back
(`effective_answer`). For a product with several images the caller's `combine` computes one answer;
only these products are loaded into memory, some thousand at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeEngine

from sql.publishing import answer_changes as changes
from sql.publishing.staging import analyze, create_temporary, insert_rows
from sql.publishing.taxonomy import refuse_unknown_categories
from sql.records import REVIEW_REASONS, Combine, StoredImage
from sql.schema.products import product_categories

CHUNK_PRODUCTS = 2000
"""Number of products with several images that are in memory at a time."""

_COMBINED_COLUMNS = ("product_id", "category_id", "confidence", "status", "review_reason")
_IMAGE_COLUMNS = (*_COMBINED_COLUMNS, "image_count", "ingest_date", "ingest_no", "run_id")


def effective_answer(column: str, floor: float) -> dict[str, str]:
    """Return the SQL of a one-image product's answer by column, as `models.answers.decision.held_back` decides it.

    An answer that the run held back is suggested, not published; below the floor it is unknown. Of the image's own
    reason and the run's the first in `REVIEW_REASONS` is kept.

    Args:
        column: SQL of a column of the image, with `{}` for its name.
        floor: The release's lowest confidence at which a category is suggested.
    """
    names = ("category_id", "confidence", "status", "review_reason", "held_by")
    category_id, confidence, status, review_reason, held_by = (column.format(name) for name in names)
    held = f"{held_by} IS NOT NULL AND {status} = 'auto'"
    unknown = f"{held} AND {confidence} < {float(floor)!r}"
    return {
        "category_id": f"CASE WHEN {unknown} THEN NULL ELSE {category_id} END",
        "confidence": f"CASE WHEN {unknown} THEN NULL ELSE {confidence} END",
        "status": f"CASE WHEN {unknown} THEN 'unknown' WHEN {held} THEN 'review' ELSE {status} END",
        "review_reason": effective_reason(review_reason, held_by),
    }


def effective_reason(review_reason: str, held_by: str) -> str:
    """Return the SQL of the reason that is kept of an image's own and its run's: the first in `REVIEW_REASONS`.

    Args:
        review_reason: SQL of the image's own reason, or NULL.
        held_by: SQL of the reason for which the run held it back, or NULL.
    """
    ranked = " ".join(f"WHEN '{name}' IN ({review_reason}, {held_by}) THEN '{name}'" for name in REVIEW_REASONS)
    return f"CASE WHEN {held_by} IS NULL THEN {review_reason} WHEN {review_reason} IS NULL THEN {held_by} {ranked} END"


# For a product with one current image, min() of a column is its value, so this one pass answers nearly all products.
_ONE_ROW = """
    SELECT
        product_id,
        {category_id} AS category_id,
        {confidence} AS confidence,
        {status} AS status,
        {review_reason} AS review_reason,
        count(*) AS image_count,
        min(ingest_date) AS ingest_date,
        min(ingest_no) AS ingest_no,
        min(run_id) AS run_id
    FROM category_predictions AS prediction
    WHERE
        release_id = :release_id
        AND product_id IN (SELECT product_id FROM {products})
        AND {present}
    GROUP BY product_id
"""
_PRESENT = """EXISTS (
            SELECT 1
            FROM product_images AS image
            WHERE
                image.product_id = prediction.product_id
                AND image.image_sha256 = prediction.image_sha256
                AND image.left_at IS NULL
        )"""
# A product with one prediction that the run has staged needs no look-up, unless `position_news` has the product.
_STAGED_PRESENT = f"(product_id NOT IN (SELECT product_id FROM position_news) OR {_PRESENT})"  # noqa: S608 - texts of our own


_ANSWERED_IMAGES = """
INSERT INTO answered_images (
    product_id, image_no, image_sha256, category_id, confidence, status, review_reason, run_id, ingest_date, ingest_no,
    image_count, newness
)
SELECT
    image.product_id, image.image_no, image.image_sha256, {category_id}, {confidence}, {status}, {review_reason},
    image.run_id, image.ingest_date, image.ingest_no,
    count(*) OVER (PARTITION BY image.product_id),
    row_number() OVER (
        PARTITION BY image.product_id ORDER BY image.ingest_date DESC, image.ingest_no DESC, image.image_no
    )
FROM answer_changes AS several
INNER JOIN current_images AS image ON image.product_id = several.product_id
WHERE several.replaces IS NULL AND image.release_id = :release_id
"""

_TOPS = sa.text("""
SELECT image.product_id, CAST(prediction.top_k AS TEXT) AS top_k, prediction.review_reason, prediction.held_by
FROM answered_images AS image
INNER JOIN category_predictions AS prediction
    ON
        prediction.product_id = image.product_id
        AND prediction.release_id = :release_id
        AND prediction.image_sha256 = image.image_sha256
WHERE image.image_count > 1
ORDER BY image.product_id, image.image_no
""")

_SEVERAL_IMAGES = """
    SELECT
        newest.product_id,
        CASE WHEN newest.image_count = 1 THEN newest.category_id ELSE combined.category_id END AS category_id,
        CASE WHEN newest.image_count = 1 THEN newest.confidence ELSE combined.confidence END AS confidence,
        CASE WHEN newest.image_count = 1 THEN newest.status ELSE combined.status END AS status,
        CASE WHEN newest.image_count = 1 THEN newest.review_reason ELSE combined.review_reason END AS review_reason,
        newest.image_count,
        newest.ingest_date,
        newest.ingest_no,
        newest.run_id
    FROM answered_images AS newest
    LEFT JOIN combined_answers AS combined ON combined.product_id = newest.product_id
    WHERE newest.newness = 1
"""


def add_answers(
    connection: Connection, products: str, rule: changes.Rule, combine: Combine, *, manifest: Mapping[str, Any]
) -> int:
    """Derive each product's answer from its current images of one release, and add it to `answer_changes`.

    Args:
        connection: In a transaction that holds the writers' lock, with `answer_changes` prepared.
        products: Name of a temporary table with the product_id of each product to answer.
        rule: The release that answers, and which answers it may replace.
        combine: Computes one answer from several images.
        manifest: Manifest of the release, which has its floor.

    Returns:
        Number of products that have an answer.
    """
    floor = manifest.get("floor", 0.0)
    one_row = _ONE_ROW.format(
        **effective_answer("min({})", floor),
        products=products,
        present=_STAGED_PRESENT if products == "staged_predictions" else _PRESENT,
    )
    answered = changes.add(connection, one_row, rule, settled="answer.image_count = 1")
    analyze(connection, "answer_changes")
    several = connection.execute(sa.text("SELECT 1 FROM answer_changes WHERE replaces IS NULL LIMIT 1")).first()
    if several is not None:
        _combine_images(connection, rule.release_id, combine, floor)
        connection.execute(sa.text("DELETE FROM answer_changes WHERE replaces IS NULL"))
        changes.add(connection, _SEVERAL_IMAGES, rule, settled="1 = 1")
    return answered


def _combine_images(connection: Connection, release_id: str, combine: Combine, floor: float) -> None:
    extra: dict[str, TypeEngine[Any]] = {"image_no": sa.Integer(), "image_sha256": sa.Text(), "newness": sa.Integer()}
    create_temporary(connection, "answered_images", {**_types(_IMAGE_COLUMNS), **extra})
    create_temporary(connection, "combined_answers", _types(_COMBINED_COLUMNS))
    answered = sa.text(_ANSWERED_IMAGES.format(**effective_answer("image.{}", floor)))
    connection.execute(answered, {"release_id": release_id})
    analyze(connection, "answered_images")
    tops = connection.execute(_TOPS.execution_options(yield_per=CHUNK_PRODUCTS), {"release_id": release_id})
    combined = _combined(((row.product_id, row.top_k, row.review_reason, row.held_by) for row in tops), combine)
    while chunk := list(islice(combined, CHUNK_PRODUCTS)):
        insert_rows(connection, "combined_answers", _types(_COMBINED_COLUMNS), chunk)
    refuse_unknown_categories(connection, "combined_answers", release_id)


def _types(columns: tuple[str, ...]) -> dict[str, TypeEngine[Any]]:
    return {name: product_categories.c[name].type for name in columns}


def _combined(
    images: Iterable[tuple[str, str | None, str | None, str | None]], combine: Combine
) -> Iterator[tuple[str, str | None, float | None, str, str | None]]:
    """Yield rows of `combined_answers` from (product_id, top_k, review_reason, held_by) of images, by product."""
    for product_id, of_product in groupby(images, key=itemgetter(0)):
        decision = combine(
            [
                StoredImage([(category, score) for category, score in json.loads(top_k or "[]")], reason, held_by)
                for _, top_k, reason, held_by in of_product
            ]
        )
        yield product_id, decision.category_id, decision.confidence, decision.status, decision.review_reason

"""The current pictures of products, and where they lie in the dataset."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.lists import list_value, with_lists
from sql.review.records import Pictured

# Of the predictions of one picture the answering release's comes first, unless only another one says where it lies.
_PICTURES = """
SELECT
    image.product_id,
    image.image_no,
    image.image_sha256,
    coalesce(prediction.ingest_date, image.ingest_date) AS ingest_date,
    prediction.run_id,
    prediction.picture_at
FROM product_images AS image
LEFT JOIN product_categories AS answer ON answer.product_id = image.product_id
LEFT JOIN category_predictions AS prediction
    ON prediction.product_id = image.product_id AND prediction.image_sha256 = image.image_sha256
WHERE
    image.product_id IN :product_ids
    AND image.image_sha256 IS NOT NULL
    AND image.left_at IS NULL
ORDER BY
    image.product_id,
    image.image_no,
    prediction.picture_at IS NULL,
    coalesce(prediction.release_id = coalesce(answer.release_id, answer.suggested_release_id), FALSE) DESC,
    prediction.predicted_at_utc DESC,
    prediction.release_id
"""


def current_pictures(connection: Connection, product_ids: Iterable[str]) -> dict[str, list[Pictured]]:
    """Look up the pictures that a catalog names now, by product_id, in order of image_no.

    A picture that a product has at several positions is there once, at the first.
    """
    statement = sa.text(with_lists(_PICTURES, connection.dialect.name)).columns(ingest_date=sa.Date())
    found: dict[str, dict[str, Pictured]] = {}
    for row in connection.execute(statement, {"product_ids": list_value(dict.fromkeys(product_ids))}):
        of_product = found.setdefault(row.product_id, {})
        if row.image_sha256 not in of_product:
            of_product[row.image_sha256] = Pictured(
                row.product_id,
                row.image_no,
                row.image_sha256,
                row.ingest_date,
                row.run_id or "",
                row.picture_at or "",
            )
    return {product_id: list(pictures.values()) for product_id, pictures in found.items()}


def first_pictures(connection: Connection, product_ids: Iterable[str]) -> dict[str, Pictured]:
    """Look up the first current picture by product_id; products without one are left out."""
    return {name: pictures[0] for name, pictures in current_pictures(connection, product_ids).items()}

"""Merge the catalog rows that a run read into the table `products`."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

# A row without ingest_date is one that a shop wrote; it stays as it is.
_PRODUCTS = sa.text("""
INSERT INTO products (
    product_id, image_no, image_uri, title, category, updated_at, group_id, ingest_date, ingest_no, reason
)
SELECT
    ranked.product_id,
    ranked.image_no,
    ranked.image_uri,
    ranked.title,
    ranked.category,
    ranked.updated_at,
    ranked.group_id,
    ranked.ingest_date,
    ranked.ingest_no,
    position.reason
FROM (
    SELECT
        staged.*,
        row_number() OVER (
            PARTITION BY product_id, image_no
            ORDER BY ingest_date DESC, ingest_no DESC, updated_at DESC, image_uri, title, category, group_id
        ) AS place
    FROM staged_products AS staged
) AS ranked
LEFT JOIN product_images AS position
    ON position.product_id = ranked.product_id AND position.image_no = ranked.image_no
WHERE ranked.place = 1 AND position.left_at IS NULL
ORDER BY ranked.product_id, ranked.image_no
ON CONFLICT (product_id, image_no) DO UPDATE SET
    image_uri = excluded.image_uri,
    title = excluded.title,
    category = excluded.category,
    updated_at = excluded.updated_at,
    group_id = excluded.group_id,
    ingest_date = excluded.ingest_date,
    ingest_no = excluded.ingest_no,
    reason = excluded.reason
WHERE
    (excluded.ingest_date, excluded.ingest_no) > (products.ingest_date, products.ingest_no)
    OR (
        (excluded.ingest_date, excluded.ingest_no) = (products.ingest_date, products.ingest_no)
        AND (
            excluded.image_uri <> products.image_uri
            OR excluded.title IS DISTINCT FROM products.title
            OR excluded.category IS DISTINCT FROM products.category
            OR excluded.updated_at IS DISTINCT FROM products.updated_at
            OR excluded.group_id IS DISTINCT FROM products.group_id
            OR excluded.reason IS DISTINCT FROM products.reason
        )
    )
""")

_REASONS = sa.text("""
UPDATE products
SET reason = position.reason
FROM product_images AS position
WHERE
    position.product_id = products.product_id
    AND position.image_no = products.image_no
    AND (position.product_id, position.image_no) IN (
        SELECT product_id, image_no FROM staged_rejections
        UNION
        SELECT product_id, image_no FROM staged_image_changes
        UNION
        SELECT product_id, image_no FROM position_news
    )
    AND products.ingest_date IS NOT NULL
    AND products.reason IS DISTINCT FROM position.reason
""")

_LEFT = sa.text("""
DELETE FROM products
WHERE
    ingest_date IS NOT NULL
    AND (product_id, image_no) IN (
        SELECT position.product_id, position.image_no
        FROM product_images AS position
        INNER JOIN staged_image_changes AS change
            ON change.product_id = position.product_id AND change.image_no = position.image_no
        WHERE position.left_at IS NOT NULL
    )
""")


def merge_products(connection: Connection, *, fill: bool = True) -> int:
    """Merge the staged catalog rows into `products`; a row of a newer ingest stays, and so does one that a shop wrote.

    Rows of images that no catalog names any more are deleted.

    Args:
        connection: In the publishing transaction, after positions were merged.
        fill: Whether to add and change rows; False if the shop has a table of its own.

    Returns:
        Number of rows added, changed or deleted.
    """
    changed = connection.execute(_PRODUCTS).rowcount if fill else 0
    return changed + connection.execute(_REASONS).rowcount + connection.execute(_LEFT).rowcount

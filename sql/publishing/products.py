"""Merge the catalog rows that a run read into the table `products`."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

_PRODUCTS = sa.text("""
INSERT INTO products (product_id, image_no, image_uri, title, category, updated_at, group_id, ingest_date, ingest_no)
SELECT product_id, image_no, image_uri, title, category, updated_at, group_id, ingest_date, ingest_no
FROM (
    SELECT
        staged.*,
        row_number() OVER (
            PARTITION BY product_id, image_no
            ORDER BY ingest_date DESC, ingest_no DESC, updated_at DESC, image_uri, title, category, group_id
        ) AS place
    FROM staged_products AS staged
) AS ranked
WHERE place = 1
ORDER BY product_id, image_no
ON CONFLICT (product_id, image_no) DO UPDATE SET
    image_uri = excluded.image_uri,
    title = excluded.title,
    category = excluded.category,
    updated_at = excluded.updated_at,
    group_id = excluded.group_id,
    ingest_date = excluded.ingest_date,
    ingest_no = excluded.ingest_no
WHERE
    products.ingest_date IS NULL
    OR (excluded.ingest_date, excluded.ingest_no) > (products.ingest_date, products.ingest_no)
    OR (
        (excluded.ingest_date, excluded.ingest_no) = (products.ingest_date, products.ingest_no)
        AND (
            excluded.image_uri <> products.image_uri
            OR excluded.title IS DISTINCT FROM products.title
            OR excluded.category IS DISTINCT FROM products.category
            OR excluded.updated_at IS DISTINCT FROM products.updated_at
            OR excluded.group_id IS DISTINCT FROM products.group_id
        )
    )
""")


def merge_products(connection: Connection) -> int:
    """Merge the staged catalog rows into `products`; a row of a newer ingest stays. Return how many rows changed."""
    return connection.execute(_PRODUCTS).rowcount

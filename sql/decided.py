"""Check decisions of people, record them in `overrides`, and make them the current answers.

The decisions are loaded into the temporary table `decided`, so that one product and a file with a million products use
the same statements.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeEngine

from sql.errors import UnknownNameError
from sql.explanations import listed
from sql.publishing import answer_changes as changes
from sql.publishing.staging import analyze, create_temporary, insert_rows
from sql.schema.columns import UtcDateTime, key_text

Decided = list[tuple[str, str, str | None, str, datetime]]
"""(product_id, category_id, why, decided_by, decided_at_utc), one a product; the moment has a time zone."""

_COLUMNS: dict[str, TypeEngine[Any]] = {
    "product_id": key_text(),
    "category_id": key_text(),
    "why": sa.Text(),
    "decided_by": sa.Text(),
    "decided_at_utc": UtcDateTime(),
}

_UNKNOWN_PRODUCTS = sa.text("""
SELECT decided.product_id AS name
FROM decided
WHERE
    NOT EXISTS (SELECT 1 FROM product_categories AS answer WHERE answer.product_id = decided.product_id)
    AND NOT EXISTS (SELECT 1 FROM products AS product WHERE product.product_id = decided.product_id)
    AND NOT EXISTS (SELECT 1 FROM rejected_images AS rejected WHERE rejected.product_id = decided.product_id)
ORDER BY decided.product_id
""")

_UNKNOWN_CATEGORIES = sa.text("""
SELECT DISTINCT decided.category_id AS name
FROM decided
WHERE NOT EXISTS (SELECT 1 FROM categories AS category WHERE category.category_id = decided.category_id)
ORDER BY decided.category_id
""")

_TWICE = sa.text("SELECT product_id AS name FROM decided GROUP BY product_id HAVING count(*) > 1 ORDER BY product_id")

# A decision for the category that a person has already decided on changes nothing and is not recorded.
_CHANGES = sa.text("""
INSERT INTO answer_changes
SELECT
    decided.product_id,
    decided.category_id,
    NULL,
    'manual',
    NULL,
    coalesce(stored.image_count, 0),
    stored.ingest_date,
    stored.ingest_no,
    NULL,
    stored.category_id,
    stored.confidence,
    stored.status,
    CAST(1 AS BOOLEAN)
FROM decided
LEFT JOIN product_categories AS stored ON stored.product_id = decided.product_id
WHERE stored.product_id IS NULL OR stored.status <> 'manual' OR stored.category_id <> decided.category_id
""")

_RECORD = sa.text("""
INSERT INTO overrides (
    product_id, action, category_id, decided_by, why, suggested_category_id, suggested_confidence, release_id,
    decided_at_utc
)
SELECT
    decided.product_id,
    :action,
    decided.category_id,
    decided.decided_by,
    decided.why,
    CASE WHEN stored.status <> 'manual' THEN stored.category_id END,
    CASE WHEN stored.status <> 'manual' THEN stored.confidence END,
    CASE WHEN stored.status <> 'manual' THEN stored.release_id END,
    decided.decided_at_utc
FROM answer_changes AS change
INNER JOIN decided ON decided.product_id = change.product_id
LEFT JOIN product_categories AS stored ON stored.product_id = change.product_id
ORDER BY decided.product_id
""")


def write(connection: Connection, rows: Decided, *, action: str, moment: datetime) -> int:
    """Record decisions and make them the current answers.

    Args:
        connection: In a transaction that holds the writers' lock.
        rows: Decisions, one a product.
        action: `set` or `accept`.
        moment: When the answers change, with a time zone.

    Returns:
        Number of products whose answer changed.

    Raises:
        UnknownNameError: A product or category is not in the database.
        ValueError: A product has two decisions.
    """
    create_temporary(connection, "decided", _COLUMNS)
    insert_rows(connection, "decided", _COLUMNS, rows)
    analyze(connection, "decided")
    _refuse(connection)
    changes.prepare(connection)
    connection.execute(_CHANGES)
    connection.execute(_RECORD, {"action": action})
    return changes.apply(connection, moment)


def _refuse(connection: Connection) -> None:
    twice = connection.execute(_TWICE).scalars().all()
    if twice:
        raise ValueError(f"Decided on more than once: {listed(twice)}; expected one category a product.")
    products = connection.execute(_UNKNOWN_PRODUCTS).scalars().all()
    if products:
        raise UnknownNameError(
            f"The database does not know {listed(products)}: expected products of the catalog; ingest them first, or "
            "correct the product_id."
        )
    categories = connection.execute(_UNKNOWN_CATEGORIES).scalars().all()
    if categories:
        raise UnknownNameError(
            f"The taxonomy does not have {listed(categories)}: expected a category_id as `shelfwise query taxonomy` "
            "lists them."
        )

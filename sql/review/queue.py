"""What waits for people: by suggested category, and as pages of products in order of confidence."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.engine import reading
from sql.review.items import items_of, titles_of
from sql.review.pictured import first_pictures
from sql.review.records import ORDERS, REVIEWED_STATUSES, TITLE_PRODUCTS, Filter, Pictured, QueueItem, Waiting
from sql.store import ProductDatabase

_SELECTED = """
    SELECT
        product_id,
        CASE WHEN decided THEN suggested_category_id ELSE category_id END AS category_id,
        CASE WHEN decided THEN suggested_confidence ELSE confidence END AS confidence,
        run_id
    FROM product_categories
    WHERE
        left_at IS NULL
        AND (
            (status = :status AND NOT decided)
            OR (:status = 'review' AND decided AND review_reason = 'changed_picture')
        )
        AND (:review_reason = '' OR review_reason = :review_reason)
        AND (:run_id = '' OR run_id = :run_id)
"""
_BELOW = "(:below = '' OR category_id = :below OR (category_id > :below || '.' AND category_id < :below || '/'))"


def waiting(database: ProductDatabase, which: Filter) -> list[Waiting]:
    """Count what waits by suggested category, the category with most products first."""
    with reading(database.engine) as connection:
        statement = f"""
            SELECT selected.category_id, category.category_path, selected.product_id
            FROM ({_SELECTED}) AS selected
            LEFT JOIN categories AS category ON category.category_id = selected.category_id
            WHERE {_BELOW.replace("category_id", "selected.category_id")}
            ORDER BY selected.confidence DESC, selected.product_id
        """  # noqa: S608 - texts of our own
        rows = connection.execute(sa.text(statement), _values(which)).all()
        rows = [row for row in rows if row.product_id in _titled(connection, which, [r.product_id for r in rows])]
    counts: dict[str | None, list[Any]] = {}
    for row in rows:
        counts.setdefault(row.category_id, [row.category_path or "", 0])[1] += 1
    found = [Waiting(category_id, path, count) for category_id, (path, count) in counts.items()]
    return sorted(found, key=lambda each: (-each.count, each.category_id or ""))


def page(
    database: ProductDatabase,
    which: Filter,
    category_id: str | None,
    *,
    order: str,
    size: int,
    without: Collection[str] = (),
) -> list[QueueItem]:
    """Select one page of products with the same suggested category.

    Args:
        database: Migrated.
        which: Which products.
        category_id: The suggested category; None for products without a suggestion.
        order: One of `ORDERS`.
        size: Most products.
        without: Products to leave out, because they are shown to other people.
    """
    if order not in ORDERS:
        raise ValueError(f"There is no order {order!r}: expected one of {', '.join(ORDERS)}.")
    direction = "DESC" if order == "surest" else "ASC"
    statement = f"""
        SELECT product_id
        FROM ({_SELECTED}) AS selected
        WHERE category_id IS NOT DISTINCT FROM CAST(:category_id AS TEXT) AND {_BELOW}
        ORDER BY confidence {direction}, product_id
    """  # noqa: S608 - texts of our own
    with reading(database.engine) as connection:
        names = connection.execute(sa.text(statement), {**_values(which), "category_id": category_id}).scalars().all()
        titled = _titled(connection, which, names)
        return items_of(connection, [name for name in names if name in titled and name not in without][:size])


def examples(database: ProductDatabase, category_id: str, *, count: int) -> list[Pictured]:
    """Select pictures of products that are accepted in a category, those with a thumbnail first."""
    statement = sa.text("""
        SELECT product_id
        FROM product_categories
        WHERE category_id = :category_id AND status IN ('manual', 'auto') AND review_reason IS NULL AND left_at IS NULL
        ORDER BY status DESC, confidence DESC, product_id
        LIMIT 200
    """)
    with reading(database.engine) as connection:
        names = connection.execute(statement, {"category_id": category_id}).scalars().all()
        pictures = first_pictures(connection, names)
    return sorted((pictures[name] for name in names if name in pictures), key=lambda one: not one.picture_at)[:count]


def _titled(connection: Connection, which: Filter, product_ids: Collection[str]) -> set[str]:
    words = which.title.casefold().split()
    first = list(product_ids)
    if not words:
        return set(first)
    titles = titles_of(connection, first[:TITLE_PRODUCTS])
    return {name for name, (title, _) in titles.items() if all(word in title.casefold() for word in words)}


def _values(which: Filter) -> dict[str, str]:
    if which.status not in REVIEWED_STATUSES:
        raise ValueError(f"There is no page of status {which.status!r}: expected {' or '.join(REVIEWED_STATUSES)}.")
    return {
        "status": which.status,
        "review_reason": which.review_reason,
        "run_id": which.run_id,
        "below": which.category_id,
    }

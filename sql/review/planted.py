"""Products whose category is known, to be shown on a page rightly or wrongly: what people answer shows who looks."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import replace

import sqlalchemy as sa

from sql.engine import reading
from sql.review.items import items_of
from sql.review.records import Planted
from sql.store import ProductDatabase

SURE = 0.99
"""Lowest confidence of an answer of a run that counts as known."""


def planted(
    database: ProductDatabase,
    category_id: str,
    *,
    count: int,
    rng: random.Random,
    without: Collection[str] = (),
    viewer: str = "",
) -> list[Planted]:
    """Select products whose category is known, half of them to be shown wrongly.

    Args:
        database: Migrated.
        category_id: Category of the page, as which the products are shown.
        count: Number of products; fewer are returned where fewer are known.
        rng: Chooses.
        without: Products not to choose, such as those that wait on the page.
        viewer: Person who will see the page; products that others decided are preferred.
    """
    statement = sa.text("""
        SELECT answer.product_id, answer.category_id, answer.status
        FROM product_categories AS answer
        WHERE
            answer.left_at IS NULL
            AND answer.category_id IS NOT NULL
            AND answer.review_reason IS NULL
            AND (answer.status = 'manual' OR (answer.status = 'auto' AND answer.confidence >= :sure))
        ORDER BY answer.product_id
    """)
    with reading(database.engine) as connection:
        rows = [row for row in connection.execute(statement, {"sure": SURE}) if row.product_id not in without]
        path = connection.execute(
            sa.text("SELECT category_path FROM categories WHERE category_id = :category_id"),
            {"category_id": category_id},
        ).scalar()
        right = [row for row in rows if row.category_id == category_id]
        wrong = [row for row in rows if not f"{row.category_id}.".startswith(f"{category_id}.")]
        chosen = []
        for _ in range(count):
            pool = wrong if rng.random() < 0.5 else right
            if pool:
                chosen.append(pool.pop(rng.randrange(len(pool))))
        known = {row.product_id: row.category_id for row in chosen}
        items = items_of(connection, known)
    return [
        Planted(
            replace(
                item,
                category_id=category_id,
                category_path=path or "",
                confidence=item.confidence or rng.uniform(0.5, 0.9),
                status="review",
                review_reason="below_threshold",
            ),
            known[item.product_id],
        )
        for item in items
    ]

"""Products whose category is known, to be shown on a page rightly or wrongly: what people answer shows who looks."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.engine import reading
from sql.review.items import items_of, storable
from sql.review.known import Known, known_in
from sql.review.records import Planted
from sql.store import ProductDatabase

_NEAREST = 8
"""Most categories that are tried for a product to show: other, near ones wrongly; those of the page rightly."""

_WITH_PRODUCTS = sa.text("""
SELECT DISTINCT category_id
FROM category_totals
WHERE status IN ('manual', 'auto') AND review_reason = '' AND category_id <> ''
ORDER BY category_id
""")

_PATH = sa.text("SELECT category_path FROM categories WHERE category_id = :category_id")


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

    A product is known by the latest decision of a person, or else by a run's answer of high confidence. It is returned
    with the page's category; its confidence, status and reason are its own, which the page must not show. On a page of
    an inner node, products of the categories below it are shown rightly.

    Args:
        database: Migrated.
        category_id: Category of the page, as which the products are shown.
        count: Number of products; fewer are returned where fewer are known.
        rng: Chooses.
        without: Products not to choose, such as those of the page.
        viewer: Person who will see the page; products on which others decided are preferred.
    """
    if not storable(category_id):
        return []
    with reading(database.engine) as connection:
        path = connection.execute(_PATH, {"category_id": category_id}).scalar()
        if path is None:
            return []
        taken = set(without)
        chosen: list[Known] = []
        with_products = list(connection.execute(_WITH_PRODUCTS).scalars())
        # Half of them, and of an odd one every second time.
        wrongly = count // 2 + (count % 2 and rng.randrange(2))
        for wrong in (True, False):
            for _ in range(wrongly if wrong else count - wrongly):
                names = (_others if wrong else _within)(with_products, category_id, rng)
                one = _choose(connection, names, viewer, taken, rng)
                if one is not None:
                    taken.add(one.product_id)
                    chosen.append(one)
        rng.shuffle(chosen)
        known = {one.product_id: one.category_id for one in chosen}
        return [
            Planted(replace(item, category_id=category_id, category_path=path), known[item.product_id])
            for item in items_of(connection, known)
        ]


def _within(with_products: Collection[str], category_id: str, rng: random.Random) -> list[str]:
    """Return some categories that have products and are the given one or below it, in random order."""
    own = [name for name in with_products if f"{name}.".startswith(f"{category_id}.")]
    rng.shuffle(own)
    return own[:_NEAREST]


def _others(with_products: Collection[str], category_id: str, rng: random.Random) -> list[str]:
    """Return other categories that have products, near ones first; none above or below the given one."""
    own = category_id.split(".")
    others = [
        name
        for name in with_products
        if not f"{name}.".startswith(f"{category_id}.") and not f"{category_id}.".startswith(f"{name}.")
    ]
    rng.shuffle(others)

    def shared(name: str) -> int:
        parts = zip(own, name.split("."), strict=False)
        return next((place for place, (one, other) in enumerate(parts) if one != other), 0)

    return sorted(others, key=shared, reverse=True)[:_NEAREST]


def _choose(
    connection: Connection, names: Collection[str], viewer: str, taken: Collection[str], rng: random.Random
) -> Known | None:
    """Choose a product of the first category that has one: of others' decisions, else of the viewer's, else of runs."""
    for name in names:
        found = [one for one in known_in(connection, name, rng) if one.product_id not in taken]
        decided = [one for one in found if one.decided_by]
        by_others = [one for one in decided if one.decided_by != viewer]
        published = [one for one in found if not one.decided_by]
        for pool in (by_others, published, decided):
            if pool:
                return rng.choice(pool)
    return None

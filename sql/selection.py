"""Queries by which a backfill selects its images: products of a category, and images that a release has answered."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.engine import reading
from sql.errors import UnknownNameError
from sql.explanations import listed
from sql.lists import list_value, with_lists
from sql.publishing.releases import older_releases
from sql.schema.releases import categories
from sql.store import ProductDatabase

_UNDER = """
SELECT product_id
FROM product_categories
WHERE
    product_id IN :keys
    AND (category_id = :category_id OR substr(category_id, 1, length(:category_id) + 1) = :category_id || '.')
"""
_ANSWERED = """
SELECT answered.product_id, answered.image_sha256
FROM category_predictions AS answered
WHERE
    answered.release_id = :release_id
    AND answered.product_id IN :keys
    AND NOT EXISTS (
        SELECT 1
        FROM product_categories AS current
        WHERE
            current.product_id = answered.product_id
            AND current.status <> 'manual'
            AND current.release_id IN :older
    )
"""


def products_under(database: ProductDatabase, category_id: str, product_ids: Iterable[str]) -> set[str]:
    """Select, for a backfill, the products that are in a category or below it now, by a run's or a person's answer.

    Args:
        database: Migrated.
        category_id: A leaf or an inner node of the taxonomy.
        product_ids: Products to look up, some thousand per call.
    """
    with reading(database.engine) as connection:
        statement, keys = _with_keys(connection, _UNDER, product_ids)
        return set(connection.execute(statement, {"keys": keys, "category_id": category_id}).scalars())


def answered_images(database: ProductDatabase, release_id: str, product_ids: Iterable[str]) -> set[tuple[str, str]]:
    """Select the images that a backfill can skip, as (product_id, image_sha256): the release has answered them.

    Images of a product whose current answer is an older release's are not included: this release answered them as
    challenger only.

    Args:
        database: Migrated.
        release_id: Release whose answers are looked up.
        product_ids: Products to look up, some thousand per call.
    """
    with reading(database.engine) as connection:
        statement, keys = _with_keys(connection, _ANSWERED, product_ids)
        older = list_value(older_releases(connection, release_id))
        rows = connection.execute(statement, {"keys": keys, "release_id": release_id, "older": older})
        return {(row.product_id, row.image_sha256) for row in rows}


def refuse_unknown_category(database: ProductDatabase, category_id: str) -> None:
    """Raise UnknownNameError with the nearest names, if a backfill's category is not in the taxonomy."""
    with reading(database.engine) as connection:
        known = list(connection.execute(sa.select(categories.c.category_id)).scalars())
    if category_id not in known:
        near = get_close_matches(category_id, known, n=3) or sorted(known)[:3]
        hint = f"; the nearest are {listed(near)}" if near else "; it has none before the first run is published"
        raise UnknownNameError(
            f"The taxonomy does not have {category_id!r}{hint}: see `shelfwise query taxonomy` for all."
        )


def _with_keys(connection: Connection, statement: str, product_ids: Iterable[str]) -> tuple[sa.TextClause, str]:
    """Return a statement that takes any number of keys in one parameter, and that parameter."""
    return sa.text(with_lists(statement, connection.dialect.name)), list_value(sorted(set(product_ids)))

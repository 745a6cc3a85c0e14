"""Queries by which jobs select products and images, some thousand per call.

A backfill selects products of a category and images without an answer; a report pictures that products have now; and
housekeeping products that have an answer, and pictures at which a person may have to look.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import date
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
    AND (left_at IS NULL OR :include_left)
    AND (category_id = :category_id OR substr(category_id, 1, length(:category_id) + 1) = :category_id || '.')
"""
_POSITIONS = """
SELECT product_id, image_no, image_sha256, ingest_date, ingest_no, left_at
FROM product_images
WHERE product_id IN :keys
"""
_LEFT_SINCE = """
SELECT product_id
FROM product_images
WHERE product_id IN :keys
GROUP BY product_id
HAVING count(*) = count(left_at) AND max(left_at) > :day
"""
_WITH_ANSWER = "SELECT product_id FROM product_categories WHERE product_id IN :keys"
_WAITING_PICTURES = """
SELECT DISTINCT prediction.run_id, prediction.ingest_date, prediction.picture_at
FROM product_categories AS answer
INNER JOIN product_images AS image ON image.product_id = answer.product_id AND image.left_at IS NULL
INNER JOIN category_predictions AS prediction
    ON prediction.product_id = image.product_id AND prediction.image_sha256 = image.image_sha256
WHERE
    answer.left_at IS NULL
    AND answer.status <> 'auto'
    AND (NOT answer.decided OR answer.review_reason IS NOT NULL)
    AND prediction.picture_at IS NOT NULL
    AND prediction.run_id IN :keys
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
            AND CASE WHEN current.decided THEN current.suggested_release_id ELSE current.release_id END IN :older
    )
"""


StoredImage = tuple[str, int, str, date, int]
"""A row of images/: (product_id, image_no, image_sha256, ingest date, ingest_no)."""


def products_under(
    database: ProductDatabase, category_id: str, product_ids: Iterable[str], *, include_left: bool = False
) -> set[str]:
    """Select, for a backfill, the products that are in a category or below it now, by a run's or a person's answer.

    Products that no catalog names any more are in no category.

    Args:
        database: Migrated.
        category_id: A leaf or an inner node of the taxonomy.
        product_ids: Products to look up, some thousand per call.
        include_left: Also select products that have left, by the answer that they had.
    """
    with reading(database.engine) as connection:
        statement, keys = _with_keys(connection, _UNDER, product_ids)
        typed = statement.bindparams(sa.bindparam("include_left", type_=sa.Boolean()))
        values = {"keys": keys, "category_id": category_id, "include_left": include_left}
        return set(connection.execute(typed, values).scalars())


def any_has_left(database: ProductDatabase) -> bool:
    """Return whether a catalog ceased to name any image, so that products may have left."""
    with reading(database.engine) as connection:
        found = connection.execute(sa.text("SELECT 1 FROM product_images WHERE left_at IS NOT NULL LIMIT 1"))
        return found.first() is not None


def left_since(database: ProductDatabase, day: date, product_ids: Iterable[str]) -> set[str]:
    """Select the products that have left since a date: no catalog names any image of theirs.

    Args:
        database: Migrated.
        day: Ingest date. What was ingested later than a product left is of a night that was not published, which may
            bring the product back.
        product_ids: Products to look up, some thousand per call.
    """
    with reading(database.engine) as connection:
        statement, keys = _with_keys(connection, _LEFT_SINCE, product_ids)
        typed = statement.bindparams(sa.bindparam("day", type_=sa.Date()))
        return set(connection.execute(typed, {"keys": keys, "day": day}).scalars())


def replaced_images(
    database: ProductDatabase, images: Collection[StoredImage], *, include_left: bool = False
) -> set[tuple[str, int, str]]:
    """Select the images that a backfill need not predict: their product does not have these pictures any more.

    An image that the database does not know yet is not among them, nor is one that the product has at another position.

    Args:
        database: Migrated.
        images: Images of the dataset, some thousand per call.
        include_left: Whether pictures that no catalog names any more are predicted all the same.

    Returns:
        product_id, image_no and image_sha256 of each.
    """
    with reading(database.engine) as connection:
        statement, keys = _with_keys(connection, _POSITIONS, (product_id for product_id, *_ in images))
        typed = statement.columns(ingest_date=sa.Date(), left_at=sa.Date())
        rows = list(connection.execute(typed, {"keys": keys}))
    shown = {(row.product_id, row.image_sha256) for row in rows if row.left_at is None}
    at = {(row.product_id, row.image_no): row for row in rows}
    replaced = set()
    for product_id, image_no, content, day, number in images:
        row = at.get((product_id, image_no))
        if row is None or (product_id, content) in shown:
            continue
        is_older = (day, number) < (row.ingest_date, row.ingest_no)
        if (row.left_at is not None and day < row.left_at and not include_left) or (
            is_older and content != row.image_sha256
        ):
            replaced.add((product_id, image_no, content))
    return replaced


def present_pictures(database: ProductDatabase, product_ids: Iterable[str]) -> dict[str, list[str]]:
    """Look up the pictures that products have now.

    Args:
        database: Migrated.
        product_ids: Products to look up, some thousand per call.

    Returns:
        Maps the product_id of each product that was ever published to its image_sha256, in order of image_no; a product
        that has left has none.
    """
    with reading(database.engine) as connection:
        statement, keys = _with_keys(connection, f"{_POSITIONS} ORDER BY product_id, image_no", product_ids)
        rows = list(connection.execute(statement, {"keys": keys}))
    pictures: dict[str, list[str]] = {row.product_id: [] for row in rows}
    for row in rows:
        if row.left_at is None and row.image_sha256:
            pictures[row.product_id].append(row.image_sha256)
    return pictures


def products_with_answer(database: ProductDatabase, product_ids: Iterable[str]) -> set[str]:
    """Select the products that have an answer, of a run or a person, also if they have left.

    Args:
        database: Migrated.
        product_ids: Products to look up, some thousand per call.
    """
    with reading(database.engine) as connection:
        statement, keys = _with_keys(connection, _WITH_ANSWER, product_ids)
        return set(connection.execute(statement, {"keys": keys}).scalars())


def waiting_pictures(database: ProductDatabase, run_ids: Iterable[str]) -> Iterator[tuple[str, date, str]]:
    """Select where the present pictures of products lie whose answers wait for a person, as runs have written it.

    Args:
        database: Migrated.
        run_ids: The runs, some hundred per call.

    Yields:
        run_id, ingest_date and picture_at of each.
    """
    with reading(database.engine) as connection:
        statement, keys = _with_keys(connection, _WAITING_PICTURES, run_ids)
        for row in connection.execute(statement.columns(ingest_date=sa.Date()), {"keys": keys}):
            yield row.run_id, row.ingest_date, row.picture_at


def answered_images(database: ProductDatabase, release_id: str, product_ids: Iterable[str]) -> set[tuple[str, str]]:
    """Select the images that a backfill can skip, as (product_id, image_sha256): the release has answered them.

    Images of a product whose current answer is an older release's are not included: this release answered them as
    challenger only. So it is with what a release suggests where a picture changed after a person's decision.

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


def _with_keys(connection: Connection, statement: str, keys: Iterable[str]) -> tuple[sa.TextClause, str]:
    """Return a statement that takes any number of keys in one parameter, and that parameter."""
    return sa.text(with_lists(statement, connection.dialect.name)), list_value(sorted(set(keys)))

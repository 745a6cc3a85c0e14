"""Products as the pages show them: the current answer with title, picture and version, looked up by product_id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from sql.lists import list_value, with_lists
from sql.review.pictured import current_pictures
from sql.review.records import Pictured, QueueItem
from sql.schema.columns import UtcDateTime

NO_ANSWER = "none"
"""`QueueItem.seen` of a product without a current answer and without a picture."""

_ANSWERS = """
SELECT
    answer.product_id,
    answer.category_id,
    answer.confidence,
    answer.status,
    answer.review_reason,
    answer.decided,
    answer.suggested_category_id,
    answer.suggested_confidence,
    answer.suggested_release_id,
    answer.release_id,
    answer.image_count,
    answer.run_id,
    answer.updated_at_utc,
    answer.left_at,
    category.category_path,
    suggested.category_path AS suggested_category_path
FROM product_categories AS answer
LEFT JOIN categories AS category ON category.category_id = answer.category_id
LEFT JOIN categories AS suggested ON suggested.category_id = answer.suggested_category_id
WHERE answer.product_id IN :product_ids
"""

_TITLES = """
SELECT product_id, title, category
FROM products
WHERE product_id IN :product_ids
ORDER BY product_id, image_no
"""


_KNOWN = """
SELECT product_id FROM products WHERE product_id IN :product_ids
UNION
SELECT product_id FROM rejected_images WHERE product_id IN :product_ids
"""

_CONTENTS = """
SELECT product_id, image_sha256
FROM product_images
WHERE product_id IN :product_ids AND image_sha256 IS NOT NULL AND left_at IS NULL
"""


def seen_of(answer: Row[Any] | None, contents: Iterable[str]) -> str:
    """Return the version of a product on a page: it changes with everything that a person decides on.

    Args:
        answer: A row of `product_categories`; None for a product without an answer.
        contents: image_sha256 of its current pictures: a decision is recorded on them, so they must have been seen. A
            picture that changes after a decision need not change the answer.
    """
    pictures = sorted(set(contents))
    if answer is None and not pictures:
        return NO_ANSWER
    parts = answer and (
        answer.updated_at_utc.isoformat(),
        answer.category_id,
        answer.status,
        answer.review_reason,
        answer.suggested_category_id,
        None if answer.left_at is None else answer.left_at.isoformat(),
    )
    return hashlib.sha256(json.dumps([parts, pictures]).encode()).hexdigest()[:24]


def storable(text: str) -> bool:
    """Return whether a database can store a text; what a request sends may hold what no text of a database has."""
    try:
        return b"\x00" not in text.encode()
    except UnicodeEncodeError:
        return False


def answers_of(connection: Connection, product_ids: Iterable[str]) -> dict[str, Row[Any]]:
    """Look up current answers, with the paths of their categories, by product_id; products without one are left out."""
    statement = _looked_up(connection, _ANSWERS).columns(
        updated_at_utc=UtcDateTime(), left_at=sa.Date(), decided=sa.Boolean()
    )
    return {row.product_id: row for row in connection.execute(statement, _keys(product_ids))}


def contents_of(connection: Connection, product_ids: Iterable[str]) -> dict[str, list[str]]:
    """Look up image_sha256 of the current pictures by product_id; products without one are left out."""
    found: dict[str, list[str]] = {}
    for row in connection.execute(_looked_up(connection, _CONTENTS), _keys(product_ids)):
        found.setdefault(row.product_id, []).append(row.image_sha256)
    return found


def titles_of(connection: Connection, product_ids: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Look up the title and the shop's own category by product_id, each of the first image that has one."""
    found: dict[str, tuple[str, str]] = {}
    for row in connection.execute(_looked_up(connection, _TITLES), _keys(product_ids)):
        title, category = found.get(row.product_id, ("", ""))
        found[row.product_id] = (title or row.title or "", category or row.category or "")
    return found


def known_products(connection: Connection, product_ids: Iterable[str]) -> set[str]:
    """Select the products that are in a catalog, or had an image that could not be used, with or without an answer."""
    return set(connection.execute(_looked_up(connection, _KNOWN), _keys(product_ids)).scalars())


def items_of(connection: Connection, product_ids: Iterable[str]) -> list[QueueItem]:
    """Return products as a page shows them, in the order of their ids; those without an answer are left out."""
    names = list(product_ids)
    answers = answers_of(connection, names)
    titles, pictures = titles_of(connection, answers), current_pictures(connection, answers)
    return [
        item_of(answers[name], titles.get(name, ("", ""))[0], pictures.get(name, ()))
        for name in names
        if name in answers
    ]


def item_of(answer: Row[Any], title: str, pictures: Sequence[Pictured]) -> QueueItem:
    """Return one product as a page shows it.

    Args:
        answer: A row of `answers_of`. A person's answer whose picture has changed shows what a run suggests now.
        title: As in the catalog.
        pictures: Its current pictures; the first is the one to look at.
    """
    again = answer.decided and answer.review_reason is not None
    return QueueItem(
        product_id=answer.product_id,
        title=title,
        category_id=answer.suggested_category_id if again else answer.category_id,
        category_path=(answer.suggested_category_path if again else answer.category_path) or "",
        confidence=answer.suggested_confidence if again else answer.confidence,
        status=answer.status,
        review_reason=answer.review_reason or "",
        image_count=answer.image_count,
        picture=pictures[0] if pictures else None,
        seen=seen_of(answer, [each.image_sha256 for each in pictures]),
        run_id=answer.run_id or "",
    )


def _looked_up(connection: Connection, statement: str) -> sa.TextClause:
    return sa.text(with_lists(statement, connection.dialect.name))


def _keys(product_ids: Iterable[str]) -> Mapping[str, str]:
    return {"product_ids": list_value(dict.fromkeys(name for name in product_ids if storable(name)))}

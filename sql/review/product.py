"""Everything about one product: answers of every release, decisions, pictures; and the search for products."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.engine import reading
from sql.errors import UnknownNameError
from sql.lists import list_value, with_lists
from sql.publishing.answers import effective_reason
from sql.review.items import answers_of, item_of, known_products, seen_of, storable, titles_of
from sql.review.pictured import current_pictures
from sql.review.records import (
    Found,
    Leaf,
    Pictured,
    Product,
    QueueItem,
    StoredAnswer,
    StoredDecision,
)
from sql.schema.columns import UtcDateTime
from sql.store import ProductDatabase

_LIKELY = 20
"""Most categories to choose from."""

_STORED_ANSWERS = f"""
SELECT
    prediction.*,
    {effective_reason("prediction.review_reason", "prediction.held_by")} AS first_reason,
    CAST(prediction.top_k AS TEXT) AS top_k_text,
    CAST(prediction.by_network AS TEXT) AS by_network_text,
    category.category_path,
    EXISTS (
        SELECT 1
        FROM product_images AS image
        WHERE
            image.product_id = prediction.product_id
            AND image.image_sha256 = prediction.image_sha256
            AND image.left_at IS NULL
    ) AS is_current
FROM category_predictions AS prediction
LEFT JOIN categories AS category ON category.category_id = prediction.category_id
WHERE prediction.product_id = :product_id
ORDER BY prediction.predicted_at_utc DESC, prediction.release_id DESC, prediction.image_no, prediction.image_sha256
"""  # noqa: S608 - texts of our own
_ANSWERS = sa.text(_STORED_ANSWERS).columns(
    ingest_date=sa.Date(), predicted_at_utc=UtcDateTime(), is_current=sa.Boolean()
)

_DECISIONS = sa.text("""
SELECT decision.*, category.category_path
FROM overrides AS decision
LEFT JOIN categories AS category ON category.category_id = decision.category_id
WHERE decision.product_id = :product_id
ORDER BY decision.override_id DESC
""").columns(decided_at_utc=UtcDateTime())

_LAST = "\U0010ffff"
"""The character that is sorted after all others."""

# The catalog no longer has products that have left, their answers stand.
_BY_ID = sa.text("""
SELECT product_id FROM product_categories WHERE product_id >= :text AND product_id < :text || :last
UNION
SELECT product_id FROM products WHERE product_id >= :text AND product_id < :text || :last
ORDER BY product_id
LIMIT :most
""")

_BY_TITLE = """
SELECT DISTINCT product_id
FROM (SELECT product_id, {title} AS lowered FROM products) AS named
WHERE {words}
ORDER BY product_id
LIMIT :most
"""


def product(database: ProductDatabase, product_id: str) -> Product:
    """Return everything about one product.

    Raises:
        UnknownNameError: The database does not know the product.
    """
    with reading(database.engine) as connection:
        answer = answers_of(connection, [product_id]).get(product_id)
        if answer is None and not known_products(connection, [product_id]):
            raise UnknownNameError(
                f"The database does not know product {product_id!r}: expected the product_id of a catalog, or words "
                "of its title in the search."
            )
        title, category = titles_of(connection, [product_id]).get(product_id, ("", ""))
        pictures = tuple(current_pictures(connection, [product_id]).get(product_id, ()))
        answers = _stored_answers(connection, product_id)
        item = _unanswered(product_id, title, pictures) if answer is None else item_of(answer, title, pictures)
        release_id = None if answer is None else answer.suggested_release_id or answer.release_id
        return Product(
            item=item,
            shop_category=category,
            decided=answer is not None and answer.decided,
            decided_category_id=answer.category_id if answer is not None and answer.decided else None,
            left_at=None if answer is None else answer.left_at,
            pictures=pictures,
            likely=_likely(connection, answers, release_id),
            answers=tuple(answers),
            decisions=_stored_decisions(connection, product_id),
        )


def _unanswered(product_id: str, title: str, pictures: Sequence[Pictured]) -> QueueItem:
    seen = seen_of(None, [each.image_sha256 for each in pictures])
    first = pictures[0] if pictures else None
    return QueueItem(product_id, title, None, "", None, "unknown", "", len(pictures), first, seen)


def find_products(database: ProductDatabase, text: str, *, limit: int = 50) -> list[Found]:
    """Search products by their id, or by words of their title, which may be parts of words.

    Ids are found by an index. Titles have none, so words that few titles have take seconds on millions of products.

    Args:
        database: Migrated.
        text: A product_id, its beginning, or words in any order.
        limit: Most products.

    Returns:
        The product of that id first, then those whose id begins with it, then those with the words in their title.
    """
    text = text.strip()
    if not text or not storable(text):
        return []
    with reading(database.engine) as connection:
        told = {"text": text, "last": _LAST, "most": limit}
        names = list(connection.execute(_BY_ID, told).scalars())
        if len(names) < limit:
            names = list(dict.fromkeys([*names, *_by_title(connection, text, limit)]))[:limit]
        answers, titles = answers_of(connection, names), titles_of(connection, names)
    return [
        Found(
            name,
            titles.get(name, ("", ""))[0],
            (answers[name].category_path or "") if name in answers else "",
            answers[name].status if name in answers else "unknown",
        )
        for name in names
    ]


def _by_title(connection: Connection, text: str, limit: int) -> list[str]:
    words = text.casefold().split()
    if connection.dialect.name == "postgresql":
        title, contains = "lower(title)", "strpos(lowered, :word_{}) > 0"
    else:
        # SQLite's own lower() knows the letters of English alone.
        driver: Any = connection.connection.driver_connection
        driver.create_function("casefold", 1, lambda value: (value or "").casefold(), deterministic=True)
        title, contains = "casefold(title)", "instr(lowered, :word_{}) > 0"
    conditions = " AND ".join(contains.format(place) for place in range(len(words)))
    statement = sa.text(_BY_TITLE.format(title=title, words=conditions))
    told = {f"word_{place}": word for place, word in enumerate(words)}
    return list(connection.execute(statement, {**told, "most": limit}).scalars())


def _stored_answers(connection: Connection, product_id: str) -> list[StoredAnswer]:
    return [
        StoredAnswer(
            picture=Pictured(
                product_id, row.image_no, row.image_sha256, row.ingest_date, row.run_id, row.picture_at or ""
            ),
            is_current=row.is_current,
            release_id=row.release_id,
            category_id=row.category_id,
            category_path=row.category_path or "",
            confidence=row.confidence,
            status=row.status,
            review_reason=row.first_reason or "",
            top_k=[(category_id, score) for category_id, score in json.loads(row.top_k_text or "[]")],
            by_network=json.loads(row.by_network_text or "{}"),
            run_id=row.run_id,
            predicted_at_utc=row.predicted_at_utc,
        )
        for row in connection.execute(_ANSWERS, {"product_id": product_id})
    ]


def _stored_decisions(connection: Connection, product_id: str) -> tuple[StoredDecision, ...]:
    return tuple(
        StoredDecision(
            row.override_id,
            row.action,
            row.category_id,
            row.category_path or "",
            row.decided_by,
            row.why or "",
            row.came_by or "",
            row.decided_at_utc,
        )
        for row in connection.execute(_DECISIONS, {"product_id": product_id})
    )


def _likely(
    connection: Connection, answers: Sequence[StoredAnswer], release_id: str | None
) -> tuple[tuple[Leaf, float], ...]:
    """Return the mean confidence of each category over the current pictures, the highest first.

    Args:
        connection: In a transaction.
        answers: All answers of the product, the newest first.
        release_id: The release that answers the product; None takes that of the newest answer on a current picture.
    """
    current = [answer for answer in answers if answer.is_current]
    if not any(answer.release_id == release_id for answer in current):
        release_id = current[0].release_id if current else None
    deciding = [answer for answer in current if answer.release_id == release_id]
    totals: dict[str, float] = {}
    for answer in deciding:
        for category_id, score in answer.top_k:
            if category_id is not None:
                totals[category_id] = totals.get(category_id, 0.0) + score / len(deciding)
    statement = "SELECT category_id, category_path FROM categories WHERE category_id IN :names"
    named = sa.text(with_lists(statement, connection.dialect.name))
    paths = {row.category_id: row.category_path for row in connection.execute(named, {"names": list_value(totals)})}
    ranked = sorted(totals, key=lambda category_id: (-totals[category_id], category_id))[:_LIKELY]
    return tuple((Leaf(name, paths.get(name, name)), totals[name]) for name in ranked)

"""Write and clear decisions of people: a category that no run overwrites, and the record of who decided and why.

Each call is one transaction under the writers' lock: it writes the decisions on all of its products, or none. The
decisions are loaded into the temporary table `decided`, so that one product and a file with a million products use the
same statements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeEngine

from sql.engine import writing
from sql.errors import UnknownNameError
from sql.explanations import listed
from sql.lists import list_value, with_lists
from sql.publishing import answer_changes as changes
from sql.publishing import settling
from sql.publishing.positions import AFFECTED, prepare_affected
from sql.publishing.settling import CombineBy
from sql.publishing.staging import analyze, create_temporary, insert_rows
from sql.schema.columns import UtcDateTime, key_text
from sql.schema.decisions import overrides
from sql.schema.products import product_categories
from sql.store import ProductDatabase

_Rows = list[tuple[str, str, str | None, str, datetime]]
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
    NULL,
    coalesce(stored.image_count, 0),
    stored.ingest_date,
    stored.ingest_no,
    NULL,
    stored.category_id,
    stored.confidence,
    stored.status,
    stored.review_reason,
    stored.left_at IS NOT NULL,
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

_SUGGESTIONS = """
SELECT product_id, category_id
FROM product_categories
WHERE product_id IN :product_ids AND category_id IS NOT NULL
"""


@dataclass(frozen=True)
class Override:
    """One person's decision that a product belongs to a category.

    Attributes:
        product_id: The product.
        category_id: The category, a leaf of the taxonomy.
        why: The reason, in the person's words.
        decided_by: Who decided; None is the person that the import names.
        decided_at_utc: When, with a time zone; None is the time of the import.
    """

    product_id: str
    category_id: str
    why: str | None = None
    decided_by: str | None = None
    decided_at_utc: datetime | None = None


def set_overrides(
    database: ProductDatabase, decisions: Iterable[Override], *, decided_by: str = "", at_utc: datetime | None = None
) -> int:
    """Put products into the categories that people decided; they stay there until the decision is cleared.

    Args:
        database: Migrated.
        decisions: One a product; all of them are written, or none.
        decided_by: The person who decided, for decisions that do not name one.
        at_utc: When the answers change, with a time zone; None is now.

    Returns:
        Number of products whose answer changed; one that a person had already put there is not counted.

    Raises:
        UnknownNameError: A product or category is not in the database; nothing was written.
        ValueError: A product has two decisions, or a decision names no person.
    """
    moment = at_utc or datetime.now(UTC)
    rows = [
        (each.product_id, each.category_id, each.why, each.decided_by or decided_by, each.decided_at_utc or moment)
        for each in decisions
    ]
    for person in {row[3] for row in rows}:
        _refuse_nobody(person)
    database.check()
    with writing(database.engine) as connection:
        return _record(connection, rows, action="set", moment=moment)


def accept_suggestions(
    database: ProductDatabase,
    product_ids: Sequence[str],
    *,
    decided_by: str,
    why: str | None = None,
    at_utc: datetime | None = None,
) -> int:
    """Confirm the machine's answers for some products as decisions of a person.

    Args:
        database: Migrated.
        product_ids: Products with an answer of status `review` or `auto`.
        decided_by: Person who decides.
        why: Reason, in the person's words.
        at_utc: Time of the decision, with a time zone; None is now.

    Returns:
        Number of products whose answer changed; one that a person had already decided on is not counted.

    Raises:
        UnknownNameError: A product has no answer of a run; nothing was written.
        ValueError: A product is given twice, or `decided_by` is empty.
    """
    _refuse_nobody(decided_by)
    database.check()
    dialect = database.engine.dialect.name
    with writing(database.engine) as connection:
        suggestions = connection.execute(
            sa.text(with_lists(_SUGGESTIONS, dialect)), {"product_ids": list_value(product_ids)}
        )
        categories = {row.product_id: row.category_id for row in suggestions}
        without = [product_id for product_id in product_ids if product_id not in categories]
        if without:
            raise UnknownNameError(
                f"There is no suggestion for {listed(without)}: expected products of the query `review_queue`."
            )
        moment = at_utc or datetime.now(UTC)
        rows = [(product_id, categories[product_id], why, decided_by, moment) for product_id in product_ids]
        return _record(connection, rows, action="accept", moment=moment)


def clear_override(
    database: ProductDatabase,
    product_id: str,
    *,
    decided_by: str,
    combine_by: CombineBy,
    why: str | None = None,
    at_utc: datetime | None = None,
) -> bool:
    """Clear a person's decision on a product: its answer is again the newest that a run predicted.

    The release that answered combines the images again, also if its directory is deleted: the table `releases` has its
    manifest.

    Args:
        database: Migrated.
        product_id: A product that a person decided on.
        decided_by: Person who clears the decision.
        combine_by: Returns, for a release's manifest, the function that computes one answer from several images.
        why: Reason, in the person's words.
        at_utc: Time of the change, with a time zone; None is now.

    Returns:
        Whether the product has an answer of a run now; if not, it has no answer at all.

    Raises:
        UnknownNameError: No person decided on this product.
    """
    moment = at_utc or datetime.now(UTC)
    _refuse_nobody(decided_by)
    database.check()
    with writing(database.engine) as connection:
        same = product_categories.c.product_id == product_id
        stored = connection.execute(sa.select(product_categories).where(same)).first()
        if stored is None or stored.status != "manual":
            raise UnknownNameError(
                f"No person decided on product {product_id!r}: expected a product of status manual, as "
                "`shelfwise query current_categories` shows."
            )
        connection.execute(
            overrides.insert().values(
                product_id=product_id, action="clear", decided_by=decided_by, why=why, decided_at_utc=moment
            )
        )
        return _derive_again(connection, product_id, combine_by, moment)


def _record(connection: Connection, rows: _Rows, *, action: str, moment: datetime) -> int:
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
    _refuse_unknown(connection)
    changes.prepare(connection)
    connection.execute(_CHANGES)
    connection.execute(_RECORD, {"action": action})
    changed = changes.apply(connection, moment)
    prepare_affected(connection)
    connection.execute(sa.text("INSERT INTO affected_products SELECT product_id FROM decided"))
    settling.mark_presence(connection)
    return changed


def _refuse_unknown(connection: Connection) -> None:
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


def _derive_again(connection: Connection, product_id: str, combine_by: CombineBy, moment: datetime) -> bool:
    prepare_affected(connection)
    insert_rows(connection, AFFECTED, {"product_id": key_text()}, [(product_id,)])
    settling.answer_again(connection, combine_by, moment, decisions=True)
    same = product_categories.c.product_id == product_id
    return connection.execute(sa.select(product_categories.c.product_id).where(same)).first() is not None


def _refuse_nobody(decided_by: str) -> None:
    if not decided_by.strip():
        raise ValueError("Nobody decided: expected the name of a person, as in --by maria.")

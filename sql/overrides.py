"""What people decide: a category that no run overwrites, and the record of who decided what and why.

Each decision is one transaction under the writers' lock, however many products it names: all of them, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql import answers, catalog, changes
from sql.engine import writing
from sql.errors import UnknownNameError
from sql.records import Combine
from sql.staging import analyze, create_temporary, insert_rows
from sql.store import ProductDatabase
from sql.tables import UtcDateTime, key_text, overrides, product_categories, releases

_NAMED = 5
"""How many unknown names a message lists."""


@dataclass(frozen=True)
class Override:
    """One decision: this product belongs into this category, because."""

    product_id: str
    category_id: str
    why: str | None = None


_Decided = list[tuple[str, str, str | None]]

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

# A decision that says what is decided already is not one.
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
    :decided_by,
    decided.why,
    CASE WHEN stored.status <> 'manual' THEN stored.category_id END,
    CASE WHEN stored.status <> 'manual' THEN stored.confidence END,
    CASE WHEN stored.status <> 'manual' THEN stored.release_id END,
    :moment
FROM answer_changes AS change
INNER JOIN decided ON decided.product_id = change.product_id
LEFT JOIN product_categories AS stored ON stored.product_id = change.product_id
ORDER BY decided.product_id
""").bindparams(sa.bindparam("moment", type_=UtcDateTime()))


def set_overrides(
    database: ProductDatabase, decisions: Iterable[Override], *, decided_by: str, at_utc: datetime | None = None
) -> int:
    """Put products where people say, until they are cleared.

    Args:
        database: Migrated.
        decisions: One a product; all of them are written, or none.
        decided_by: Who says so.
        at_utc: Aware; None is now.

    Returns:
        How many products this changed; one that a person put there already is not counted.

    Raises:
        UnknownNameError: Products or categories that the database does not know; nothing was written.
        ValueError: A product is named twice, or nobody decided.
    """
    rows = [(decision.product_id, decision.category_id, decision.why) for decision in decisions]
    return _decide(database, lambda connection: rows, "set", decided_by, at_utc)


def accept_suggestions(
    database: ProductDatabase,
    product_ids: Sequence[str],
    *,
    decided_by: str,
    why: str | None = None,
    at_utc: datetime | None = None,
) -> int:
    """Make the machine's answer for these products a person's.

    Args:
        database: Migrated.
        product_ids: Products with an answer of status `review` or `auto`.
        decided_by: Who says so.
        why: In their words.
        at_utc: Aware; None is now.

    Returns:
        How many products this changed; one that a person decided already is not counted.

    Raises:
        UnknownNameError: A product has no suggestion; nothing was written.
        ValueError: A product is named twice, or nobody decided.
    """

    def suggested(connection: Connection) -> _Decided:
        table = product_categories
        listed = table.c.product_id.in_(product_ids) & table.c.category_id.is_not(None)
        rows = connection.execute(sa.select(table.c.product_id, table.c.category_id).where(listed))
        found = {row.product_id: row.category_id for row in rows}
        without = [product_id for product_id in product_ids if product_id not in found]
        if without:
            raise UnknownNameError(
                f"There is no suggestion for {_listed(without)}: expected products of the query `review_queue`."
            )
        return [(product_id, found[product_id], why) for product_id in product_ids]

    return _decide(database, suggested, "accept", decided_by, at_utc)


def clear_override(
    database: ProductDatabase,
    product_id: str,
    *,
    decided_by: str,
    combine: Combine,
    why: str | None = None,
    at_utc: datetime | None = None,
) -> bool:
    """Give a product back to the machine: its answer is the newest that any run predicted.

    Args:
        database: Migrated.
        product_id: A product that a person put somewhere.
        decided_by: Who gives it back.
        combine: Makes one answer of several images, as in `ProductDatabase.publish`.
        why: In their words.
        at_utc: Aware; None is now.

    Returns:
        Whether the machine has an answer; without one the product has none now.

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
        return _derive_again(connection, product_id, combine, moment)


def _derive_again(connection: Connection, product_id: str, combine: Combine, moment: datetime) -> bool:
    create_temporary(connection, "cleared", {"product_id": key_text()})
    insert_rows(connection, "cleared", ("product_id",), [(product_id,)])
    release_id = _answering_release(connection, product_id)
    if release_id is None:
        changes.remove(connection, product_id)
        return False
    answers.derive(connection, "cleared", changes.Rule(release_id, anyone=True), combine)
    changes.apply(connection, moment)
    return True


def _answering_release(connection: Connection, product_id: str) -> str | None:
    # The rule of a publish: the newest images first, then the release that no other outranks.
    newest = sa.text("""
        SELECT release_id, max(ingest_date) AS newest
        FROM category_predictions
        WHERE product_id = :product_id
        GROUP BY release_id
        ORDER BY newest DESC, release_id
    """)
    found = connection.execute(newest, {"product_id": product_id}).all()
    latest = [row.release_id for row in found if row.newest == found[0].newest]
    known = connection.execute(sa.select(releases.c.release_id).where(releases.c.release_id.in_(latest))).scalars()
    return next((one for one in known if not set(catalog.newer_releases(connection, one)) & set(latest)), None)


def _decide(
    database: ProductDatabase,
    find_rows: Callable[[Connection], _Decided],
    action: str,
    decided_by: str,
    at_utc: datetime | None,
) -> int:
    moment = at_utc or datetime.now(UTC)
    _refuse_nobody(decided_by)
    database.check()
    with writing(database.engine) as connection:
        create_temporary(connection, "decided", {"product_id": key_text(), "category_id": key_text(), "why": sa.Text()})
        insert_rows(connection, "decided", ("product_id", "category_id", "why"), find_rows(connection))
        analyze(connection, "decided")
        _refuse(connection)
        changes.prepare(connection)
        connection.execute(_CHANGES)
        connection.execute(_RECORD, {"action": action, "decided_by": decided_by, "moment": moment})
        return changes.apply(connection, moment)


def _refuse_nobody(decided_by: str) -> None:
    if not decided_by.strip():
        raise ValueError("Nobody decided: expected the name of a person, as in --by maria.")


def _refuse(connection: Connection) -> None:
    twice = connection.execute(_TWICE).scalars().all()
    if twice:
        raise ValueError(f"Decided on more than once: {_listed(twice)}; expected one category a product.")
    products = connection.execute(_UNKNOWN_PRODUCTS).scalars().all()
    if products:
        raise UnknownNameError(
            f"The database does not know {_listed(products)}: expected products of the catalog; ingest them first, or "
            "correct the product_id."
        )
    categories = connection.execute(_UNKNOWN_CATEGORIES).scalars().all()
    if categories:
        raise UnknownNameError(
            f"The taxonomy does not have {_listed(categories)}: expected a category_id as `shelfwise query taxonomy` "
            "lists them."
        )


def _listed(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(repr(name) for name in names[:_NAMED]) + rest

"""Write and clear decisions of people: a category that no run overwrites, and the record of who decided and why.

Each call is one transaction under the writers' lock: it writes the decisions on all of its products, or none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.decided import Recorded, Rows, record
from sql.engine import writing
from sql.errors import UnknownNameError
from sql.explanations import listed
from sql.lists import list_value, with_lists
from sql.publishing import settling
from sql.publishing.positions import AFFECTED, prepare_affected
from sql.publishing.settling import CombineBy
from sql.publishing.staging import analyze, insert_rows
from sql.schema.columns import UtcDateTime, key_text
from sql.store import ProductDatabase

# A decision that an answer of another picture has replaced may stand again, so that it can be cleared too.
_UNDECIDED = sa.text("""
SELECT affected.product_id
FROM affected_products AS affected
WHERE
    NOT EXISTS (
        SELECT 1
        FROM product_categories AS stored
        WHERE stored.product_id = affected.product_id AND stored.decided
    )
    AND NOT EXISTS (
        SELECT 1
        FROM overrides AS latest
        WHERE
            latest.override_id = (
                SELECT max(decision.override_id)
                FROM overrides AS decision
                WHERE decision.product_id = affected.product_id
            )
            AND latest.action = 'none'
    )
ORDER BY affected.product_id
""")

_CLEAR = sa.text("""
INSERT INTO overrides (product_id, action, decided_by, why, decided_at_utc, came_by, page_id)
SELECT affected.product_id, 'clear', :decided_by, :why, :moment, :came_by, :page_id
FROM affected_products AS affected
ORDER BY affected.product_id
""").bindparams(
    sa.bindparam("decided_by", type_=sa.Text()),
    sa.bindparam("why", type_=sa.Text()),
    sa.bindparam("moment", type_=UtcDateTime()),
)

_ANSWERED = sa.text("""
SELECT count(*) FROM product_categories WHERE product_id IN (SELECT product_id FROM affected_products)
""")

_SUGGESTIONS = """
SELECT product_id, coalesce(suggested_category_id, category_id) AS category_id
FROM product_categories
WHERE product_id IN :product_ids AND category_id IS NOT NULL
"""


@dataclass(frozen=True)
class Override:
    """One person's decision that a product belongs to a category, or to none.

    Attributes:
        product_id: The product.
        category_id: The category, a leaf of the taxonomy; None if the product is none of the categories.
        why: The reason, in the person's words.
        decided_by: Who decided; None is the person that the import names.
        decided_at_utc: When, with a time zone; None is the time of the import.
    """

    product_id: str
    category_id: str | None
    why: str | None = None
    decided_by: str | None = None
    decided_at_utc: datetime | None = None


def set_overrides(
    database: ProductDatabase, decisions: Iterable[Override], *, decided_by: str = "", at_utc: datetime | None = None
) -> int:
    """Put products into the categories that people decided, as `record_overrides` does; return `changed` of it."""
    return record_overrides(database, decisions, decided_by=decided_by, at_utc=at_utc).changed


def record_overrides(
    database: ProductDatabase,
    decisions: Iterable[Override],
    *,
    decided_by: str = "",
    at_utc: datetime | None = None,
    came_by: str = "command",
) -> Recorded:
    """Put products into the categories that people decided; they stay there until the decision is cleared.

    Args:
        database: Migrated.
        decisions: One a product; all of them are written, or none.
        decided_by: The person who decided, for decisions that do not name one.
        at_utc: When the answers change, with a time zone; None is now.
        came_by: How the decisions came, one of `sql.schema.decisions.WAYS`.

    Returns:
        What they changed, and which decisions of people they replaced.

    Raises:
        UnknownNameError: A product or category is not in the database; nothing was written.
        ValueError: A product has two decisions, or a decision names no person.
    """
    moment = at_utc or datetime.now(UTC)
    rows: Rows = [
        (
            each.product_id,
            each.category_id,
            each.why,
            each.decided_by or decided_by,
            each.decided_at_utc or moment,
            "none" if each.category_id is None else "set",
        )
        for each in decisions
    ]
    for person in {row[3] for row in rows}:
        _refuse_nobody(person)
    database.check()
    with writing(database.engine) as connection:
        return record(connection, rows, moment=moment, came_by=came_by)


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
        product_ids: Products with an answer of status `review` or `auto`, or on which a person decided before their
            picture changed: accepted is what a run suggests now.
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
        rows: Rows = [
            (product_id, categories[product_id], why, decided_by, moment, "accept") for product_id in product_ids
        ]
        return record(connection, rows, moment=moment, came_by="command").changed


def clear_override(database: ProductDatabase, product_id: str, **told: Any) -> bool:
    """Clear a person's decision on one product, as `clear_overrides` does; return whether a run has answered it."""
    return clear_overrides(database, [product_id], **told) == 1


def clear_overrides(
    database: ProductDatabase,
    product_ids: Sequence[str],
    *,
    decided_by: str,
    combine_by: CombineBy,
    why: str | None = None,
    at_utc: datetime | None = None,
    came_by: str = "command",
    page_id: str | None = None,
) -> int:
    """Clear people's decisions on some products: the answer of each is again the newest that a run predicted.

    The release that answered combines the images again, also if its directory is deleted: the table `releases` has its
    manifest.

    Args:
        database: Migrated.
        product_ids: Products that a person decided on; all of them are cleared, or none.
        decided_by: Person who clears the decisions.
        combine_by: Returns, for a release's manifest, the function that computes one answer from several images.
        why: Reason, in the person's words.
        at_utc: Time of the change, with a time zone; None is now.
        came_by: How it came, one of `sql.schema.decisions.WAYS`.
        page_id: Page that is taken back; None for products of no page.

    Returns:
        Number of products that have an answer of a run now; the others have no answer at all.

    Raises:
        UnknownNameError: No person decided on a product.
        ValueError: `decided_by` is empty.
    """
    moment = at_utc or datetime.now(UTC)
    _refuse_nobody(decided_by)
    database.check()
    names = list(dict.fromkeys(product_ids))
    told = {"decided_by": decided_by, "why": why, "moment": moment, "came_by": came_by, "page_id": page_id}
    with writing(database.engine) as connection:
        clear(connection, names, combine_by, told)
        return int(connection.execute(_ANSWERED).scalar_one())


def clear(connection: Connection, product_ids: Sequence[str], combine_by: CombineBy, told: Mapping[str, Any]) -> None:
    """Clear people's decisions on some products, in a transaction of the caller.

    Args:
        connection: In a transaction that holds the writers' lock.
        product_ids: Products that a person decided on, each once.
        combine_by: Returns, for a release's manifest, the function that computes one answer from several images.
        told: decided_by, why, moment, came_by and page_id of the new rows in `overrides`.

    Raises:
        UnknownNameError: No person decided on a product.
    """
    prepare_affected(connection)
    insert_rows(connection, AFFECTED, {"product_id": key_text()}, [(name,) for name in product_ids])
    analyze(connection, AFFECTED)
    undecided = connection.execute(_UNDECIDED).scalars().all()
    if undecided:
        raise UnknownNameError(
            f"No person decided on product {listed(undecided)}: expected products on which a person's decision "
            "stands, as `shelfwise query product_decisions` shows the decisions; nothing was cleared."
        )
    connection.execute(_CLEAR, told)
    settling.answer_again(connection, combine_by, told["moment"], decisions=True)


def _refuse_nobody(decided_by: str) -> None:
    if not decided_by.strip():
        raise ValueError("Nobody decided: expected the name of a person, as in --by maria.")

"""Record what people decided and make it the current answers, from the temporary table `decided`.

One product and a file with a million products use the same statements. All of them run in the transaction of the
caller, under the writers' lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeEngine

from sql.errors import UnknownNameError
from sql.explanations import listed
from sql.publishing import answer_changes as changes
from sql.publishing import settling
from sql.publishing.positions import prepare_affected
from sql.publishing.staging import analyze, create_temporary, insert_rows
from sql.schema.columns import UtcDateTime, key_text

_EXAMPLES = 5
"""Most replaced decisions that are named."""

Rows = list[tuple[str, str | None, str | None, str, datetime, str]]
"""(product_id, category_id, why, decided_by, decided_at_utc, action), one a product; the moment has a time zone.

The action is `set`, `accept` or `none`; with `none` the category_id is None: the product is none of the categories."""

_COLUMNS: dict[str, TypeEngine[Any]] = {
    "product_id": key_text(),
    "category_id": key_text(),
    "why": sa.Text(),
    "decided_by": sa.Text(),
    "decided_at_utc": UtcDateTime(),
    "action": sa.Text(),
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
WHERE
    decided.category_id IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM categories AS category WHERE category.category_id = decided.category_id)
ORDER BY decided.category_id
""")

_TWICE = sa.text("SELECT product_id AS name FROM decided GROUP BY product_id HAVING count(*) > 1 ORDER BY product_id")

_DECISIONS = "SELECT product_id, category_id, CAST(NULL AS TEXT) AS review_reason FROM decided"

# A decision for the category that a person has already decided on changes no answer, unless the picture has changed.
_CHANGING = """
    stored.product_id IS NULL
    OR NOT stored.decided
    OR stored.category_id IS DISTINCT FROM decision.category_id
    OR stored.review_reason IS NOT NULL
"""

_RECORD = sa.text("""
INSERT INTO overrides (
    product_id, action, category_id, decided_by, why, suggested_category_id, suggested_confidence, release_id,
    decided_at_utc, came_by, page_id
)
SELECT
    decided.product_id,
    decided.action,
    decided.category_id,
    decided.decided_by,
    decided.why,
    CASE WHEN stored.decided THEN stored.suggested_category_id ELSE stored.category_id END,
    CASE WHEN stored.decided THEN stored.suggested_confidence ELSE stored.confidence END,
    CASE WHEN stored.decided THEN stored.suggested_release_id ELSE stored.release_id END,
    decided.decided_at_utc,
    :came_by,
    :page_id
FROM answer_changes AS change
INNER JOIN decided ON decided.product_id = change.product_id
LEFT JOIN product_categories AS stored ON stored.product_id = change.product_id
ORDER BY decided.product_id
""")

# Another person's agreement is a row of its own. The same person's, since the category was last another one, is one
# only if the product has a picture that the latest decision was not made on; of earlier versions' it is not known.
_AGREE = sa.text("""
INSERT INTO overrides (product_id, action, category_id, decided_by, why, decided_at_utc, came_by, page_id)
SELECT
    decided.product_id,
    decided.action,
    decided.category_id,
    decided.decided_by,
    decided.why,
    decided.decided_at_utc,
    :came_by,
    :page_id
FROM decided
INNER JOIN product_categories AS stored ON stored.product_id = decided.product_id
WHERE
    stored.decided
    AND stored.review_reason IS NULL
    AND stored.category_id IS NOT DISTINCT FROM decided.category_id
    AND (
        NOT EXISTS (
            SELECT 1
            FROM overrides AS earlier
            WHERE
                earlier.product_id = decided.product_id
                AND earlier.action <> 'clear'
                AND earlier.category_id IS NOT DISTINCT FROM decided.category_id
                AND earlier.decided_by = decided.decided_by
                AND NOT EXISTS (
                    SELECT 1
                    FROM overrides AS later
                    WHERE
                        later.product_id = earlier.product_id
                        AND later.override_id > earlier.override_id
                        AND (later.action = 'clear' OR later.category_id IS DISTINCT FROM earlier.category_id)
                )
        )
        OR EXISTS (
            SELECT 1
            FROM product_images AS image
            INNER JOIN override_pictures AS picture
                ON
                    picture.override_id = (
                        SELECT max(latest.override_id)
                        FROM overrides AS latest
                        WHERE latest.product_id = decided.product_id
                    )
            WHERE
                image.product_id = decided.product_id AND image.image_sha256 IS NOT NULL AND image.left_at IS NULL
            GROUP BY image.image_sha256
            HAVING max(CASE WHEN picture.image_sha256 = image.image_sha256 THEN 1 ELSE 0 END) = 0
        )
    )
ORDER BY decided.product_id
""")

_LAST = sa.text("SELECT coalesce(max(override_id), 0) FROM overrides")

# A product that has left had the pictures with which it left.
_PICTURES = sa.text("""
INSERT INTO override_pictures (override_id, image_sha256)
SELECT DISTINCT decision.override_id, image.image_sha256
FROM decided
INNER JOIN overrides AS decision ON decision.product_id = decided.product_id AND decision.override_id > :last
INNER JOIN product_images AS image ON image.product_id = decided.product_id
LEFT JOIN product_categories AS stored ON stored.product_id = decided.product_id
WHERE image.image_sha256 IS NOT NULL AND (image.left_at IS NULL OR stored.left_at IS NOT NULL)
""")

_REPLACED = sa.text("""
SELECT
    decided.product_id,
    stored.category_id,
    former.decided_by,
    former.decided_at_utc > decided.decided_at_utc AS newer,
    count(*) OVER () AS replaced,
    sum(CASE WHEN former.decided_at_utc > decided.decided_at_utc THEN 1 ELSE 0 END) OVER () AS replaced_newer
FROM decided
INNER JOIN product_categories AS stored ON stored.product_id = decided.product_id
LEFT JOIN overrides AS former
    ON
        former.product_id = decided.product_id
        AND former.override_id = (
            SELECT max(latest.override_id) FROM overrides AS latest WHERE latest.product_id = decided.product_id
        )
WHERE stored.decided AND stored.category_id IS DISTINCT FROM decided.category_id
ORDER BY coalesce(former.decided_at_utc > decided.decided_at_utc, FALSE) DESC, decided.product_id
LIMIT :most
""")


@dataclass(frozen=True)
class Recorded:
    """What the decisions of people changed.

    Attributes:
        changed: Products whose answer changed; one that a person had already put there is not counted.
        agreed: Products that a person had already put there, and with which another person now agreed.
        replaced: Products that a person had put into another category.
        replaced_newer: Those of `replaced` on which that person decided later than the person who decides now.
        examples: The first few of `replaced`, those of `replaced_newer` first: (product_id, former category_id or None
            for none of the categories, who had decided, whether later).
    """

    changed: int
    agreed: int = 0
    replaced: int = 0
    replaced_newer: int = 0
    examples: tuple[tuple[str, str | None, str | None, bool], ...] = ()


def record(
    connection: Connection, rows: Rows, *, moment: datetime, came_by: str, page_id: str | None = None
) -> Recorded:
    """Record decisions and make them the current answers.

    Args:
        connection: In a transaction that holds the writers' lock.
        rows: Decisions, one a product.
        moment: When the answers change, with a time zone.
        came_by: How the decisions came, one of `sql.schema.decisions.WAYS`.
        page_id: Name of what one page writes together; None for decisions of no page.

    Returns:
        What they changed, and which decisions of people they replaced.

    Raises:
        UnknownNameError: A product or category is not in the database.
        ValueError: A product has two decisions.
    """
    create_temporary(connection, "decided", _COLUMNS)
    insert_rows(connection, "decided", _COLUMNS, rows)
    analyze(connection, "decided")
    _refuse_unknown(connection)
    changes.prepare(connection)
    changes.add_decisions(connection, _DECISIONS, changing=_CHANGING)
    former = connection.execute(_REPLACED, {"most": _EXAMPLES}).all()
    last, way = connection.execute(_LAST).scalar_one(), {"came_by": came_by, "page_id": page_id}
    agreed = connection.execute(_AGREE, way).rowcount
    connection.execute(_RECORD, way)
    connection.execute(_PICTURES, {"last": last})
    changed = changes.apply(connection, moment)
    prepare_affected(connection)
    connection.execute(sa.text("INSERT INTO affected_products SELECT product_id FROM decided"))
    settling.mark_presence(connection)
    examples = tuple((row.product_id, row.category_id, row.decided_by, bool(row.newer)) for row in former)
    replaced, newer = (int(former[0].replaced), int(former[0].replaced_newer)) if former else (0, 0)
    return Recorded(changed, agreed, replaced, newer, examples)


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

"""Take back the decisions of a page: each product has again what it had before, a person's decision or a run's answer.

All of it happens in the transaction of the caller, under the writers' lock. History stays whole: the decisions of the
page keep their rows, and what takes them back gets rows of its own, with the same page_id.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from sql.overrides import clear
from sql.publishing import answer_changes as changes
from sql.publishing import settling
from sql.publishing.positions import AFFECTED, prepare_affected
from sql.publishing.settling import CombineBy
from sql.publishing.staging import analyze, create_temporary, insert_rows
from sql.review.items import items_of
from sql.review.records import Written
from sql.schema.columns import key_text

# The first row of a page on a product is its decision; later ones take it back.
_DECIDED = sa.text("""
SELECT
    decision.product_id,
    decision.override_id,
    decision.came_by,
    decision.suggested_category_id,
    latest.override_id AS latest_id,
    latest.page_id AS latest_page_id,
    former.override_id AS former_id,
    former.action AS former_action
FROM (
    SELECT min(override_id) AS override_id
    FROM overrides
    WHERE page_id = :page_id
    GROUP BY product_id
) AS first
INNER JOIN overrides AS decision ON decision.override_id = first.override_id
INNER JOIN overrides AS latest
    ON
        latest.override_id = (
            SELECT max(later.override_id) FROM overrides AS later WHERE later.product_id = decision.product_id
        )
LEFT JOIN overrides AS former
    ON
        former.override_id = (
            SELECT max(earlier.override_id)
            FROM overrides AS earlier
            WHERE earlier.product_id = decision.product_id AND earlier.override_id < decision.override_id
        )
WHERE decision.decided_by = :decided_by AND decision.action <> 'clear'
ORDER BY decision.override_id
""")

# It is the former person's decision that stands again, made when and by whom it was made.
_RESTORE = sa.text("""
INSERT INTO overrides (
    product_id, action, category_id, decided_by, why, suggested_category_id, suggested_confidence, release_id,
    decided_at_utc, came_by, page_id
)
SELECT
    former.product_id,
    CASE WHEN former.category_id IS NULL THEN 'none' ELSE 'set' END,
    former.category_id,
    former.decided_by,
    former.why,
    former.suggested_category_id,
    former.suggested_confidence,
    former.release_id,
    former.decided_at_utc,
    restored.came_by,
    :page_id
FROM restored_decisions AS restored
INNER JOIN overrides AS former ON former.override_id = restored.former_id
ORDER BY former.product_id
""")

_PICTURES = sa.text("""
INSERT INTO override_pictures (override_id, image_sha256)
SELECT decision.override_id, picture.image_sha256
FROM restored_decisions AS restored
INNER JOIN overrides AS decision ON decision.product_id = restored.product_id AND decision.override_id > :last
INNER JOIN override_pictures AS picture ON picture.override_id = restored.former_id
""")

_DECISIONS = """
SELECT
    former.product_id,
    former.category_id,
    CASE WHEN restored.again THEN 'changed_picture' END AS review_reason
FROM restored_decisions AS restored
INNER JOIN overrides AS former ON former.override_id = restored.former_id
"""

_SUGGEST = sa.text("""
UPDATE product_categories
SET
    suggested_category_id = decision.suggested_category_id,
    suggested_confidence = decision.suggested_confidence,
    suggested_release_id = decision.release_id
FROM restored_decisions AS restored
INNER JOIN overrides AS decision ON decision.override_id = restored.override_id
WHERE restored.again AND product_categories.product_id = restored.product_id
""")

_COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "product_id": key_text(),
    "override_id": sa.BigInteger(),
    "former_id": sa.BigInteger(),
    "came_by": sa.Text(),
    "again": sa.Boolean(),
}


def taken_back(
    connection: Connection, page_id: str, decided_by: str, combine_by: CombineBy, moment: datetime
) -> Written:
    """Take back what a person decided on a page, as `sql.review.writing.take_back` describes it."""
    rows = connection.execute(_DECIDED, {"page_id": page_id, "decided_by": decided_by}).all()
    standing = [row for row in rows if row.latest_id == row.override_id]
    restored = [row for row in standing if row.former_action not in (None, "clear")]
    cleared = [row for row in standing if row.former_action in (None, "clear")]
    if restored:
        _restore(connection, restored, page_id, moment)
    for way in sorted({row.came_by for row in cleared}):
        told = {"decided_by": decided_by, "why": None, "moment": moment, "came_by": way, "page_id": page_id}
        clear(connection, [row.product_id for row in cleared if row.came_by == way], combine_by, told)
    overtaken = [row.product_id for row in rows if row.latest_page_id != page_id]
    return Written(
        decided=tuple(row.product_id for row in rows if row.latest_page_id == page_id),
        overtaken=tuple(items_of(connection, overtaken)),
    )


def _restore(connection: Connection, rows: Sequence[Row[Any]], page_id: str, moment: datetime) -> None:
    """Write the former decisions of people again; a suggestion that a page answered waits again."""
    create_temporary(connection, "restored_decisions", _COLUMNS)
    insert_rows(
        connection,
        "restored_decisions",
        _COLUMNS,
        [
            (row.product_id, row.override_id, row.former_id, row.came_by, row.suggested_category_id is not None)
            for row in rows
        ],
    )
    analyze(connection, "restored_decisions")
    last = connection.execute(sa.text("SELECT max(override_id) FROM overrides")).scalar_one()
    connection.execute(_RESTORE, {"page_id": page_id})
    connection.execute(_PICTURES, {"last": last})
    changes.prepare(connection)
    changes.add_decisions(connection, _DECISIONS, changing="stored.product_id IS NOT NULL")
    changes.apply(connection, moment)
    connection.execute(_SUGGEST)
    prepare_affected(connection)
    insert_rows(connection, AFFECTED, {"product_id": key_text()}, [(row.product_id,) for row in rows])
    settling.mark_presence(connection)

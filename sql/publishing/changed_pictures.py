"""Look again at what people decided on products that have another picture now.

A decision is about the pictures that the product had then, which `override_pictures` has. When a later answer of a run
also comes from another picture:

- that the product is none of the categories holds no longer: the run's answer replaces it, until the pictures are again
  those of the decision, or no run has answered the others (a night was taken back). Then the decision stands again;
- a category stands, but where the run is sure of another one, the product waits for a person again. The answer of the
  run is its suggestion, until the run is no longer sure of it, or the pictures are again those of the decision.

The answer of a run is the one that clearing the decision would give: of the release that predicted the newest picture,
of several the one with the highest rank. Decisions of earlier versions have no pictures and are left alone, and so are
products that have left.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeEngine

from sql.publishing import answer_changes as changes
from sql.publishing.positions import AFFECTED
from sql.publishing.staging import analyze, create_temporary
from sql.schema.columns import UtcDateTime, key_text
from sql.schema.products import product_categories

REASON = "changed_picture"
"""Reason for which these products wait for a person, one of `sql.records.REVIEW_REASONS`."""

OF_A_RUN = ("staged_predictions", "staged_rejections", "staged_image_changes")
"""Temporary tables that name every product of which a run says anything."""

OF_A_CHANGE = (AFFECTED,)
"""Temporary table of the products that a change without a run concerns."""

_DECIDED: dict[str, TypeEngine[Any]] = {
    "product_id": key_text(),
    "override_id": sa.BigInteger(),
    "is_none": sa.Boolean(),
    "is_pictured": sa.Boolean(),
    "stands": sa.Boolean(),
}
_RESTORED: dict[str, TypeEngine[Any]] = {
    name: product_categories.c[name].type for name in ("product_id", "image_count", "ingest_date", "ingest_no")
}

# People decide on few products, so that each named product is looked up in the index of their decisions alone.
_NAMED = "SELECT product_id FROM {table} WHERE product_id IN (SELECT product_id FROM overrides)"

_FIND = sa.text("""
INSERT INTO decided_products (product_id, override_id, is_none, is_pictured, stands)
SELECT
    latest.product_id,
    latest.override_id,
    decision.action = 'none',
    EXISTS (SELECT 1 FROM override_pictures AS picture WHERE picture.override_id = latest.override_id),
    coalesce(stored.decided, FALSE)
FROM (
    SELECT decision.product_id, max(decision.override_id) AS override_id
    FROM overrides AS decision
    WHERE decision.product_id IN (SELECT product_id FROM named_products)
    GROUP BY decision.product_id
) AS latest
INNER JOIN overrides AS decision ON decision.override_id = latest.override_id
LEFT JOIN product_categories AS stored ON stored.product_id = latest.product_id
WHERE
    (stored.decided OR decision.action = 'none')
    AND EXISTS (
        SELECT 1 FROM product_images AS image WHERE image.product_id = latest.product_id AND image.left_at IS NULL
    )
""")

# The newest current picture of each product that a run has answered, and by which release.
_ANSWERING = """
    SELECT
        decided.*,
        image.release_id,
        image.ingest_date,
        image.ingest_no,
        row_number() OVER (
            PARTITION BY decided.product_id
            ORDER BY
                image.ingest_date DESC,
                image.ingest_no DESC,
                CASE WHEN image.release_id = :forced THEN 0 ELSE 1 END,
                release_ranks.place DESC
        ) AS choice
    FROM decided_products AS decided
    INNER JOIN current_images AS image ON image.product_id = decided.product_id
    INNER JOIN release_ranks ON release_ranks.release_id = image.release_id
"""

_OF_ANOTHER_PICTURE = """
    EXISTS (
        SELECT 1
        FROM current_images AS image
        WHERE
            image.product_id = answering.product_id
            AND image.release_id = answering.release_id
            AND NOT EXISTS (
                SELECT 1
                FROM override_pictures AS picture
                WHERE picture.override_id = answering.override_id AND picture.image_sha256 = image.image_sha256
            )
    )
"""

_CHOOSE = sa.text(f"""
INSERT INTO settled_products (product_id, release_id, over_people)
SELECT answering.product_id, answering.release_id, answering.is_none
FROM ({_ANSWERING} WHERE decided.stands AND (decided.is_none OR decided.is_pictured)) AS answering
WHERE answering.choice = 1 AND {_OF_ANOTHER_PICTURE}
""")  # noqa: S608 - texts of our own

_LAPSED = sa.text("SELECT 1 FROM decided_products WHERE NOT stands LIMIT 1")

_RESTORE = sa.text(f"""
INSERT INTO restored_products (product_id, image_count, ingest_date, ingest_no)
SELECT
    lapsed.product_id,
    (
        SELECT count(*)
        FROM current_images AS image
        WHERE image.product_id = lapsed.product_id AND image.release_id = answering.release_id
    ),
    answering.ingest_date,
    answering.ingest_no
FROM decided_products AS lapsed
LEFT JOIN ({_ANSWERING} WHERE NOT decided.stands) AS answering
    ON answering.product_id = lapsed.product_id AND answering.choice = 1
WHERE NOT lapsed.stands AND NOT {_OF_ANOTHER_PICTURE}
""")  # noqa: S608 - texts of our own

_DROP_ANSWERS = sa.text("DELETE FROM answer_changes WHERE product_id IN (SELECT product_id FROM restored_products)")

_DECISIONS = """
SELECT
    product_id, CAST(NULL AS TEXT) AS category_id, CAST(NULL AS TEXT) AS review_reason, image_count, ingest_date,
    ingest_no
FROM restored_products
"""

_SURE = sa.text("""
INSERT INTO sure_answers (product_id, category_id, confidence, release_id)
SELECT product_id, category_id, confidence, release_id
FROM answer_changes
WHERE
    status = 'auto'
    AND product_id IN (
        SELECT settled.product_id
        FROM settled_products AS settled
        INNER JOIN decided_products AS decided ON decided.product_id = settled.product_id
        WHERE NOT decided.is_none
    )
""")

_CHANGED = sa.text(f"""
INSERT INTO reason_changes (
    product_id, category_id, was_left, old_review_reason, review_reason, suggested_category_id, suggested_confidence,
    suggested_release_id
)
SELECT
    stored.product_id,
    stored.category_id,
    stored.left_at IS NOT NULL,
    stored.review_reason,
    CASE WHEN sure.product_id IS NOT NULL THEN '{REASON}' END,
    sure.category_id,
    sure.confidence,
    sure.release_id
FROM decided_products AS decided
INNER JOIN product_categories AS stored ON stored.product_id = decided.product_id
LEFT JOIN sure_answers AS sure
    ON sure.product_id = decided.product_id AND sure.category_id IS DISTINCT FROM stored.category_id
WHERE
    NOT decided.is_none
    AND (
        sure.category_id IS DISTINCT FROM stored.suggested_category_id
        OR sure.confidence IS DISTINCT FROM stored.suggested_confidence
        OR sure.release_id IS DISTINCT FROM stored.suggested_release_id
    )
""")  # noqa: S608 - a reason of our own

_MARK = sa.text("""
UPDATE product_categories
SET
    review_reason = change.review_reason,
    suggested_category_id = change.suggested_category_id,
    suggested_confidence = change.suggested_confidence,
    suggested_release_id = change.suggested_release_id,
    updated_at_utc = :moment
FROM reason_changes AS change
WHERE change.product_id = product_categories.product_id
""").bindparams(sa.bindparam("moment", type_=UtcDateTime()))

_COUNTED = """
    SELECT category_id, 'manual' AS status, review_reason, CAST(NULL AS DOUBLE PRECISION) AS confidence, 1 AS sign
    FROM reason_changes
    WHERE NOT was_left AND review_reason IS DISTINCT FROM old_review_reason
    UNION ALL
    SELECT category_id, 'manual', old_review_reason, NULL, -1
    FROM reason_changes
    WHERE NOT was_left AND review_reason IS DISTINCT FROM old_review_reason
"""

_WAITING = sa.text(f"""
SELECT count(*)
FROM decided_products AS decided
INNER JOIN product_categories AS stored ON stored.product_id = decided.product_id
WHERE stored.review_reason = '{REASON}' AND stored.left_at IS NULL
""")  # noqa: S608 - a reason of our own


def find(connection: Connection, tables: Sequence[str]) -> None:
    """List the products that people decided on in the temporary table `decided_products`.

    These are the products on which a decision stands, and those that a person found to be none of the categories before
    an answer from another picture replaced it.

    Args:
        connection: In a transaction that holds the writers' lock, after positions were merged.
        tables: Temporary tables with the product_id of each product to list, `OF_A_RUN` or `OF_A_CHANGE`; none for
            an empty list.
    """
    create_temporary(connection, "decided_products", _DECIDED)
    if not tables or connection.execute(sa.text("SELECT 1 FROM overrides LIMIT 1")).first() is None:
        return
    create_temporary(connection, "named_products", {"product_id": key_text()})
    named = " UNION ".join(_NAMED.format(table=table) for table in tables)
    if connection.exec_driver_sql(f"INSERT INTO named_products (product_id) {named}").rowcount:
        analyze(connection, "named_products")
        connection.execute(_FIND)
        analyze(connection, "decided_products")


def restore(connection: Connection, forced: str = "") -> None:
    """Let replaced decisions that a product is none of the categories stand again, if no other picture has an answer.

    They take the place of the products' answers in `answer_changes`.

    Args:
        connection: After `find`, with the ranks of the releases in `release_ranks`, and the run's answers added.
        forced: As for `choose`.
    """
    if connection.execute(_LAPSED).first() is None:
        return
    create_temporary(connection, "restored_products", _RESTORED)
    if connection.execute(_RESTORE, {"forced": forced}).rowcount:
        connection.execute(_DROP_ANSWERS)
        changes.add_decisions(connection, _DECISIONS, changing="1 = 1", of_now=True)


def choose(connection: Connection, forced: str = "") -> None:
    """Add those of `decided_products` that have an answer from another picture to `settled_products`.

    Args:
        connection: After `find`, with the ranks of the releases in `release_ranks`.
        forced: Release whose answers win against those of every other one on equally new pictures; empty for none.
    """
    connection.execute(_CHOOSE, {"forced": forced})


def mark(connection: Connection, moment: datetime) -> int:
    """Write which of `decided_products` wait for a person, by the answers that `settle` added to `answer_changes`.

    Returns:
        Number of changed products.
    """
    if connection.execute(sa.text("SELECT 1 FROM decided_products LIMIT 1")).first() is None:
        return 0
    answer = {name: product_categories.c[name].type for name in ("product_id", "category_id", "confidence")}
    create_temporary(connection, "sure_answers", {**answer, "release_id": key_text()})
    connection.execute(_SURE)
    stored = {name: product_categories.c[name].type for name in ("product_id", "category_id")}
    names = ("review_reason", "suggested_category_id", "suggested_confidence", "suggested_release_id")
    news = {"old_review_reason": sa.Text(), **{name: product_categories.c[name].type for name in names}}
    create_temporary(connection, "reason_changes", {**stored, "was_left": sa.Boolean(), **news})
    changed = connection.execute(_CHANGED).rowcount
    if changed:
        connection.execute(_MARK, {"moment": moment})
        changes.add_to_totals(connection, _COUNTED)
    return changed


def count_waiting(connection: Connection) -> int:
    """Return how many of `decided_products` wait for a person because of another picture."""
    return int(connection.execute(_WAITING).scalar_one())

"""Decide which new answers replace the current ones, write them, and update the totals.

Runs and people use the same path: the temporary table `answer_changes` holds each product's new answer, its old answer,
and whether the new one replaces the old. The rows of `product_categories` and `category_totals` are computed from it.
All of it happens under the writers' lock, so that both tables agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeEngine

from sql.publishing.staging import create_temporary
from sql.schema.columns import UtcDateTime
from sql.schema.products import product_categories

_NEW = (
    "product_id",
    "category_id",
    "confidence",
    "status",
    "review_reason",
    "release_id",
    "image_count",
    "ingest_date",
    "ingest_no",
    "run_id",
    "decided",
)
_OLD = ("category_id", "confidence", "status", "review_reason", "decided")


@dataclass(frozen=True)
class Rule:
    """Rule which current answers new ones may replace: those on equally new images, unless a newer release gave them.

    Attributes:
        release_id: The release that answers.
        newer_releases: Releases whose answers on equally new images stay.
        anyone: Replace every answer, also those of people; used when a person clears a decision.
        again: Replace every answer of a run, also on newer images; used when images have left or moved.
    """

    release_id: str
    newer_releases: tuple[str, ...] = ()
    anyone: bool = False
    again: bool = False


_ADD = """
INSERT INTO answer_changes
SELECT
    answer.product_id,
    answer.category_id,
    answer.confidence,
    answer.status,
    answer.review_reason,
    :release_id,
    answer.image_count,
    answer.ingest_date,
    answer.ingest_no,
    answer.run_id,
    CAST(0 AS BOOLEAN),
    {stored},
    CASE WHEN {settled} THEN
        stored.product_id IS NULL
        OR :anyone
        OR (
            NOT stored.decided
            AND (
                :again
                OR (answer.ingest_date, answer.ingest_no) > (stored.ingest_date, stored.ingest_no)
                OR (
                    (answer.ingest_date, answer.ingest_no) = (stored.ingest_date, stored.ingest_no)
                    AND stored.release_id NOT IN :newer_releases
                )
            )
            AND (
                answer.category_id IS DISTINCT FROM stored.category_id
                OR answer.confidence IS DISTINCT FROM stored.confidence
                OR answer.status <> stored.status
                OR answer.review_reason IS DISTINCT FROM stored.review_reason
                OR stored.release_id <> :release_id
                OR answer.image_count <> stored.image_count
                OR (answer.ingest_date, answer.ingest_no) <> (stored.ingest_date, stored.ingest_no)
                OR answer.run_id <> stored.run_id
            )
        )
    END
FROM ({answers}) AS answer
LEFT JOIN product_categories AS stored ON stored.product_id = answer.product_id
ORDER BY answer.product_id
"""

_ADD_DECISIONS = """
INSERT INTO answer_changes
SELECT
    decision.product_id,
    decision.category_id,
    NULL,
    CASE WHEN decision.category_id IS NULL THEN 'unknown' ELSE 'manual' END,
    decision.review_reason,
    NULL,
    {images},
    NULL,
    CAST(1 AS BOOLEAN),
    {stored},
    CAST(1 AS BOOLEAN)
FROM ({decisions}) AS decision
LEFT JOIN product_categories AS stored ON stored.product_id = decision.product_id
WHERE {changing}
"""

_STORED = ", ".join([*(f"stored.{name}" for name in _OLD), "stored.left_at IS NOT NULL"])
_STORED_IMAGES = "coalesce(stored.image_count, 0), stored.ingest_date, stored.ingest_no"
_IMAGES_OF_NOW = "decision.image_count, decision.ingest_date, decision.ingest_no"

_UPDATE = sa.text("""
UPDATE product_categories
SET
    previous_category_id = CASE
        WHEN change.category_id IS DISTINCT FROM change.old_category_id THEN change.old_category_id
        ELSE product_categories.previous_category_id
    END,
    category_id = change.category_id,
    confidence = change.confidence,
    status = change.status,
    review_reason = change.review_reason,
    release_id = change.release_id,
    image_count = change.image_count,
    ingest_date = change.ingest_date,
    ingest_no = change.ingest_no,
    run_id = change.run_id,
    decided = change.decided,
    suggested_category_id = NULL,
    suggested_confidence = NULL,
    suggested_release_id = NULL,
    updated_at_utc = :moment
FROM answer_changes AS change
WHERE change.product_id = product_categories.product_id AND change.replaces AND change.old_status IS NOT NULL
""").bindparams(sa.bindparam("moment", type_=UtcDateTime()))

# `answer_changes` is in order of product_id; new rows are added to the primary key's index fastest in that order.
_INSERT = sa.text("""
INSERT INTO product_categories (
    product_id, category_id, confidence, status, review_reason, release_id, image_count, ingest_date, ingest_no, run_id,
    decided, updated_at_utc
)
SELECT
    product_id, category_id, confidence, status, review_reason, release_id, image_count, ingest_date, ingest_no, run_id,
    decided, :moment
FROM answer_changes
WHERE replaces AND old_status IS NULL
""").bindparams(sa.bindparam("moment", type_=UtcDateTime()))

_TOTALS = """
INSERT INTO category_totals AS total (
    category_id, status, review_reason, product_count, confidence_count, confidence_sum_e9
)
SELECT
    category_id,
    status,
    coalesce(review_reason, ''),
    sum(sign),
    sum(CASE WHEN confidence IS NULL THEN 0 ELSE sign END),
    sum(sign * coalesce(CAST(round(confidence * 1000000000) AS BIGINT), 0))
FROM ({signed}) AS signed
GROUP BY category_id, status, coalesce(review_reason, '')
ON CONFLICT (category_id, status, review_reason) DO UPDATE SET
    product_count = total.product_count + excluded.product_count,
    confidence_count = total.confidence_count + excluded.confidence_count,
    confidence_sum_e9 = total.confidence_sum_e9 + excluded.confidence_sum_e9
"""

# The answers of products that have left are in no total.
_REPLACED = """
    SELECT coalesce(category_id, '') AS category_id, status, review_reason, confidence, 1 AS sign
    FROM answer_changes
    WHERE replaces AND NOT old_left
    UNION ALL
    SELECT coalesce(old_category_id, ''), old_status, old_review_reason, old_confidence, -1
    FROM answer_changes
    WHERE replaces AND old_status IS NOT NULL AND NOT old_left
"""

_REMOVED = """
    SELECT coalesce(category_id, '') AS category_id, status, review_reason, confidence, -1 AS sign
    FROM product_categories
    WHERE left_at IS NULL AND product_id IN (SELECT product_id FROM {products})
"""

_EMPTY = sa.text("DELETE FROM category_totals WHERE product_count = 0")


def prepare(connection: Connection) -> None:
    """Create an empty temporary table `answer_changes`."""
    types: dict[str, TypeEngine[Any]] = {name: product_categories.c[name].type for name in _NEW}
    types.update({f"old_{name}": product_categories.c[name].type for name in _OLD})
    create_temporary(connection, "answer_changes", {**types, "old_left": sa.Boolean(), "replaces": sa.Boolean()})


def add(connection: Connection, answers: str, rule: Rule, *, settled: str) -> int:
    """Add new answers to `answer_changes` and decide which of them replace the current ones.

    A current answer stays if a person gave it, if its images are newer, or if they are equally new and its release is
    one of `rule.newer_releases`.

    Args:
        connection: In a transaction that holds the writers' lock.
        answers: SELECT of product_id, category_id, confidence, status, review_reason, image_count, ingest_date,
            ingest_no and run_id.
        rule: Which current answers may be replaced.
        settled: SQL condition on `answer`; for other rows `replaces` stays NULL, to be decided later.

    Returns:
        Number of rows added.
    """
    statement = sa.text(_ADD.format(answers=answers, settled=settled, stored=_STORED)).bindparams(
        sa.bindparam("newer_releases", type_=sa.Text(), expanding=True),
        sa.bindparam("anyone", type_=sa.Boolean()),
        sa.bindparam("again", type_=sa.Boolean()),
    )
    values = {
        "release_id": rule.release_id,
        "newer_releases": list(rule.newer_releases),
        "anyone": rule.anyone,
        "again": rule.again,
    }
    return connection.execute(statement, values).rowcount


def add_decisions(connection: Connection, decisions: str, *, changing: str, of_now: bool = False) -> None:
    """Add people's decisions to `answer_changes`, each as the answer of its product.

    Args:
        connection: In a transaction that holds the writers' lock.
        decisions: SELECT of product_id, category_id (NULL for none of the categories) and review_reason.
        changing: SQL condition on `decision` and `stored`, the answer until now, that a decision changes the answer.
        of_now: Whether `decisions` also has image_count, ingest_date and ingest_no; otherwise they stay as they are.
    """
    images = _IMAGES_OF_NOW if of_now else _STORED_IMAGES
    statement = _ADD_DECISIONS.format(decisions=decisions, changing=changing, images=images, stored=_STORED)
    connection.exec_driver_sql(statement)


def remove(connection: Connection, products: str) -> None:
    """Delete the current answers of the products in a temporary table, and take them out of the totals."""
    add_to_totals(connection, _REMOVED.format(products=products))
    connection.exec_driver_sql(
        f"DELETE FROM product_categories WHERE product_id IN (SELECT product_id FROM {products})"  # noqa: S608 - ours
    )


def add_to_totals(connection: Connection, signed: str) -> None:
    """Add answers to the totals, or take them out.

    Args:
        connection: In a transaction that holds the writers' lock.
        signed: SELECT of category_id ('' for none), status, review_reason, confidence and `sign`, 1 or -1.
    """
    connection.exec_driver_sql(_TOTALS.format(signed=signed))
    connection.execute(_EMPTY)


def apply(connection: Connection, moment: datetime) -> int:
    """Write the replacing rows of `answer_changes` to the answers and totals. Return the number of changed answers."""
    changed = connection.execute(_UPDATE, {"moment": moment}).rowcount
    changed += connection.execute(_INSERT, {"moment": moment}).rowcount
    if changed:
        add_to_totals(connection, _REPLACED)
    return changed

"""What waits of one run's answers, of status review."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.review.records import Filter
from sql.review.selections import REVIEW, below, in_part, parts_of, together
from sql.review.totals import Counts, count_waiting

COUNTED = 100_000
"""Most products of a run that are counted; of a run with more, of each category only the first are."""

SORTED = 5_000
"""Most products of a run and a category that are sorted; of more, the category is read in order of confidence."""

Ranked = tuple[str, float | None]
"""(product_id, confidence)."""

_OF_RUN = f"{REVIEW.condition} AND run_id = :run_id"


def count_of_run(connection: Connection, which: Filter) -> Counts:
    """Count the products of a filter with a run by category.

    If more than `COUNTED` products of the run wait, only the first of each category are counted, `COUNTED` in all.
    """
    within = f" AND {below('category_id')}" if which.category_id else ""
    told: dict[str, Any] = {"run_id": which.run_id, "review_reason": which.review_reason, "most": COUNTED + 1}
    told |= {"below": which.category_id} if within else {}
    statement = f"""
        SELECT
            category_id,
            count(*) AS product_count,
            sum(CASE WHEN :review_reason IN ('', review_reason) THEN 1 ELSE 0 END) AS with_reason
        FROM (
            SELECT category_id, {_read_reason(which)} FROM product_categories WHERE {_OF_RUN}{within} LIMIT :most
        ) AS read_first
        GROUP BY category_id
    """  # noqa: S608 - texts of our own
    rows = connection.execute(sa.text(statement), told).all()
    if sum(row.product_count for row in rows) > COUNTED:
        return _count_first(connection, which, told)
    return {row.category_id: int(row.with_reason) for row in rows if row.with_reason}


def _count_first(connection: Connection, which: Filter, told: dict[str, Any]) -> Counts:
    names = [name for name in count_waiting(connection, which) if name is not None]
    statement = f"""
        SELECT totals.category_id, (
            SELECT sum(CASE WHEN :review_reason IN ('', first_rows.review_reason) THEN 1 ELSE 0 END)
            FROM (
                SELECT {_read_reason(which)}
                FROM product_categories AS one
                WHERE {_OF_RUN} AND one.category_id = totals.category_id
                LIMIT :most
            ) AS first_rows
        ) AS product_count
        FROM (
            SELECT DISTINCT category_id
            FROM category_totals
            WHERE status = 'review' {f"AND {below('category_id')}" if which.category_id else ""}
        ) AS totals
    """  # noqa: S608 - texts of our own
    rows = connection.execute(sa.text(statement), {**told, "most": max(1, COUNTED // max(1, len(names)))})
    return {row.category_id: int(row.product_count) for row in rows if row.product_count}


def first_of_run(
    connection: Connection, which: Filter, category_id: str | None, *, surest: bool, most: int
) -> list[Ranked]:
    """Select the first products of a filter with a run and of a category, in no order.

    Args:
        connection: In a transaction.
        which: The filter.
        category_id: The suggested category; None for products without one.
        surest: Whether the highest confidence comes first.
        most: Number of products that are needed; more may be returned.
    """
    if category_id is None:
        return []
    told: dict[str, Any] = {"run_id": which.run_id, "category_id": category_id}
    of_category = f"FROM product_categories WHERE {_OF_RUN} AND category_id = :category_id"
    # The index of runs has no confidence, so these few are all read and sorted.
    few = f"SELECT product_id, confidence, review_reason {of_category} LIMIT {SORTED + 1}"
    rows = connection.execute(sa.text(few), told).all()
    if len(rows) <= SORTED:
        reasons = {which.review_reason} if which.review_reason else {row.review_reason for row in rows}
        return [(row.product_id, row.confidence) for row in rows if row.review_reason in reasons]
    # The expression keeps the engines from the index of runs, of whose products they would have to sort very many.
    walks = [
        f"SELECT product_id, confidence FROM product_categories "  # noqa: S608 - texts of our own
        f"WHERE {in_part(part)} AND run_id || '' = :run_id "
        f"ORDER BY confidence {'DESC' if surest else 'ASC'}, product_id LIMIT :most"
        for part in parts_of(which, category_id)
    ]
    return [
        (row.product_id, row.confidence) for row in connection.execute(sa.text(together(walks)), {**told, "most": most})
    ]


def _read_reason(which: Filter) -> str:
    """Return the SQL of the reason; without one in the filter the products need not be read, only the index."""
    return "review_reason" if which.review_reason else "'' AS review_reason"

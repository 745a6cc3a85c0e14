"""What waits of one run's answers, of status review."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.review.records import Filter
from sql.review.selections import REVIEW, below, in_part, together
from sql.review.totals import Counts, count_waiting, parts_of

COUNTED = 100_000
"""Most products of a run that are counted; of a run with more, of each category only the first are."""

READ = 20_000
"""The same with a reason in the filter, for which the products are read beside the index."""

SORTED = 10_000
"""Most products of a run and a category that are sorted; of more, the category is read in order of confidence."""

Ranked = tuple[str, float | None]
"""(product_id, confidence)."""

_OF_RUN = f"{REVIEW.condition} AND run_id = :run_id"


def count_of_run(connection: Connection, which: Filter) -> Counts:
    """Count the products of a filter with a run by category.

    If more than `COUNTED` products of the run wait, only the first of each category are counted, `COUNTED` in all.
    """
    within = f" AND {below('category_id')}" if which.category_id else ""
    told: dict[str, Any] = {"run_id": which.run_id, **({"below": which.category_id} if within else {})}
    most = READ if which.review_reason else COUNTED
    statement = f"""
        SELECT category_id, count(*) AS product_count
        FROM (SELECT category_id FROM product_categories WHERE {_OF_RUN}{within} LIMIT :most) AS read_first
        GROUP BY category_id
    """  # noqa: S608 - texts of our own
    rows = connection.execute(sa.text(statement), {**told, "most": most + 1})
    counts: Counts = {row.category_id: int(row.product_count) for row in rows}
    if sum(counts.values()) <= most and not which.review_reason:
        return counts
    of_each = most if sum(counts.values()) <= most else most // max(1, len(count_waiting(connection, which)))
    return _count_first(connection, which, {**told, "most": max(1, of_each)})


def _count_first(connection: Connection, which: Filter, told: dict[str, Any]) -> Counts:
    """Count of each category its first `:most` products, of these those of the filter's reason."""
    reason, counted = "'' AS review_reason", "count(*)"
    if which.review_reason:
        reason, counted = "review_reason", "sum(CASE WHEN first_rows.review_reason = :review_reason THEN 1 ELSE 0 END)"
        told = {**told, "review_reason": which.review_reason}
    statement = f"""
        SELECT totals.category_id, (
            SELECT {counted}
            FROM (
                SELECT {reason}
                FROM product_categories AS one
                WHERE {_OF_RUN} AND one.category_id = totals.category_id
                LIMIT :most
            ) AS first_rows
        ) AS product_count
        FROM (
            SELECT DISTINCT category_id
            FROM category_totals
            WHERE status = 'review'{f" AND {below('category_id')}" if which.category_id else ""}
        ) AS totals
    """  # noqa: S608 - texts of our own
    rows = connection.execute(sa.text(statement), told)
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
    few = f"SELECT count(*) FROM (SELECT 1 {of_category} LIMIT {SORTED + 1}) AS counted"  # noqa: S608 - ours
    if connection.execute(sa.text(few), told).scalar_one() <= SORTED:
        # The index of runs has no confidence, so these few are all read and sorted.
        rows = connection.execute(sa.text(f"SELECT product_id, confidence, review_reason {of_category}"), told)
        return [
            (row.product_id, row.confidence)
            for row in rows
            if not which.review_reason or row.review_reason == which.review_reason
        ]
    # The expression keeps the engines from the index of runs, of whose products they would have to sort very many.
    walks = [
        f"SELECT product_id, confidence FROM product_categories "  # noqa: S608 - texts of our own
        f"WHERE {in_part(part)} AND run_id || '' = :run_id "
        f"ORDER BY confidence {'DESC' if surest else 'ASC'}, product_id LIMIT :most"
        for part in parts_of(connection, which, category_id)
    ]
    if not walks:
        return []
    rows = connection.execute(sa.text(together(walks)), {**told, "most": most})
    return [(row.product_id, row.confidence) for row in rows]

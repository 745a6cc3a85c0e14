"""How many products wait by suggested category, from the running totals, without reading the products."""

from __future__ import annotations

from collections import Counter

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.review.records import Filter
from sql.review.selections import AUTO, CHANGED, CHANGED_PICTURE, REVIEW, UNKNOWN, Part, below, groups_of

Counts = dict[str | None, int]
"""Maps a suggested category, or None, to a number of products; categories without one are left out."""

FROM_TOTALS = """
FROM category_totals
WHERE status = :status AND (:review_reason = '' OR review_reason = :review_reason)
"""
"""The running totals of the parts of a filter."""

FROM_CHANGED = f"""
FROM product_categories
WHERE {CHANGED_PICTURE.condition}
"""
"""The products of a filter that wait because their picture changed; they are in no total."""

_TOTALS = f"""
SELECT nullif(category_id, '') AS category_id, nullif(review_reason, '') AS review_reason, product_count {FROM_TOTALS}
"""

_CHANGED = f"""
SELECT suggested_category_id AS category_id, count(*) AS product_count {FROM_CHANGED}
"""

# Where people decided that a product is none of the categories, the totals have it with those that wait without one.
_WITHOUT_CATEGORY = f"""
SELECT review_reason, count(*) AS product_count
FROM product_categories
WHERE {UNKNOWN.condition} AND category_id IS NULL AND {{reason}}
GROUP BY review_reason
"""  # noqa: S608 - texts of our own


def parts_of(connection: Connection, which: Filter, category_id: str | None) -> list[Part]:
    """Return the parts of a category from which a filter selects.

    Only those that have products: PostgreSQL would look for others without the index that shows that there are none.
    """
    told = {
        "category_id": category_id or "",
        "status": which.status,
        "review_reason": which.review_reason,
    }
    rows = connection.execute(sa.text(f"{_TOTALS} AND category_id = :category_id"), told)
    reasons = [row.review_reason for row in rows]
    return [
        Part(group, category_id, reason)
        for group in groups_of(which)
        for reason in ([None] if group is CHANGED_PICTURE else reasons)
    ]


def count_waiting(connection: Connection, which: Filter) -> Counts:
    """Count the products of a filter by category, without regard to its run and title."""
    if which.status == "unknown":
        return _count_unknown(connection, which)
    within = f" AND {below('category_id')}" if which.category_id else ""
    told = {"status": which.status, "review_reason": which.review_reason}
    told |= {"below": which.category_id} if which.category_id else {}
    groups = groups_of(which)
    counted = f"SELECT category_id, sum(product_count) AS product_count FROM ({_TOTALS}{within}) AS counted"  # noqa: S608
    counts: Counts = {}
    if REVIEW in groups or AUTO in groups:
        counts = {
            row.category_id: int(row.product_count)
            for row in connection.execute(sa.text(f"{counted} GROUP BY category_id"), told)
        }
    if CHANGED_PICTURE in groups:
        for part, count in _changed(connection, which):
            counts[part.category_id] = counts.get(part.category_id, 0) + count
    return counts


def _changed(connection: Connection, which: Filter) -> list[tuple[Part, int]]:
    within = f" AND {below('suggested_category_id')}" if which.category_id else ""
    told = {"below": which.category_id} if which.category_id else {}
    statement = sa.text(f"{_CHANGED}{within} GROUP BY suggested_category_id")
    return [
        (Part(CHANGED_PICTURE, row.category_id), int(row.product_count)) for row in connection.execute(statement, told)
    ]


def _count_unknown(connection: Connection, which: Filter) -> Counts:
    """Count without the products on which people decided that they are none of the categories."""
    within = f" AND {below('category_id')}" if which.category_id else ""
    told = {"status": which.status, "review_reason": which.review_reason, "below": which.category_id}
    counts: Counter[str | None] = Counter()
    for row in connection.execute(sa.text(_TOTALS + within), told):
        if row.category_id is None and row.review_reason in (None, CHANGED):
            reason = "review_reason IS NULL" if row.review_reason is None else f"review_reason = '{CHANGED}'"
            without = connection.execute(sa.text(_WITHOUT_CATEGORY.format(reason=reason)))
            counts[None] += sum(int(each.product_count) for each in without)
        else:
            counts[row.category_id] += int(row.product_count)
    return {name: count for name, count in counts.items() if count}

"""How many products wait by suggested category, from the running totals, without reading the products."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.review.records import Filter
from sql.review.selections import AUTO, CHANGED, CHANGED_PICTURE, REVIEW, UNKNOWN, Part, below, groups_of

Counts = dict[str | None, int]
"""Maps a suggested category, or None, to a number of products; categories without one are left out."""

_TOTALS = """
SELECT nullif(category_id, '') AS category_id, nullif(review_reason, '') AS review_reason, product_count
FROM category_totals
WHERE status = :status AND (:review_reason = '' OR review_reason = :review_reason)
"""

_CHANGED = f"""
SELECT suggested_category_id AS category_id, count(*) AS product_count
FROM product_categories
WHERE {CHANGED_PICTURE.condition}
"""  # noqa: S608 - texts of our own

# Where people decided that a product is none of the categories, the totals have it with those that wait without one.
_WITHOUT_CATEGORY = f"""
SELECT review_reason, count(*) AS product_count
FROM product_categories
WHERE {UNKNOWN.condition} AND category_id IS NULL AND {{reason}}
GROUP BY review_reason
"""  # noqa: S608 - texts of our own


def count_parts(connection: Connection, which: Filter) -> list[tuple[Part, int]]:
    """Count the products of each part of a filter, without regard to its run and title; no part is empty."""
    groups = groups_of(which)
    told = {"below": which.category_id} if which.category_id else {}
    counted: list[tuple[Part, int]] = []
    if CHANGED_PICTURE in groups:
        within = f" AND {below('suggested_category_id')}" if told else ""
        statement = sa.text(f"{_CHANGED}{within} GROUP BY suggested_category_id")
        for row in connection.execute(statement, told):
            counted.append((Part(CHANGED_PICTURE, row.category_id), int(row.product_count)))
    within = f" AND {below('category_id')}" if told else ""
    group = {"review": REVIEW, "unknown": UNKNOWN, "auto": AUTO}[which.status]
    if group in groups:
        values = {"status": which.status, "review_reason": which.review_reason, **told}
        for row in connection.execute(sa.text(_TOTALS + within), values):
            counted.append((Part(group, row.category_id, row.review_reason), int(row.product_count)))
    return _undecided(connection, counted) if group is UNKNOWN else counted


def count_waiting(connection: Connection, which: Filter) -> Counts:
    """Count the products of a filter by category, without regard to its run and title."""
    return by_category(count_parts(connection, which))


def by_category(counted: list[tuple[Part, int]]) -> Counts:
    """Sum the numbers of products of parts by category."""
    counts: Counts = {}
    for part, count in counted:
        counts[part.category_id] = counts.get(part.category_id, 0) + count
    return counts


def _undecided(connection: Connection, counted: list[tuple[Part, int]]) -> list[tuple[Part, int]]:
    """Count without the products on which people decided that they are none of the categories."""
    found: list[tuple[Part, int]] = []
    for part, count in counted:
        if part.category_id is not None or part.review_reason not in (None, CHANGED):
            found.append((part, count))
            continue
        reason = "review_reason IS NULL" if part.review_reason is None else f"review_reason = '{CHANGED}'"
        for row in connection.execute(sa.text(_WITHOUT_CATEGORY.format(reason=reason))):
            found.append((part, int(row.product_count)))
    return found

"""What waits with some words in its title, or of some run: both are searched among the first products of a filter.

Of all categories of the filter the same number of products is searched, the surest of each, so that a large category
does not hide the others; what a small category does not need goes to the larger ones.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.review.by_run import Ranked
from sql.review.items import titles_of
from sql.review.records import FIRST_PRODUCTS, Filter
from sql.review.selections import Group, Part, first_of, in_part
from sql.review.totals import Counts, by_category

_Row = tuple[str | None, str, float | None, str | None]
"""(category_id, product_id, confidence, run_id)."""


def count_among_first(connection: Connection, which: Filter, counted: list[tuple[Part, int]]) -> Counts:
    """Count by category the products of a filter that have the words of its title, and its run.

    Args:
        connection: In a transaction.
        which: The filter.
        counted: Number of products of each part of the filter, whatever their title and run.
    """
    return dict(Counter(row[0] for row in _searched(connection, which, counted, quotas(by_category(counted)))))


def select_among_first(
    connection: Connection, which: Filter, category_id: str | None, counted: list[tuple[Part, int]]
) -> list[Ranked]:
    """Select the products of a category that have the words of a filter's title, and its run, in no order.

    Args:
        connection: In a transaction.
        which: The filter.
        category_id: The suggested category; None for products without one.
        counted: As for `count_among_first`.
    """
    shares = quotas(by_category(counted))
    own = [(part, count) for part, count in counted if part.category_id == category_id]
    return [(name, score) for _, name, score, _ in _searched(connection, which, own, shares)]


def quotas(counts: Counts, most: int = FIRST_PRODUCTS) -> Counts:
    """Share a number of products among categories: all of a small category, the same number of each larger one."""
    shares: Counts = {}
    left = most
    ordered = sorted(counts.items(), key=lambda each: (each[1], each[0] or ""))
    for place, (category_id, count) in enumerate(ordered):
        shares[category_id] = min(count, left // (len(ordered) - place))
        left -= shares[category_id]
    return shares


def _searched(
    connection: Connection, which: Filter, counted: list[tuple[Part, int]], shares: Mapping[str | None, int]
) -> list[_Row]:
    by_name: dict[str | None, list[_Row]] = defaultdict(list)
    for row in _first(connection, {part: min(count, shares[part.category_id]) for part, count in counted}):
        by_name[row[0]].append(row)
    first = [
        row
        for category_id, rows in by_name.items()
        for row in sorted(rows, key=lambda row: (row[2] is None, -(row[2] or 0.0), row[1]))[: shares[category_id]]
    ]
    if which.run_id:
        first = [row for row in first if row[3] == which.run_id]
    words = which.title.casefold().split()
    if not words:
        return first
    titles = titles_of(connection, (row[1] for row in first))
    matching = {name for name, (title, _) in titles.items() if all(word in title.casefold() for word in words)}
    return [row for row in first if row[1] in matching]


def _first(connection: Connection, wanted: Mapping[Part, int]) -> Iterable[_Row]:
    """Yield the first products of many parts, each as many as wanted, with one statement for parts of the same form."""
    forms: dict[tuple[Group, bool, bool], list[tuple[Part, int]]] = defaultdict(list)
    for part, most in wanted.items():
        if most:
            forms[part.group, part.category_id is None, part.review_reason is None].append((part, most))
    for (group, *_), parts in forms.items():
        if connection.dialect.name == "postgresql":
            yield from _laterally(connection, group, parts)
        else:
            yield from _one_by_one(connection, group, parts)


def _laterally(connection: Connection, group: Group, parts: list[tuple[Part, int]]) -> Iterable[_Row]:
    condition = in_part(parts[0][0], category="wanted.category_id", reason="wanted.review_reason")
    statement = f"""
        SELECT wanted.category_id, first_rows.product_id, first_rows.confidence, first_rows.run_id
        FROM json_to_recordset(CAST(:wanted AS JSON))
            AS wanted (category_id TEXT COLLATE "C", review_reason TEXT, most INTEGER)
        CROSS JOIN LATERAL ({first_of(group, condition, most="wanted.most")}) AS first_rows
    """  # noqa: S608 - texts of our own
    rows = [
        {"category_id": part.category_id, "review_reason": part.review_reason, "most": most} for part, most in parts
    ]
    for row in connection.execute(sa.text(statement), {"wanted": json.dumps(rows, ensure_ascii=False)}):
        yield row.category_id, row.product_id, row.confidence, row.run_id


def _one_by_one(connection: Connection, group: Group, parts: list[tuple[Part, int]]) -> Iterable[_Row]:
    # SQLite has no LATERAL; called without SQLAlchemy a statement takes it ten microseconds.
    driver: Any = connection.connection.driver_connection
    statement = first_of(group, in_part(parts[0][0], reason=":review_reason"))
    for part, most in parts:
        told = {"category_id": part.category_id, "review_reason": part.review_reason, "most": most}
        for product_id, confidence, run_id in driver.execute(statement, told):
            yield part.category_id, product_id, confidence, run_id

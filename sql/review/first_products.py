"""What waits with some words in its title, or of some run: both are searched among the first products of a filter.

Of each part of the filter, that is of each category and reason, the same number of products is searched, the least
sure ones, so that a large part does not hide the others; what a small part does not need goes to the larger ones.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.review.by_run import Ranked
from sql.review.records import FIRST_PRODUCTS, Filter
from sql.review.selections import CHANGED_PICTURE, Group, Part, below, groups_of, in_part, some_of
from sql.review.totals import FROM_CHANGED, FROM_TOTALS, Counts

_Row = tuple[str | None, str, float | None]
"""(category_id, product_id, confidence)."""

_ESCAPED, _ESCAPE = re.compile("[%_!]"), r"!\g<0>"


def count_among_first(connection: Connection, which: Filter) -> Counts:
    """Count by category the products of a filter that have the words of its title, and its run.

    Args:
        connection: In a transaction.
        which: The filter.
    """
    return dict(Counter(row[0] for row in _searched(connection, which, (True, False), "")))


def select_among_first(connection: Connection, which: Filter, category_id: str | None) -> list[Ranked]:
    """Select the products of a category that have the words of a filter's title, and its run, in no order.

    Args:
        connection: In a transaction.
        which: The filter.
        category_id: The suggested category; None for products without one.
    """
    rows = _searched(connection, which, (category_id is not None,), category_id or "")
    return [(row[1], row[2]) for row in rows]


def largest_share(sizes: Mapping[int, int], most: int = FIRST_PRODUCTS) -> int:
    """Return how many products of each part are searched, so that at least `most` are searched in all, if there are.

    Args:
        sizes: Maps numbers of products to how many parts have so many.
        most: Number of products. More are searched by fewer than there are parts, since all parts get the same number.
    """
    left, parts = most, sum(sizes.values())
    for size, count in sorted(sizes.items()):
        if size * parts >= left:
            return -(-left // parts)  # rounded up
        left -= size * count
        parts -= count
    return most


def _searched(connection: Connection, which: Filter, with_category: Iterable[bool], category_id: str) -> list[_Row]:
    """Select the first products of parts that have the filter's title and run.

    Args:
        connection: In a transaction.
        which: The filter.
        with_category: Whether parts with a category are searched, or those without, or both.
        category_id: The only category; empty for all.
    """
    words = which.title.casefold().split()
    maybe, searched = _maybe(words, connection.dialect.name) if words else ("", {})
    named = {"status": which.status, "review_reason": which.review_reason, "below": which.category_id}
    sizes = _sizes(connection, which, named)
    most = largest_share(sizes)
    told = {**searched, **named, "run_id": which.run_id, "category_id": category_id, "most": most}
    searching = _with_lateral if connection.dialect.name == "postgresql" else _with_subquery
    found: dict[_Row, None] = {}  # a product has a title for each of its images
    for group, has_category in product(groups_of(which), with_category):
        for has_reason in (True, False) if group.by_reason else (False,):
            wanted = _parts(group, which, has_category=has_category, has_reason=has_reason, one=bool(category_id))
            part = Part(group, "" if has_category else None, "" if has_reason else None)
            statement = sa.text(searching(part, wanted, maybe, of_run=bool(which.run_id)))
            for *row, title in connection.execute(statement, told):
                if not words or _has(title, words):
                    found[tuple(row)] = None
    return list(found)


def _sizes(connection: Connection, which: Filter, told: Mapping[str, Any]) -> Counter[int]:
    """Count the parts of a filter by their number of products, whatever their title and run."""
    sizes: Counter[int] = Counter()
    for group in groups_of(which):
        counted = "product_count AS size" + FROM_TOTALS
        grouped = ""
        if group is CHANGED_PICTURE:
            counted, grouped = "count(*) AS size" + FROM_CHANGED, f"GROUP BY {group.category}"
        within = f"AND {below(group.category)}" if which.category_id else ""
        statement = f"SELECT size, count(*) FROM (SELECT {counted} {within} {grouped}) AS part GROUP BY size"  # noqa: S608
        sizes.update({int(size): int(count) for size, count in connection.execute(sa.text(statement), told)})
    return sizes


def _parts(group: Group, which: Filter, *, has_category: bool, has_reason: bool, one: bool) -> str:
    """Return a SELECT of category and reason of the parts of a group.

    Args:
        group: The group.
        which: The filter.
        has_category: Whether they have a category.
        has_reason: Whether they have a reason, where the group is by reason.
        one: Whether only those of the category `:category_id`.
    """
    if group is CHANGED_PICTURE:
        null = "IS NOT NULL" if has_category else "IS NULL"
        parts = f"SELECT DISTINCT {group.category} AS category, '' AS reason {FROM_CHANGED} AND {group.category} {null}"
    elif group.by_reason:
        equal = "<>" if has_reason else "="
        parts = f"SELECT category_id AS category, review_reason AS reason {FROM_TOTALS} AND review_reason {equal} ''"
    else:
        parts = f"SELECT DISTINCT category_id AS category, '' AS reason {FROM_TOTALS}"
    if group is not CHANGED_PICTURE:
        parts += f" AND category_id {'<>' if has_category else '='} ''"
    if which.category_id:
        parts += f" AND {below(group.category)}"
    return f"{parts} AND {group.category} = :category_id" if one else parts


def _with_lateral(part: Part, wanted: str, maybe: str, *, of_run: bool) -> str:
    """Return PostgreSQL's statement; OFFSET 0 keeps the planner from reading whole tables for the few rows."""
    first = some_of(part.group, in_part(part, category="wanted.category", reason="wanted.reason"), surest=False)
    answers = """
        CROSS JOIN LATERAL (
            SELECT FROM product_categories AS answer
            WHERE answer.product_id = first.product_id AND answer.run_id = :run_id OFFSET 0
        ) AS answered
    """
    titles = f"""
        CROSS JOIN LATERAL (
            SELECT title FROM products WHERE products.product_id = first.product_id AND ({maybe}) OFFSET 0
        ) AS titled
    """  # noqa: S608 - texts of our own
    return f"""
        SELECT nullif(wanted.category, ''), first.product_id, first.confidence, {"titled.title" if maybe else "NULL"}
        FROM ({wanted}) AS wanted
        CROSS JOIN LATERAL ({first}) AS first
        {answers if of_run else ""}
        {titles if maybe else ""}
    """  # noqa: S608 - texts of our own


def _with_subquery(part: Part, wanted: str, maybe: str, *, of_run: bool) -> str:
    """Return SQLite's statement.

    SQLite has no LATERAL. It reads the tables of a CROSS JOIN in their order, and the fewest answers after the titles.
    With a plus before it, the run is compared and no index is made for it.
    """
    first = some_of(part.group, in_part(part, category="wanted.category", reason="wanted.reason"), surest=False)
    title = "products.title" if maybe else "NULL"
    return f"""
        SELECT nullif(wanted.category, ''), answer.product_id, answer.{part.group.confidence}, {title}
        FROM ({wanted}) AS wanted
        {"CROSS JOIN products" if maybe else ""}
        CROSS JOIN product_categories AS answer
        WHERE {"products" if maybe else "answer"}.product_id IN (SELECT product_id FROM ({first}))
        {f"AND ({maybe}) AND answer.product_id = products.product_id" if maybe else ""}
        {"AND +answer.run_id = :run_id" if of_run else ""}
    """  # noqa: S608 - texts of our own


def _has(title: str, words: Iterable[str]) -> bool:
    folded = title.casefold()
    return all(word in folded for word in words)


def _maybe(words: list[str], dialect: str) -> tuple[str, dict[str, str]]:
    """Return the SQL condition of titles that may have all words, and its values, so that few titles are read.

    Databases ignore the case of ASCII letters alike. Titles with any other character are read and compared by Python,
    which knows that `STRASSE` and `Straße` are the same.

    Args:
        words: Words of a filter, casefolded.
        dialect: Name of SQLAlchemy's dialect.
    """
    sqlite = dialect == "sqlite"
    other = "title GLOB '*[^ -~]*'" if sqlite else "title ~ '[^ -~]'"
    if not all(word.isascii() for word in words):
        return other, {}
    told = {f"word_{number}": f"%{_ESCAPED.sub(_ESCAPE, word)}%" for number, word in enumerate(words)}
    like = " AND ".join(f"title {'LIKE' if sqlite else 'ILIKE'} :{name} ESCAPE '!'" for name in told)
    return f"({like}) OR {other}", told

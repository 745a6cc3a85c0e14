"""What waits with some words in its title, or of some run: both are searched among the first products of a filter.

Of each part of the filter, that is of each category and reason, the same number of products is searched, the least
sure ones, so that a large part does not hide the others; what a small part does not need goes to the larger ones.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.lists import list_value, with_lists
from sql.review.by_run import Ranked
from sql.review.records import FIRST_PRODUCTS, Filter
from sql.review.selections import Group, Part, in_part, some_of
from sql.review.totals import Counts

_Row = tuple[str | None, str, float | None]
"""(category_id, product_id, confidence)."""

_TITLES = "SELECT product_id, title FROM products WHERE product_id IN :product_ids AND ({maybe})"

_ESCAPED, _ESCAPE = re.compile("[%_!]"), r"!\g<0>"

_OF_RUN = "SELECT product_id FROM product_categories WHERE product_id IN :product_ids AND run_id = :run_id"


def count_among_first(connection: Connection, which: Filter, counted: list[tuple[Part, int]]) -> Counts:
    """Count by category the products of a filter that have the words of its title, and its run.

    Args:
        connection: In a transaction.
        which: The filter.
        counted: Number of products of each part of the filter, whatever their title and run.
    """
    return dict(Counter(row[0] for row in _searched(connection, which, quotas(dict(counted)))))


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
    own = {part: share for part, share in quotas(dict(counted)).items() if part.category_id == category_id}
    return [(row[1], row[2]) for row in _searched(connection, which, own)]


def quotas(counts: Mapping[Part, int], most: int = FIRST_PRODUCTS) -> dict[Part, int]:
    """Share a number of products among parts: all of a small part, the same number of each larger one."""
    shares: dict[Part, int] = {}
    left = most
    ordered = sorted(counts.items(), key=lambda each: (each[1], each[0].category_id or "", each[0].review_reason or ""))
    for place, (part, count) in enumerate(ordered):
        shares[part] = min(count, left // (len(ordered) - place))
        left -= shares[part]
    return {part: share for part, share in shares.items() if share}


def _searched(connection: Connection, which: Filter, shares: Mapping[Part, int]) -> list[_Row]:
    first = list(_first(connection, shares))
    if which.run_id:
        of_run = _looked_up(connection, _OF_RUN, (row[1] for row in first), run_id=which.run_id)
        kept = {row.product_id for row in of_run}
        first = [row for row in first if row[1] in kept]
    words = which.title.casefold().split()
    if not words:
        return first
    maybe, told = _maybe(words, connection.dialect.name)
    titles = _looked_up(connection, _TITLES.format(maybe=maybe), (row[1] for row in first), **told)
    named = {row.product_id for row in titles if _has(row.title, words)}
    return [row for row in first if row[1] in named]


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


def _looked_up(connection: Connection, statement: str, product_ids: Iterable[str], **more: str) -> Any:
    listed = sa.text(with_lists(statement, connection.dialect.name))
    return connection.execute(listed, {"product_ids": list_value(product_ids), **more})


def _first(connection: Connection, shares: Mapping[Part, int]) -> Iterable[_Row]:
    """Yield the first products of parts, with one statement for all parts of the same form."""
    forms: dict[tuple[Group, bool, bool], list[tuple[Part, int]]] = defaultdict(list)
    for part, share in shares.items():
        forms[part.group, part.category_id is None, part.review_reason is None].append((part, share))
    for (group, *_), parts in forms.items():
        if connection.dialect.name == "postgresql":
            yield from _laterally(connection, group, parts)
        else:
            yield from _one_by_one(connection, group, parts)


def _laterally(connection: Connection, group: Group, parts: list[tuple[Part, int]]) -> Iterable[_Row]:
    condition = in_part(parts[0][0], category="wanted.category_id", reason="wanted.review_reason")
    statement = f"""
        SELECT wanted.category_id, first_rows.product_id, first_rows.confidence
        FROM json_to_recordset(CAST(:wanted AS JSON))
            AS wanted (category_id TEXT COLLATE "C", review_reason TEXT, most INTEGER)
        CROSS JOIN LATERAL ({some_of(group, condition, surest=False, most="wanted.most")}) AS first_rows
    """  # noqa: S608 - texts of our own
    rows = [
        {"category_id": part.category_id, "review_reason": part.review_reason, "most": share} for part, share in parts
    ]
    found: Any = connection.execute(sa.text(statement), {"wanted": json.dumps(rows, ensure_ascii=False)})
    yield from found


def _one_by_one(connection: Connection, group: Group, parts: list[tuple[Part, int]]) -> Iterable[_Row]:
    # SQLite has no LATERAL; called without SQLAlchemy a statement takes it ten microseconds.
    driver: Any = connection.connection.driver_connection
    statement = some_of(group, in_part(parts[0][0], reason=":review_reason"), surest=False)
    for part, share in parts:
        told = {"category_id": part.category_id, "review_reason": part.review_reason, "most": share}
        for product_id, confidence in driver.execute(statement, told):
            yield part.category_id, product_id, confidence

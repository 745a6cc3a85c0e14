"""What waits for people: by suggested category, and as pages of products in order of confidence.

Nothing here reads as many rows as wait. The counts are running totals; a page reads the first rows of indexes
(`sql.review.selections`).
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.engine import reading
from sql.review.by_run import Ranked, count_of_run, first_of_run
from sql.review.first_products import count_among_first, select_among_first
from sql.review.items import items_of, storable
from sql.review.known import accepted
from sql.review.pictured import first_pictures
from sql.review.records import ORDERS, Filter, Pictured, QueueItem, Waiting
from sql.review.selections import first_of, groups_of, in_part, together
from sql.review.totals import count_waiting, parts_of
from sql.review.useful import most_useful
from sql.store import ProductDatabase

_SPARE = 4
"""Accepted products that are looked up for each example, since of many it is not known where their picture lies."""


def waiting(database: ProductDatabase, which: Filter) -> list[Waiting]:
    """Count what waits by suggested category, the category with most products first.

    Of a run of which very many products wait, only the first of each category are counted (`sql.review.by_run`).
    """
    if not groups_of(which) or not _is_storable(which):
        return []
    with reading(database.engine) as connection:
        if _is_searched(which):
            counts = count_among_first(connection, which)
        elif which.run_id:
            counts = count_of_run(connection, which)
        else:
            counts = count_waiting(connection, which)
        rows = connection.execute(sa.text("SELECT category_id, category_path FROM categories"))
        paths: dict[str | None, str] = {row.category_id: row.category_path for row in rows}
    listed = sorted(counts.items(), key=lambda each: (-each[1], each[0] or ""))
    return [Waiting(name, paths.get(name, name or ""), count) for name, count in listed]


def page(
    database: ProductDatabase,
    which: Filter,
    category_id: str | None,
    *,
    order: str,
    size: int,
    without: Collection[str] = (),
) -> list[QueueItem]:
    """Select one page of products with the same suggested category.

    Args:
        database: Migrated.
        which: Which products.
        category_id: The suggested category; None for products without a suggestion.
        order: One of `ORDERS`.
        size: Most products.
        without: Products to leave out, because they are shown to other people.
    """
    if order not in ORDERS:
        raise ValueError(f"There is no order {order!r}: expected one of {', '.join(ORDERS)}.")
    if not groups_of(which) or not _is_storable(which) or not _is_within(which, category_id):
        return []
    surest, most = order == "surest", size + len(without)
    with reading(database.engine) as connection:
        if _is_searched(which):
            found = select_among_first(connection, which, category_id)
        elif which.run_id:
            found = first_of_run(connection, which, category_id, surest=surest, most=most)
        else:
            found = _first(connection, which, category_id, surest=surest, most=most)
        sign = -1 if surest else 1
        # Without a confidence last, whichever way the others are sorted.
        found.sort(key=lambda row: (row[1] is None, sign * (row[1] or 0.0), row[0]))
        names, hidden = [name for name, _ in found], set(without)
        if names and hidden.issuperset(names) and order != "most_useful":
            return []
        if order == "most_useful":
            useful = most_useful(connection, which, category_id)
            names = [name for name in useful if not which.title.split() or name in set(names)] + names
        return items_of(connection, [name for name in dict.fromkeys(names) if name not in hidden][:size])


def examples(database: ProductDatabase, category_id: str, *, count: int) -> list[Pictured]:
    """Select pictures of products that are accepted in a category, those first whose place is known.

    Products that people decided on come before a run's surest answers.
    """
    return examples_of_each(database, [category_id], count=count).get(category_id, [])


def examples_of_each(
    database: ProductDatabase, category_ids: Collection[str], *, count: int = 1
) -> dict[str, list[Pictured]]:
    """Select `examples` of several categories, by category_id; categories without any are left out."""
    with reading(database.engine) as connection:
        names = {each: accepted(connection, each, most=count * _SPARE) for each in category_ids}
        pictures = first_pictures(connection, [name for some in names.values() for name in some])
    found = {each: [pictures[name] for name in some if name in pictures] for each, some in names.items()}
    return {each: sorted(some, key=lambda one: not one.picture_at)[:count] for each, some in found.items() if some}


def _first(connection: Connection, which: Filter, category_id: str | None, *, surest: bool, most: int) -> list[Ranked]:
    parts = parts_of(connection, which, category_id)
    selects = [first_of(part.group, in_part(part), surest=surest) for part in parts]
    if not selects:
        return []
    told = {"most": most} if category_id is None else {"most": most, "category_id": category_id}
    return [(row.product_id, row.confidence) for row in connection.execute(sa.text(together(selects)), told)]


def _is_searched(which: Filter) -> bool:
    """Return whether products are searched among the first of the filter; runs have an index in status review alone."""
    return bool(which.title.split() or (which.run_id and which.status != "review"))


def _is_storable(which: Filter) -> bool:
    return all(storable(text) for text in (which.category_id, which.run_id))


def _is_within(which: Filter, category_id: str | None) -> bool:
    """Return whether the category of a page is the filter's, or below it."""
    if not storable(category_id or ""):
        return False
    return not which.category_id or f"{category_id or ''}.".startswith(f"{which.category_id}.")

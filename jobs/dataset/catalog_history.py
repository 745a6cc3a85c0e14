"""What the catalog says of products: the text that gives a product its label, and its group of variants.

The rows are those of images/ and of catalog_rows/. A label belongs to the product, and so does a group.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from jobs.dataset.parts import GroupRow, Ingest, group_of
from jobs.dataset.schema import CATALOG_KEY
from jobs.errors import UsageError
from jobs.wording import listed, quoted

GROUP_COLUMNS = (*CATALOG_KEY, "ingest_no", "group_id")
LABEL_COLUMNS = (*GROUP_COLUMNS, "category")

CatalogRow = tuple[int, Ingest, str, str]
"""(image_no, ingest, text, group_id); the text is the shop's category; text and group_id are empty if blank."""

History = defaultdict[str, list[CatalogRow]]
"""Maps product_id to its catalog rows."""

GroupRows = defaultdict[str, list[GroupRow]]
"""Maps product_id to what catalog rows say of its group."""


def add_catalog_rows(history: History, day: date, columns: Mapping[str, Sequence[Any]]) -> None:
    """Add the catalog rows of a file of one ingest date, which has them with stored images or without."""
    for product_id, image_no, number, group_id, category in zip(
        *(columns[name] for name in LABEL_COLUMNS), strict=True
    ):
        history[product_id].append((image_no, (day, number), _text(category), group_id or ""))


def add_group_rows(rows: GroupRows, day: date, columns: Mapping[str, Sequence[Any]]) -> None:
    """Add what the catalog rows of a file of one ingest date say of groups."""
    for product_id, image_no, number, group_id in zip(*(columns[name] for name in GROUP_COLUMNS), strict=True):
        rows[product_id].append((image_no, (day, number), group_id or ""))


def groups_of(history: History, before: GroupRows) -> dict[str, str]:
    """Return the group_id of each product that has one.

    Args:
        history: Catalog rows from the first date on.
        before: Catalog rows of the dates before. Their labels do not count, but their groups do. Otherwise a product
            could be in another part when later dates alone are measured.
    """
    groups = {}
    for product_id in history.keys() | before.keys():
        since = ((image_no, ingest, group_id) for image_no, ingest, _, group_id in history.get(product_id, ()))
        if group_id := group_of([*before.get(product_id, ()), *since]):
            groups[product_id] = group_id
    return groups


def rows_at(
    history: History, product_ids: Iterable[str], is_present: Callable[[str, int], bool]
) -> dict[str, list[CatalogRow]]:
    """Return the catalog rows of some products at their present positions: those of other images have no say.

    Args:
        history: Catalog rows.
        product_ids: The products, in the order of the result.
        is_present: Returns whether the position of a product_id and an image_no is present.
    """
    return {
        product_id: [row for row in history[product_id] if is_present(product_id, row[0])] for product_id in product_ids
    }


def _text(category: str | None) -> str:
    return category if category and category.strip() else ""


def texts_of(history: Mapping[str, Iterable[CatalogRow]], ids: Mapping[str, str]) -> dict[str, str]:
    """Return the text that gives each product its label, empty if it has none.

    A product that one ingest gave two labels is refused. Two texts of one category are not two labels.

    Args:
        history: Catalog rows by product_id.
        ids: Maps each text to its category_id; empty if it has none.
    """
    last = {product_id: _last_texts(rows, ids) for product_id, rows in history.items()}
    both = {product_id: sorted(texts.keys() - {""}) for product_id, (_, texts) in last.items()}
    twice = [product_id for product_id, labels in both.items() if len(labels) > 1]
    if len(twice) > 1:
        named = [f"{quoted(each)} ({' and '.join(map(quoted, both[each][:2]))})" for each in twice]
        raise UsageError(
            f"{len(twice):,} products have two categories of one ingest date: {listed(named)}; give all images of a "
            "product the same one in the catalog, and ingest it again"
        )
    for product_id in twice:
        labels = both[product_id]
        raise UsageError(
            f"product {quoted(product_id)} has two categories, {quoted(labels[0])} and {quoted(labels[1])}, both of "
            f"ingest date {last[product_id][0]}; give all its images the same one in the catalog, and ingest it again"
        )
    return {product_id: texts[max(texts)] if texts else "" for product_id, (_, texts) in last.items()}


def _last_texts(rows: Iterable[CatalogRow], ids: Mapping[str, str]) -> tuple[date | None, dict[str, str]]:
    """Return the date of the last ingest that set or removed a product's label, and its texts by category_id.

    There is no text if the label was removed. A text without a category_id has an empty one.
    """
    last = {image_no: (ingest, text) for image_no, ingest, text, _ in sorted(rows)}
    labelled = [last[image_no] for image_no in {image_no for image_no, _, text, _ in rows if text}]
    newest = max((ingest for ingest, _ in labelled), default=None)
    return newest and newest[0], {ids[text]: text for ingest, text in sorted(labelled) if ingest == newest and text}

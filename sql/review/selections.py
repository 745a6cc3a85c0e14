"""Statements that select what waits, each over one index of `product_categories`.

Products wait in parts: by status, suggested category and reason. Of each part a partial index has the products in order
of confidence. A page merges the first products of the parts of its category, so it reads some hundred rows however
many wait. Published answers have no such index, which every publish would pay for: of these a page sorts the first
`FIRST_PRODUCTS` of its category, in order of product_id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sql.records import REVIEW_REASONS
from sql.review.records import FIRST_PRODUCTS, REVIEWED_STATUSES, Filter

CHANGED = "changed_picture"


@dataclass(frozen=True, eq=False)
class Group:
    """Products that wait for the same cause; the groups below are all that there are, and each equals only itself.

    Attributes:
        condition: SQL condition of the partial index, word for word, as SQLite needs it.
        category: Column of the suggested category.
        confidence: Column of its confidence.
        by_reason: Whether the index is by reason.
        sorted: Whether an index has the products of a part in order of confidence.
    """

    condition: str
    category: str = "category_id"
    confidence: str = "confidence"
    by_reason: bool = True
    sorted: bool = True


REVIEW = Group("status = 'review' AND left_at IS NULL")
UNKNOWN = Group("status = 'unknown' AND NOT decided AND left_at IS NULL")
AUTO = Group("status = 'auto' AND left_at IS NULL", by_reason=False, sorted=False)
CHANGED_PICTURE = Group(
    f"review_reason = '{CHANGED}' AND decided AND left_at IS NULL",
    "suggested_category_id",
    "suggested_confidence",
    by_reason=False,
)


class Part(NamedTuple):
    """Products of one group, suggested category and reason.

    Attributes:
        group: The group.
        category_id: The suggested category; None for products without one.
        review_reason: The reason; None for products without one, and where the group is not by reason.
    """

    group: Group
    category_id: str | None
    review_reason: str | None = None


def groups_of(which: Filter) -> list[Group]:
    """Return the groups that a filter selects from; none if its reason does not exist.

    Raises:
        ValueError: There is no page of this status.
    """
    if which.status not in REVIEWED_STATUSES:
        raise ValueError(f"There is no page of status {which.status!r}: expected {' or '.join(REVIEWED_STATUSES)}.")
    if which.review_reason and which.review_reason not in REVIEW_REASONS:
        return []
    if which.status == "auto":
        return [] if which.review_reason else [AUTO]
    if which.status == "unknown":
        return [UNKNOWN]
    # Whose suggestion a changed picture got, is not stored.
    changed = which.review_reason in ("", CHANGED) and not which.run_id
    return [REVIEW, CHANGED_PICTURE] if changed else [REVIEW]


def in_part(part: Part, *, category: str = ":category_id", reason: str = "") -> str:
    """Return the SQL condition of a part.

    Args:
        part: The part.
        category: SQL of its category, if it has one.
        reason: SQL of its reason, if it has one; empty writes the reason itself.
    """
    group = part.group
    found = f"{group.condition} AND {group.category} " + ("IS NULL" if part.category_id is None else f"= {category}")
    if not group.by_reason:
        return found
    # A name of `REVIEW_REASONS`, no text of a request.
    written = reason or f"'{part.review_reason}'"
    return f"{found} AND review_reason " + ("IS NULL" if part.review_reason is None else f"= {written}")


def first_of(group: Group, condition: str, *, surest: bool = True, most: str = ":most") -> str:
    """Return a SELECT of the first products of a part: product_id, confidence.

    Args:
        group: The group of the part.
        condition: The part, as `in_part` writes it.
        surest: Whether the highest confidence comes first, or the lowest.
        most: SQL of the number of products.
    """
    if not group.sorted:
        some = some_of(group, condition, most=str(FIRST_PRODUCTS))
        return f"SELECT * FROM ({some}) AS read_first ORDER BY confidence {_down(surest)}, product_id LIMIT {most}"  # noqa: S608
    return some_of(group, condition, surest=surest, most=most)


def some_of(group: Group, condition: str, *, surest: bool = True, most: str = ":most") -> str:
    """Return a SELECT of products of a part in the order of the index, which need not be that of confidence.

    Args:
        group: The group of the part.
        condition: The part, as `in_part` writes it.
        surest: Whether the highest confidence comes first, or the lowest, where the index has that order.
        most: SQL of the number of products.
    """
    rows = f"SELECT product_id, {group.confidence} AS confidence FROM product_categories WHERE {condition}"  # noqa: S608
    if not group.sorted:
        return f"{rows} ORDER BY product_id LIMIT {most}"
    ranked = f"ORDER BY {group.confidence} {_down(surest)}, product_id LIMIT {most}"
    if group is not UNKNOWN:
        return f"{rows} {ranked}"
    # Some have no confidence; where these are sorted differs between the engines, so they are selected alone.
    with_one, without = f"{rows} AND confidence IS NOT NULL {ranked}", f"{rows} AND confidence IS NULL"
    return together([with_one, f"{without} ORDER BY product_id LIMIT {most}"])


def _down(surest: bool) -> str:
    return "DESC" if surest else "ASC"


def together(selects: Sequence[str]) -> str:
    """Return one SELECT of the rows of several, each with its own order and limit."""
    return " UNION ALL ".join(f"SELECT * FROM ({select}) AS part_{n}" for n, select in enumerate(selects))  # noqa: S608


def below(column: str) -> str:
    """Return the SQL condition that a category is `:below` or lies below it; `/` is the character after `.`."""
    return f"({column} = :below OR ({column} > :below || '.' AND {column} < :below || '/'))"

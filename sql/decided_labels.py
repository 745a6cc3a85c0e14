"""Query the decisions of people that stand, with the pictures that they were made on, as labels for a training."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from sql.engine import reading
from sql.schema.releases import categories
from sql.store import ProductDatabase

_LAST = sa.text("SELECT coalesce(max(override_id), 0) FROM overrides WHERE override_id <= :until")

_STANDING = sa.text("""
SELECT decision.override_id, decision.product_id, decision.category_id, decision.came_by
FROM overrides AS decision
WHERE
    decision.action <> 'clear'
    AND decision.override_id IN (
        SELECT max(latest.override_id) FROM overrides AS latest WHERE latest.override_id <= :until
        GROUP BY latest.product_id
    )
ORDER BY decision.override_id
""")

_PICTURES = sa.text("""
SELECT picture.override_id, picture.image_sha256
FROM override_pictures AS picture
WHERE
    picture.override_id IN (
        SELECT max(latest.override_id) FROM overrides AS latest WHERE latest.override_id <= :until
        GROUP BY latest.product_id
    )
""")

_EVERY = 2**63 - 1
"""Largest override_id that a database can have."""


@dataclass(frozen=True)
class StandingDecision:
    """A decision that no later one on its product has replaced.

    Attributes:
        product_id: The product.
        category_id: The category; None if the product is none of the categories.
        contents: The image_sha256 of the pictures that it was made on; None for decisions of earlier versions, which
            did not note them.
    """

    product_id: str
    category_id: str | None
    contents: frozenset[str] | None


@dataclass(frozen=True)
class StandingDecisions:
    """The decisions that stand, and the taxonomy.

    Attributes:
        decisions: One a product, in order of decision.
        category_paths: Maps each category_id, of leaves and inner nodes, to its readable path.
        until: The largest override_id that was read, 0 if there is none. Rows are never changed or dropped, so that a
            later call reads the same decisions up to it.
    """

    decisions: list[StandingDecision]
    category_paths: dict[str, str]
    until: int


def standing_decisions(database: ProductDatabase, *, until: int | None = None) -> StandingDecisions:
    """Query the decisions that stand.

    Args:
        database: Migrated.
        until: Only decisions up to this override_id count; None reads all.

    Raises:
        DatabaseError: The database cannot be read, or has another schema; the message has the remedy.
    """
    database.check()
    with reading(database.engine) as connection:
        last = int(connection.execute(_LAST, {"until": _EVERY if until is None else until}).scalar_one())
        rows = list(connection.execute(_STANDING, {"until": last}))
        pictures: defaultdict[int, set[str]] = defaultdict(set)
        for number, content in connection.execute(_PICTURES, {"until": last}):
            pictures[number].add(content)
        paths = {row.category_id: row.category_path for row in connection.execute(sa.select(categories))}
    return StandingDecisions([_standing(row, pictures.get(row.override_id)) for row in rows], paths, last)


def _standing(row: sa.Row[Any], pictures: set[str] | None) -> StandingDecision:
    """Return a decision; only earlier versions noted neither how it came nor on which pictures it was made."""
    unknown = pictures is None and row.came_by is None
    return StandingDecision(row.product_id, row.category_id, None if unknown else frozenset(pictures or ()))

"""Products whose category is known: a person decided on it, or a run was nearly certain."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

SURE = 0.99
"""Lowest confidence of a run's answer that counts as known."""

_READ = 500
"""Most products of a category that are read to find some."""

_READ_FOR_EACH = 25
"""Most products that are read for each accepted one."""

_ENOUGH = 50
"""Surely answered products from which one is chosen; of fewer, reading begins again at the category's first."""

# Decisions of people, the latest first. What a person decided again, or what waits again, is not settled.
_DECIDED = sa.text("""
SELECT decision.product_id, decision.decided_by
FROM overrides AS decision
INNER JOIN product_categories AS answer ON answer.product_id = decision.product_id
WHERE
    decision.category_id = :category_id
    AND answer.category_id = :category_id
    AND answer.status = 'manual'
    AND answer.review_reason IS NULL
    AND answer.left_at IS NULL
    AND decision.override_id = (
        SELECT max(later.override_id) FROM overrides AS later WHERE later.product_id = decision.product_id
    )
ORDER BY decision.override_id DESC
LIMIT :most
""")

_PUBLISHED = sa.text("""
SELECT product_id, confidence
FROM (
    SELECT product_id, confidence, status, left_at
    FROM product_categories
    WHERE category_id = :category_id AND product_id >= :start
    ORDER BY product_id
    LIMIT :most
) AS read_first
WHERE status = 'auto' AND left_at IS NULL
""")

_ENDS = sa.text("""
SELECT
    (SELECT min(product_id) FROM product_categories WHERE category_id = :category_id) AS lowest,
    (SELECT max(product_id) FROM product_categories WHERE category_id = :category_id) AS highest
""")


@dataclass(frozen=True)
class Known:
    """A product whose category is known, and who decided; empty for a run's answer."""

    product_id: str
    category_id: str
    decided_by: str = ""


def known_in(connection: Connection, category_id: str, rng: random.Random) -> list[Known]:
    """Return products that are known to be in a category, some hundred, those that people decided on first."""
    told = {"category_id": category_id, "most": _READ}
    found = [Known(row.product_id, category_id, row.decided_by) for row in connection.execute(_DECIDED, told)]
    ends = connection.execute(_ENDS, {"category_id": category_id}).one()
    if ends.lowest is None:
        return found
    sure: dict[str, Known] = {}
    for start in (_between(ends.lowest, ends.highest, rng), ""):
        if len(sure) < _ENOUGH:
            rows = connection.execute(_PUBLISHED, {**told, "start": start})
            sure |= {row.product_id: Known(row.product_id, category_id) for row in rows if row.confidence >= SURE}
    return [*found, *sure.values()]


def accepted(connection: Connection, category_id: str, *, most: int) -> Sequence[str]:
    """Return products that are accepted in a category: those that people decided on, the latest first, then others."""
    told = {"category_id": category_id}
    decided = [row.product_id for row in connection.execute(_DECIDED, {**told, "most": most})]
    if len(decided) >= most:
        return decided
    rows = connection.execute(_PUBLISHED, {**told, "most": min(_READ, _READ_FOR_EACH * most), "start": ""}).all()
    surest = sorted(rows, key=lambda row: (-row.confidence, row.product_id))
    return [*decided, *(row.product_id for row in surest)][:most]


def _between(lowest: str, highest: str, rng: random.Random) -> str:
    """Return a text that lies somewhere between two, to begin reading there."""
    length = next((n for n, (one, other) in enumerate(zip(lowest, highest, strict=False)) if one != other), None)
    if length is None:
        return lowest
    digits = "".join(rng.choice("0123456789abcdefghijklmnopqrstuvwxyz") for _ in range(3))
    first, last = ord(lowest[length]), min(ord(highest[length]), 0xD7FF)
    return lowest[:length] + chr(rng.randint(min(first, last), last)) + digits

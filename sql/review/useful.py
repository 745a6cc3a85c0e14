"""Which products of a page come first where those whose labels would teach most are wanted: the table's candidates."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.review.records import Filter

_CANDIDATES = """
SELECT answer.product_id
FROM label_candidates AS candidate
INNER JOIN product_categories AS answer ON answer.product_id = candidate.product_id
WHERE
    answer.status = :status
    AND NOT answer.decided
    AND answer.left_at IS NULL
    AND answer.category_id {category}
    AND (:review_reason = '' OR answer.review_reason = :review_reason)
    AND (:run_id = '' OR answer.run_id = :run_id)
ORDER BY candidate.place
"""


def most_useful(connection: Connection, which: Filter, category_id: str | None) -> list[str]:
    """Return the candidates of a suggested category that a filter selects, the most useful first; titles do not count.

    Args:
        connection: In a transaction.
        which: Which products.
        category_id: The suggested category; None for products without a suggestion.
    """
    told = {"status": which.status, "review_reason": which.review_reason, "run_id": which.run_id}
    if category_id is not None:
        told["category_id"] = category_id
    statement = sa.text(_CANDIDATES.format(category="IS NULL" if category_id is None else "= :category_id"))
    typed = statement.bindparams(*(sa.bindparam(name, type_=sa.Text()) for name in told))
    return list(connection.execute(typed, told).scalars())

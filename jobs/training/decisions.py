"""People's decisions out of the product database, as labels for a training."""

from __future__ import annotations

from jobs.dataset.decided_labels import Decided, Decision
from sql.decided_labels import standing_decisions
from sql.store import ProductDatabase


def decisions_in(database: ProductDatabase, until: int | None = None) -> Decided:
    """Read the decisions that stand.

    Args:
        database: Migrated.
        until: Number of the last decision that counts; None reads all.

    Raises:
        DatabaseError: The database cannot be read, or has another schema; the message has the remedy.
    """
    found = standing_decisions(database, until=until)
    decisions = {each.product_id: Decision(each.category_id, each.contents) for each in found.decisions}
    return Decided(decisions, found.category_paths, found.until)

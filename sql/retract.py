"""Take a published run back: its predictions leave the history, and its products are answered by what remains."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.engine import tune, writing
from sql.errors import UnknownNameError
from sql.explanations import listed
from sql.publishing import replaced, run_rows, settling
from sql.publishing.positions import prepare_affected
from sql.publishing.releases import shadow_releases
from sql.schema.runs import run_highlights, run_leases, runs
from sql.store import ProductDatabase

# The second part finds products that the run answered by predictions which its release had made as a challenger.
_AFFECTED = sa.text("""
INSERT INTO affected_products (product_id)
SELECT product_id FROM retracted_predictions
UNION
SELECT product_id
FROM product_categories
WHERE run_id = :run_id OR release_id IN :hidden OR suggested_release_id IN :hidden
""").bindparams(sa.bindparam("hidden", type_=sa.Text(), expanding=True))

_WITHOUT_ANSWER = sa.text("""
SELECT count(*)
FROM affected_products AS affected
WHERE NOT EXISTS (SELECT 1 FROM product_categories AS answer WHERE answer.product_id = affected.product_id)
""")


@dataclass(frozen=True)
class RetractCounts:
    """What taking a run back did.

    Attributes:
        predictions_deleted: Predictions of the run that are gone.
        predictions_restored: Predictions of earlier runs that the run had overwritten, and that are back.
        products_changed: Products with another answer than before.
        products_without_answer: Products of the run that have no answer now.
    """

    predictions_deleted: int
    predictions_restored: int
    products_changed: int
    products_without_answer: int


def retract_run(
    database: ProductDatabase,
    run_id: str,
    *,
    by: str,
    combine_by: settling.CombineBy,
    why: str | None = None,
    at_utc: datetime | None = None,
) -> RetractCounts:
    """Take a published run back, in one transaction: its products are answered again by what remains.

    Decisions of people stay, and so do the predictions of other runs, the run's rejected images, and what its catalog
    named: a product whose picture only this run predicted has no answer. If the same run was published by another
    release before, the answers of that release count again. Publishing the run again publishes it again.

    Args:
        database: Migrated.
        run_id: A run of state `published`.
        by: Person who takes it back.
        combine_by: Returns, for a release's manifest, the function that computes one answer from several images.
        why: Reason, in the person's words.
        at_utc: Time of the change, with a time zone; None is now.

    Returns:
        Numbers of predictions and products that changed.

    Raises:
        UnknownNameError: There is no such run; the message lists the nearest names.
        ValueError: The run is not published, is retracted already, or a driver works on it; or `by` is empty.
    """
    if not by.strip():
        raise ValueError("Nobody retracts the run: expected the name of a person, as in --by maria.")
    moment = at_utc or datetime.now(UTC)
    database.check()
    with writing(database.engine) as connection:
        if connection.dialect.name == "postgresql":
            tune(connection)
        run = _retractable(connection, run_id)
        run_rows.retract(connection, run_id, {"by": by, "why": why}, moment)
        hidden = sorted(shadow_releases(connection))
        deleted, restored = replaced.bring_back(connection, run_id, sorted({run.release_id, *hidden}))
        prepare_affected(connection)
        connection.execute(_AFFECTED, {"run_id": run_id, "hidden": hidden})
        changed = settling.answer_again(connection, combine_by, moment, without_run=run_id)
        # They are products to look at because of answers that are gone.
        connection.execute(run_highlights.delete().where(run_highlights.c.run_id == run_id))
        unanswered = int(connection.execute(_WITHOUT_ANSWER).scalar_one())
    return RetractCounts(deleted, restored, changed, unanswered)


def _retractable(connection: Connection, run_id: str) -> Any:
    """Return a run's row, if it can be taken back."""
    run = connection.execute(sa.select(runs).where(runs.c.run_id == run_id)).first()
    if run is None:
        known = list(connection.execute(sa.select(runs.c.run_id).order_by(runs.c.started_at_utc.desc())).scalars())
        near = get_close_matches(run_id, known, n=3) or known[:3]
        hint = f"the nearest are {listed(near)}" if near else "there is none yet"
        raise UnknownNameError(f"There is no run {run_id!r}; {hint}: see `shelfwise runs list` for all.")
    if run.state != "published":
        raise ValueError(
            f"Run {run_id!r} is {run.state} and has published nothing: expected a published run, as "
            "`shelfwise runs list --state published` shows."
        )
    if run.retracted_at_utc is not None:
        person = (run.summary.get("retracted") or {}).get("by")
        raise ValueError(
            f"Run {run_id!r} was retracted already, by {person} at {run.retracted_at_utc:%Y-%m-%d %H:%M} UTC; run it "
            "again to publish it again."
        )
    holder = connection.execute(sa.select(run_leases.c.holder).where(run_leases.c.run_id == run_id)).scalar()
    if holder is not None:
        raise ValueError(
            f"The driver {holder} works on run {run_id!r}: wait until it is done, or finish the run by "
            f"`shelfwise runs resume {run_id}` if that driver is gone, then retract it."
        )
    return run

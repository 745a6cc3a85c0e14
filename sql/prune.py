"""Delete old history in small transactions; current answers, people's decisions and the rows of `runs` stay."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.engine import reading, writing
from sql.schema.runs import runs
from sql.store import ProductDatabase

PRODUCTS_PER_TRANSACTION = 5000
ROWS_PER_TRANSACTION = 20_000


@dataclass(frozen=True)
class PruneCounts:
    """Numbers of rows that a prune deleted, or would delete.

    Attributes:
        kept_runs: Runs whose history is kept whole, the latest first.
        predictions: Number of rows deleted from `category_predictions`.
        replaced_predictions: Number of rows deleted from `replaced_predictions`.
        rejections: Number of rows deleted from `rejected_images`.
        transactions: Number of transactions, 0 if rows were only counted.
    """

    kept_runs: tuple[str, ...] = ()
    predictions: int = 0
    replaced_predictions: int = 0
    rejections: int = 0
    transactions: int = 0


_UPPER = sa.text("""
SELECT max(product_id)
FROM (
    SELECT DISTINCT product_id FROM category_predictions WHERE product_id > :last ORDER BY product_id LIMIT :products
) AS next_products
""")

# A row stays if a kept run wrote it, or if it is of a picture that the product has and of the answering release. So it
# is for a product that has left, whose answer stands when it returns. For a product that a person decided on, these
# pictures stay with every release, so that clearing the decision finds an answer. So they do for a product without an
# answer: its only usable picture may have left, and is not predicted again when it returns.
_OLD_PREDICTIONS = """
    run_id NOT IN :kept_runs
    AND (
        EXISTS (
            SELECT 1
            FROM product_categories AS answer
            WHERE
                answer.product_id = category_predictions.product_id
                AND NOT answer.decided
                AND (answer.release_id IS NULL OR answer.release_id <> category_predictions.release_id)
        )
        OR NOT EXISTS (
            SELECT 1
            FROM product_images AS image
            WHERE
                image.product_id = category_predictions.product_id
                AND image.image_sha256 = category_predictions.image_sha256
        )
    )
"""

# What a kept run has overwritten stays, so that it can be taken back, also where a run that is not kept had written it.
_OF_OLD_RUNS = "run_id NOT IN :kept_runs"


def _with_runs(statement: str) -> sa.TextClause:
    return sa.text(statement).bindparams(sa.bindparam("kept_runs", type_=sa.Text(), expanding=True))


_PREDICTIONS = _with_runs(f"""
DELETE FROM category_predictions WHERE product_id > :last AND product_id <= :upper AND {_OLD_PREDICTIONS}
""")  # noqa: S608 - texts of our own

_REPLACED = _with_runs(f"""
DELETE FROM replaced_predictions
WHERE (run_id, product_id, release_id, image_sha256) IN (
    SELECT run_id, product_id, release_id, image_sha256 FROM replaced_predictions WHERE {_OF_OLD_RUNS} LIMIT :rows
)
""")  # noqa: S608 - texts of our own

_REJECTIONS = _with_runs(f"""
DELETE FROM rejected_images
WHERE (run_id, product_id, image_no) IN (
    SELECT run_id, product_id, image_no FROM rejected_images WHERE {_OF_OLD_RUNS} LIMIT :rows
)
""")  # noqa: S608 - texts of our own

_COUNT = _with_runs(f"""
SELECT
    (SELECT count(*) FROM category_predictions WHERE {_OLD_PREDICTIONS}) AS predictions,
    (SELECT count(*) FROM replaced_predictions WHERE {_OF_OLD_RUNS}) AS replaced_predictions,
    (SELECT count(*) FROM rejected_images WHERE {_OF_OLD_RUNS}) AS rejections
""")  # noqa: S608 - texts of our own


def prune(
    database: ProductDatabase,
    *,
    keep_runs: int,
    products_per_transaction: int = PRODUCTS_PER_TRANSACTION,
    dry_run: bool = False,
) -> PruneCounts:
    """Delete the predictions and rejections of all but the latest published runs, in small transactions.

    What these runs had overwritten is deleted too. A run that is not kept can still be taken back; then its products
    are answered by the rows that are left.

    Args:
        database: Migrated.
        keep_runs: Number of latest runs whose history is kept whole, at least 1.
        products_per_transaction: Number of products per transaction; other writers wait for one transaction at most,
            readers never.
        dry_run: Delete nothing, and count the rows that would be deleted, in one transaction that only reads.

    Returns:
        The runs kept, and the number of rows deleted, or that would be.

    Raises:
        ValueError: `keep_runs` is below 1.
        DatabaseError: The database failed; earlier transactions stay committed, and the same command continues.
    """
    if keep_runs < 1:
        raise ValueError(f"{keep_runs} runs to keep: expected at least 1, as in --keep-runs 30.")
    database.check()
    with reading(database.engine) as connection:
        kept = _latest_runs(connection, keep_runs)
        if not kept:
            return PruneCounts()
        if dry_run:
            return PruneCounts(kept, **connection.execute(_COUNT, {"kept_runs": kept}).mappings().one())
    predictions, parts = _prune_predictions(database, kept, products_per_transaction)
    replaced, parts_of_replaced = _prune_runs(database, kept, _REPLACED)
    rejections, parts_of_rejections = _prune_runs(database, kept, _REJECTIONS)
    return PruneCounts(kept, predictions, replaced, rejections, parts + parts_of_replaced + parts_of_rejections)


def _latest_runs(connection: Connection, count: int) -> tuple[str, ...]:
    latest = (
        sa.select(runs.c.run_id)
        .where(runs.c.state == "published", runs.c.retracted_at_utc.is_(None))
        .order_by(runs.c.run_date.desc(), runs.c.finished_at_utc.desc(), runs.c.run_id.desc())
        .limit(count)
    )
    return tuple(connection.execute(latest).scalars())


def _prune_predictions(database: ProductDatabase, kept: tuple[str, ...], products: int) -> tuple[int, int]:
    dropped, parts, last = 0, 0, ""
    while True:
        with writing(database.engine) as connection:
            upper = connection.execute(_UPPER, {"last": last, "products": products}).scalar()
            if upper is None:
                return dropped, parts
            values = {"last": last, "upper": upper, "kept_runs": kept}
            dropped += connection.execute(_PREDICTIONS, values).rowcount
            parts, last = parts + 1, upper


def _prune_runs(database: ProductDatabase, kept: tuple[str, ...], statement: sa.TextClause) -> tuple[int, int]:
    """Delete a table's rows of all runs but some, in parts; return the number of rows and of transactions."""
    dropped, parts = 0, 0
    while True:
        with writing(database.engine) as connection:
            part = connection.execute(statement, {"kept_runs": kept, "rows": ROWS_PER_TRANSACTION}).rowcount
        if not part:
            return dropped, parts
        dropped, parts = dropped + part, parts + 1

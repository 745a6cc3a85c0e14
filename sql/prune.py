"""Delete old history in small transactions; current answers, people's decisions and the rows of `runs` stay."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.engine import writing
from sql.schema.runs import runs
from sql.store import ProductDatabase

PRODUCTS_PER_TRANSACTION = 5000
ROWS_PER_TRANSACTION = 20_000


@dataclass(frozen=True)
class PruneCounts:
    """Numbers of rows that a prune deleted.

    Attributes:
        kept_runs: Runs whose history is kept whole, the latest first.
        predictions: Number of rows deleted from `category_predictions`.
        rejections: Number of rows deleted from `rejected_images`.
        transactions: Number of transactions.
    """

    kept_runs: tuple[str, ...]
    predictions: int
    rejections: int
    transactions: int


_UPPER = sa.text("""
SELECT max(product_id)
FROM (
    SELECT DISTINCT product_id FROM category_predictions WHERE product_id > :last ORDER BY product_id LIMIT :products
) AS next_products
""")

# A row stays if a kept run wrote it, or if it is of a picture that the product has and of the answering release. So it
# is for a product that has left, whose answer stands when it returns. For a product that a person decided on, these
# pictures stay with every release, so that clearing the decision finds an answer.
_PREDICTIONS = sa.text("""
DELETE FROM category_predictions
WHERE
    product_id > :last
    AND product_id <= :upper
    AND run_id NOT IN :kept_runs
    AND (
        NOT EXISTS (
            SELECT 1
            FROM product_categories AS answer
            WHERE
                answer.product_id = category_predictions.product_id
                AND (answer.decided OR answer.release_id = category_predictions.release_id)
        )
        OR NOT EXISTS (
            SELECT 1
            FROM product_images AS image
            WHERE
                image.product_id = category_predictions.product_id
                AND image.image_sha256 = category_predictions.image_sha256
        )
    )
""").bindparams(sa.bindparam("kept_runs", type_=sa.Text(), expanding=True))

_REJECTIONS = sa.text("""
DELETE FROM rejected_images
WHERE (run_id, product_id, image_no) IN (
    SELECT run_id, product_id, image_no FROM rejected_images WHERE run_id NOT IN :kept_runs LIMIT :rows
)
""").bindparams(sa.bindparam("kept_runs", type_=sa.Text(), expanding=True))


def prune(
    database: ProductDatabase, *, keep_runs: int, products_per_transaction: int = PRODUCTS_PER_TRANSACTION
) -> PruneCounts:
    """Delete the predictions and rejections of all but the latest published runs, in small transactions.

    Args:
        database: Migrated.
        keep_runs: Number of latest runs whose history is kept whole, at least 1.
        products_per_transaction: Number of products per transaction; other writers wait for one transaction at most,
            readers never.

    Returns:
        The runs kept, and the number of rows deleted.

    Raises:
        ValueError: `keep_runs` is below 1.
        DatabaseError: The database failed; earlier transactions stay committed, and the same command continues.
    """
    if keep_runs < 1:
        raise ValueError(f"{keep_runs} runs to keep: expected at least 1, as in --keep-runs 30.")
    database.check()
    with database.engine.connect() as connection:
        kept = _latest_runs(connection, keep_runs)
    if not kept:
        return PruneCounts((), 0, 0, 0)
    predictions, parts = _prune_predictions(database, kept, products_per_transaction)
    rejections, more_parts = _prune_rejections(database, kept)
    return PruneCounts(kept, predictions, rejections, parts + more_parts)


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


def _prune_rejections(database: ProductDatabase, kept: tuple[str, ...]) -> tuple[int, int]:
    dropped, parts = 0, 0
    while True:
        with writing(database.engine) as connection:
            part = connection.execute(_REJECTIONS, {"kept_runs": kept, "rows": ROWS_PER_TRANSACTION}).rowcount
        if not part:
            return dropped, parts
        dropped, parts = dropped + part, parts + 1

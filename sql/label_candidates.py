"""The products whose labels would teach most: what is known of those that wait, and the table of those chosen."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from sql.engine import reading, writing
from sql.lists import list_value, with_lists
from sql.schema.decisions import label_candidates
from sql.schema.runs import runs
from sql.store import ProductDatabase

# Answers of other releases are not looked at: descriptors of two releases cannot be compared.
_PICTURED = """
SELECT image.product_id, image.image_sha256, answer.decided, image.top_k
FROM product_categories AS answer
INNER JOIN current_images AS image ON image.product_id = answer.product_id
WHERE
    answer.product_id IN :product_ids
    AND image.release_id = :release_id
    AND answer.left_at IS NULL
    AND (
        (answer.decided AND answer.category_id IS NOT NULL)
        OR (NOT answer.decided AND answer.status IN ('review', 'unknown') AND answer.release_id = :release_id)
    )
ORDER BY image.product_id, image.image_no
"""


@dataclass(frozen=True)
class PicturedAnswer:
    """A current picture of a product that waits for a person, or that a person has given a category.

    Attributes:
        product_id: The product.
        image_sha256: SHA-256 of the picture's bytes, hexadecimal.
        decided: Whether a person has given the product a category.
        confidences: Confidences of the categories that the release found likeliest for the picture.
    """

    product_id: str
    image_sha256: str
    decided: bool
    confidences: tuple[float, ...]


def runs_of_release(database: ProductDatabase, release_id: str, *, limit: int) -> list[str]:
    """Return the run_id of the latest published runs of a release that were not taken back, the latest first."""
    query = (
        sa.select(runs.c.run_id)
        .where(runs.c.release_id == release_id, runs.c.state == "published", runs.c.retracted_at_utc.is_(None))
        .order_by(runs.c.run_date.desc(), runs.c.finished_at_utc.desc(), runs.c.run_id.desc())
        .limit(limit)
    )
    with reading(database.engine) as connection:
        return list(connection.execute(query).scalars())


def pictured_answers(database: ProductDatabase, product_ids: Collection[str], release_id: str) -> list[PicturedAnswer]:
    """Return the current pictures of those products that wait for a label or have one, in order of product and image.

    Args:
        database: Migrated.
        product_ids: Products to look at.
        release_id: Release that answered for the pictures. An answer that waits is of this release too.
    """
    statement = sa.text(with_lists(_PICTURED, database.engine.dialect.name)).columns(
        sa.column("product_id", sa.Text), sa.column("image_sha256", sa.Text), decided=sa.Boolean, top_k=sa.JSON
    )
    bound = {"product_ids": list_value(product_ids), "release_id": release_id}
    with reading(database.engine) as connection:
        return [
            PicturedAnswer(product_id, content, decided, tuple(float(confidence) for _, confidence in top_k or ()))
            for product_id, content, decided, top_k in connection.execute(statement, bound)
        ]


def keep_candidates(
    database: ProductDatabase, product_ids: Sequence[str], *, run_id: str, release_id: str, at_utc: datetime
) -> None:
    """Replace the table of candidates, in one transaction; the same candidates of the same run change no row.

    Args:
        database: Migrated.
        product_ids: Products whose labels would teach most, the most useful first, each once.
        run_id: Run after whose publish they were chosen.
        release_id: Release whose answers were doubted.
        at_utc: When they were chosen, with a time zone.
    """
    of_run = {"run_id": run_id, "release_id": release_id, "chosen_at_utc": at_utc}
    rows = [{"product_id": each, "place": place, **of_run} for place, each in enumerate(product_ids, start=1)]
    columns = (label_candidates.c[name] for name in ("product_id", "place", "run_id", "release_id"))
    stored = sa.select(*columns).order_by(label_candidates.c.place)
    with writing(database.engine) as connection:
        if [tuple(row) for row in connection.execute(stored)] == [tuple(row.values())[:4] for row in rows]:
            return
        connection.execute(sa.delete(label_candidates))
        if rows:
            connection.execute(sa.insert(label_candidates), rows)

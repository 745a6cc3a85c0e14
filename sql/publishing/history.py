"""Merge the predictions and the rejections of a run into the history.

The key of a prediction is product, release and image content. Of two staged rows with the same key (from a task that
ran twice) one is merged. A row that would not change is not written and not locked. Where the picture lies goes with
its run: another run that gives the same answer leaves both as they are, unless the stored row has none.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.publishing.replaced import keep_overwritten
from sql.publishing.staging import count_staged, staged_images
from sql.records import PREDICTION_COLUMNS
from sql.schema.columns import UtcDateTime

_STORED = tuple(name for name in PREDICTION_COLUMNS if name != "catalog_name")
_VALUES = tuple(name for name in _STORED if name not in ("product_id", "image_sha256"))

# PostgreSQL and SQLite have different names for the internal row number.
_DROP_DUPLICATES = """
DELETE FROM staged_predictions
WHERE {row} IN (
    SELECT {row}
    FROM (
        SELECT
            {row},
            row_number() OVER (
                PARTITION BY product_id, image_sha256
                ORDER BY ingest_date DESC, ingest_no DESC, image_no, image_uri, category_id, confidence,
                    picture_at
            ) AS place
        FROM staged_predictions
    ) AS ranked
    WHERE place > 1
)
"""

# The rows are staged in this order, so that sorting them again is faster than a table of their hashes.
_DISTINCT = sa.text("""
SELECT count(*)
FROM (
    SELECT DISTINCT ON (product_id, image_sha256) product_id
    FROM staged_predictions
    ORDER BY product_id, image_sha256
) AS distinct_predictions
""")

_CHANGED = """
(staged.ingest_date, staged.ingest_no) > (stored.ingest_date, stored.ingest_no)
OR (
    (staged.ingest_date, staged.ingest_no) = (stored.ingest_date, stored.ingest_no)
    AND (
        staged.image_no <> stored.image_no
        OR staged.image_uri <> stored.image_uri
        OR staged.category_id IS DISTINCT FROM stored.category_id
        OR staged.confidence IS DISTINCT FROM stored.confidence
        OR staged.status <> stored.status
        OR staged.review_reason IS DISTINCT FROM stored.review_reason
        OR staged.held_by IS DISTINCT FROM stored.held_by
        OR staged.foreign_score IS DISTINCT FROM stored.foreign_score
        OR CAST(staged.top_k AS TEXT) IS DISTINCT FROM CAST(stored.top_k AS TEXT)
        OR CAST(staged.by_network AS TEXT) IS DISTINCT FROM CAST(stored.by_network AS TEXT)
        OR (
            staged.picture_at IS DISTINCT FROM stored.picture_at
            AND (stored.picture_at IS NULL OR stored.run_id = :run_id)
        )
    )
)
"""

# On PostgreSQL, ON CONFLICT locks, and so rewrites, every row that exists; MERGE does not. SQLite has no MERGE.
_MERGE = f"""
MERGE INTO category_predictions AS stored
USING (
    SELECT DISTINCT ON (product_id, image_sha256) *
    FROM staged_predictions
    ORDER BY
        product_id, image_sha256, ingest_date DESC, ingest_no DESC, image_no, image_uri, category_id, confidence,
        picture_at
) AS staged
ON
    stored.product_id = staged.product_id
    AND stored.release_id = :release_id
    AND stored.image_sha256 = staged.image_sha256
WHEN MATCHED AND ({_CHANGED}) THEN UPDATE SET
    {", ".join(f"{name} = staged.{name}" for name in _VALUES)}, run_id = :run_id, predicted_at_utc = :moment
WHEN NOT MATCHED THEN
    INSERT ({", ".join(_STORED)}, release_id, run_id, predicted_at_utc)
    VALUES ({", ".join(f"staged.{name}" for name in _STORED)}, :release_id, :run_id, :moment)
"""  # noqa: S608 - names of our own

_UPSERT = f"""
INSERT INTO category_predictions AS stored ({", ".join(_STORED)}, release_id, run_id, predicted_at_utc)
SELECT {", ".join(_STORED)}, :release_id, :run_id, :moment
FROM staged_predictions
WHERE true
ORDER BY product_id, image_sha256
ON CONFLICT (product_id, release_id, image_sha256) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in _VALUES)}, run_id = :run_id, predicted_at_utc = :moment
WHERE {_CHANGED.replace("staged.", "excluded.")}
"""  # noqa: S608 - names of our own

_DROPPED_REJECTIONS = sa.text("""
DELETE FROM rejected_images
WHERE
    run_id = :run_id
    AND NOT EXISTS (
        SELECT 1
        FROM staged_rejections AS staged
        WHERE staged.product_id = rejected_images.product_id AND staged.image_no = rejected_images.image_no
    )
""")

# Rejections of an image that a later ingest of the same date replaced by a usable one.
_REPLACED_REJECTIONS = sa.text("""
DELETE FROM staged_rejections
WHERE EXISTS (
    SELECT 1
    FROM staged_predictions AS newer
    WHERE
        newer.product_id = staged_rejections.product_id
        AND newer.image_no = staged_rejections.image_no
        AND newer.ingest_date = staged_rejections.ingest_date
        AND newer.ingest_no > staged_rejections.ingest_no
)
""")

_REJECTIONS = sa.text("""
INSERT INTO rejected_images (
    run_id, product_id, image_no, image_uri, image_sha256, ingest_date, reason, detail, seen_at_utc
)
SELECT :run_id, product_id, image_no, image_uri, image_sha256, ingest_date, reason, detail, seen_at_utc
FROM (
    SELECT
        staged.*,
        row_number() OVER (
            PARTITION BY product_id, image_no
            ORDER BY ingest_date DESC, ingest_no DESC, seen_at_utc DESC, image_uri, reason, detail
        ) AS place
    FROM staged_rejections AS staged
) AS ranked
WHERE place = 1
ORDER BY product_id, image_no
ON CONFLICT (run_id, product_id, image_no) DO UPDATE SET
    image_uri = excluded.image_uri,
    image_sha256 = excluded.image_sha256,
    ingest_date = excluded.ingest_date,
    reason = excluded.reason,
    detail = excluded.detail,
    seen_at_utc = excluded.seen_at_utc
WHERE
    excluded.image_uri <> rejected_images.image_uri
    OR excluded.image_sha256 IS DISTINCT FROM rejected_images.image_sha256
    OR excluded.ingest_date <> rejected_images.ingest_date
    OR excluded.reason <> rejected_images.reason
    OR excluded.detail IS DISTINCT FROM rejected_images.detail
    OR excluded.seen_at_utc <> rejected_images.seen_at_utc
""")


def merge_predictions(connection: Connection, run_id: str, release_id: str, moment: datetime) -> tuple[int, int]:
    """Merge `staged_predictions` into the history: of duplicates the newest; a stored row of a newer ingest stays.

    Rows of other runs that are overwritten are kept in `replaced_predictions`.

    Returns:
        Number of images of the run, and number of rows added or changed.
    """
    postgresql = connection.dialect.name == "postgresql"
    if not postgresql:
        _drop_duplicates(connection)
    statement = sa.text(_MERGE if postgresql else _UPSERT).bindparams(sa.bindparam("moment", type_=UtcDateTime()))
    values = {"release_id": release_id, "run_id": run_id, "moment": moment}
    keep_overwritten(connection, run_id, release_id, _CHANGED)
    written = connection.execute(statement, values).rowcount
    if postgresql and written < staged_images(connection):
        # Fewer rows were written than staged: some were unchanged, or there were duplicates to remove.
        _drop_duplicates(connection)
    return staged_images(connection), written


def _drop_duplicates(connection: Connection) -> None:
    postgresql = connection.dialect.name == "postgresql"
    if postgresql and connection.execute(_DISTINCT).scalar_one() == staged_images(connection):
        return
    row = "ctid" if postgresql else "rowid"
    if connection.exec_driver_sql(_DROP_DUPLICATES.format(row=row)).rowcount:
        count_staged(connection)


def merge_rejections(connection: Connection, run_id: str) -> tuple[int, int]:
    """Replace the run's rejections in the history by `staged_rejections`. Return images, and rows changed."""
    connection.execute(_REPLACED_REJECTIONS)
    dropped = connection.execute(_DROPPED_REJECTIONS, {"run_id": run_id}).rowcount
    written = connection.execute(_REJECTIONS, {"run_id": run_id}).rowcount
    kept = sa.text("SELECT count(*) FROM rejected_images WHERE run_id = :run_id")
    return int(connection.execute(kept, {"run_id": run_id}).scalar_one()), dropped + written

"""Merge what a run predicted and what it had to reject.

The key of a prediction is product, release and image content. Two rows of one key in the staging (a task that ran
twice) are one; a row that would not change is not written.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.tables import UtcDateTime

_PREDICTIONS = sa.text("""
INSERT INTO category_predictions (
    product_id, release_id, image_sha256, image_no, image_uri, ingest_date, category_id, confidence, status,
    top_k, by_network, run_id, predicted_at_utc
)
SELECT
    product_id, :release_id, image_sha256, image_no, image_uri, ingest_date, category_id, confidence, status,
    top_k, by_network, :run_id, :moment
FROM (
    SELECT
        staged.*,
        row_number() OVER (
            PARTITION BY product_id, image_sha256
            ORDER BY ingest_date DESC, image_no, image_uri, category_id, confidence
        ) AS place
    FROM staged_predictions AS staged
) AS ranked
WHERE place = 1
ORDER BY product_id, image_sha256
ON CONFLICT (product_id, release_id, image_sha256) DO UPDATE SET
    image_no = excluded.image_no,
    image_uri = excluded.image_uri,
    ingest_date = excluded.ingest_date,
    category_id = excluded.category_id,
    confidence = excluded.confidence,
    status = excluded.status,
    top_k = excluded.top_k,
    by_network = excluded.by_network,
    run_id = excluded.run_id,
    predicted_at_utc = excluded.predicted_at_utc
WHERE
    excluded.ingest_date > category_predictions.ingest_date
    OR (
        excluded.ingest_date = category_predictions.ingest_date
        AND (
            excluded.image_no <> category_predictions.image_no
            OR excluded.image_uri <> category_predictions.image_uri
            OR excluded.category_id IS DISTINCT FROM category_predictions.category_id
            OR excluded.confidence IS DISTINCT FROM category_predictions.confidence
            OR excluded.status <> category_predictions.status
            OR CAST(excluded.top_k AS TEXT) IS DISTINCT FROM CAST(category_predictions.top_k AS TEXT)
            OR CAST(excluded.by_network AS TEXT) IS DISTINCT FROM CAST(category_predictions.by_network AS TEXT)
        )
    )
""").bindparams(sa.bindparam("moment", type_=UtcDateTime()))

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

_REJECTIONS = sa.text("""
INSERT INTO rejected_images (
    run_id, product_id, image_no, image_uri, image_sha256, ingest_date, reason, detail, seen_at_utc
)
SELECT :run_id, product_id, image_no, image_uri, image_sha256, ingest_date, reason, detail, seen_at_utc
FROM (
    SELECT
        staged.*,
        row_number() OVER (
            PARTITION BY product_id, image_no ORDER BY seen_at_utc DESC, image_uri, reason, detail
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
    """Merge `staged_predictions`; a row of a newer ingest date stays. Return distinct images and rows written."""
    values = {"release_id": release_id, "run_id": run_id, "moment": moment}
    written = connection.execute(_PREDICTIONS, values).rowcount
    return _count_distinct(connection, "staged_predictions", "product_id, image_sha256"), written


def merge_rejections(connection: Connection, run_id: str) -> tuple[int, int]:
    """Make the run's rejections those of `staged_rejections`. Return distinct images and rows written or dropped."""
    dropped = connection.execute(_DROPPED_REJECTIONS, {"run_id": run_id}).rowcount
    written = connection.execute(_REJECTIONS, {"run_id": run_id}).rowcount
    return _count_distinct(connection, "staged_rejections", "product_id, image_no"), dropped + written


def _count_distinct(connection: Connection, table: str, key: str) -> int:
    counted = connection.execute(sa.text(f"SELECT count(*) FROM (SELECT DISTINCT {key} FROM {table}) AS keys"))  # noqa: S608
    return int(counted.scalar_one())

"""Schemas of the Parquet files that jobs exchange; each schema is defined only here.

Ingest writes `images/`, `seen/` and `catalog_rows/`; predict writes `predictions/` and `thumbnails/`. Publish writes
predictions to the product database, whose columns have the same names (a test compares them).

Every row of ingest has an `ingest_no`: the driver numbers the ingests of a date from 1. If an image has several rows,
the newest is the one with the latest ingest date, then with the highest `ingest_no`; the machines' clocks do not
matter. Two drivers that run at once may use the same number; then the row with the greater `image_sha256` is the newer
one. Every reader applies this rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from sql import records

CATALOG_COLUMNS = records.CATALOG_COLUMNS
CATALOG_REQUIRED = records.CATALOG_REQUIRED

CATALOG_KEY = ("product_id", "image_no")
"""Columns that identify a row of the catalog."""

CATALOG_TEXTS = ("title", "category", "updated_at")
"""What the shop says of a product, stored as it is; may be null."""

CATALOG_NULLABLE = (*CATALOG_TEXTS, "group_id")
"""The catalog columns that may be null."""

LATER_COLUMNS = ("group_id", "catalog_name", "counts_from", "review_reason", "picture_at", "foreign_score")
"""Columns that files of an earlier version lack. Every reader takes them as null there; all but the last are texts."""

IMAGE_KEY = (*CATALOG_KEY, "image_sha256")
"""Columns of an `ImageKey`, in its order."""

ImageKey = tuple[str, int, str]
"""One image with its content: (product_id, image_no, image_sha256)."""

_CATALOG_FIELDS = tuple(
    pa.field(name, pa.int32() if name == "image_no" else pa.string(), nullable=name in CATALOG_NULLABLE)
    for name in CATALOG_COLUMNS
)

IMAGES = pa.schema(
    [
        *_CATALOG_FIELDS,
        pa.field("image_sha256", pa.string(), nullable=False),
        pa.field("source_size_bytes", pa.int64(), nullable=False),
        pa.field("source_mtime_ns", pa.int64()),
        pa.field("source_version", pa.string()),
        pa.field("ingest_no", pa.int32(), nullable=False),
        pa.field("seen_at_utc", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("width_px", pa.int32(), nullable=False),
        pa.field("height_px", pa.int32(), nullable=False),
        pa.field("catalog_name", pa.string()),
        pa.field("jpeg", pa.binary(), nullable=False),
    ]
)
"""One row per usable image, under images/ingest_date=YYYY-MM-DD/.

`jpeg` is RGB, upright, its short side at most 320 px. An image from a local file has `source_mtime_ns`. An image from a
web server or object store has `source_version`: `etag:...` or `last-modified:...`, with the value that was received."""

KEY_COLUMNS = (*CATALOG_COLUMNS, "image_sha256", "ingest_no", "catalog_name")
"""Columns that predict copies from an image to its prediction."""

KEY_NULLABLE = (*CATALOG_NULLABLE, "catalog_name")
"""Those of `KEY_COLUMNS` that may be null."""

SEEN = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("image_no", pa.int32(), nullable=False),
        pa.field("image_uri", pa.string(), nullable=False),
        pa.field("image_sha256", pa.string()),
        pa.field("source_size_bytes", pa.int64()),
        pa.field("source_mtime_ns", pa.int64()),
        pa.field("source_version", pa.string()),
        pa.field("ingest_no", pa.int32(), nullable=False),
        pa.field("seen_at_utc", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("catalog_name", pa.string()),
        pa.field("counts_from", pa.string()),
    ]
)
"""One row per image that ingest did not store but learned something of, under seen/ingest_date=YYYY-MM-DD/.

`outcome` is:
`rejected`: The image was read and cannot be used; with reason and detail.
`unchanged`: The image was read, and the product has had these bytes before, at this position or another. From now on
    they are its picture at this position.
`named`: The catalog names an image again that it did not name, or that another catalog has named first.
`left`: The catalog no longer names the image.

`catalog_name` is the catalog that was read. An image that is stored or rejected for the first time is named by its
catalog without a row `named`. A row `named` with an image_sha256 stands for a row of images/ that was deleted.
`counts_from` (YYYY-MM-DD) is the night from which a row `left` counts if it is not that of the partition: a missed
night that is read late finds products that a later night did not name. Such a row is older than all rows of that
night's own ingests, as if its ingest_no were 0."""

CATALOGS = pa.schema([pa.field("catalog_name", pa.string(), nullable=False)])
"""One row per full catalog that was read for a night, under catalogs/ingest_date=YYYY-MM-DD/; deltas have none.

A night that is read late removes nothing from a catalog that has been read in full for a later night."""

CATALOG_ROWS = pa.schema(
    [
        *_CATALOG_FIELDS,
        pa.field("ingest_no", pa.int32(), nullable=False),
    ]
)
"""One row per catalog row that changes the data of an image stored before, under catalog_rows/ingest_date=YYYY-MM-DD/.

A new title needs no new prediction, so publish reads it from here."""

PREDICTIONS = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("release_id", pa.string(), nullable=False),
        pa.field("image_sha256", pa.string(), nullable=False),
        pa.field("image_no", pa.int32(), nullable=False),
        pa.field("image_uri", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("category", pa.string()),
        pa.field("updated_at", pa.string()),
        pa.field("group_id", pa.string()),
        pa.field("ingest_date", pa.date32(), nullable=False),
        pa.field("ingest_no", pa.int32(), nullable=False),
        pa.field("catalog_name", pa.string()),
        pa.field("category_id", pa.string()),
        pa.field("confidence", pa.float64()),
        pa.field("status", pa.string()),
        pa.field("top_k", pa.string()),
        pa.field("by_network", pa.string()),
        pa.field("review_reason", pa.string()),
        pa.field("foreign_score", pa.float64()),
        pa.field("picture_at", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
    ]
)
"""One row per image and one file per shard, under predictions/run_id=R/. An image that the networks could not predict
has `reason` and `detail` instead of a category. `top_k` and `by_network` are JSON: `[["apparel.tops.shirt", 0.93],
...]`, the highest confidence first, and `{"xception": ["apparel.tops.shirt", 0.91], ...}`, each network's top-1
category. `review_reason` is one of `sql.records.REVIEW_REASONS`, as far as it lies in the image. `foreign_score` is
above 1 for an image that is foreign to the release, and null if there is no score. `picture_at` is where the picture
lies, as `jobs.dataset.thumbnails` writes it: with its thumbnail for an answer that waits for a person; null where no
answer is, and in files of earlier versions for answers that do not wait."""

THUMBNAILS = pa.schema(
    [
        *(PREDICTIONS.field(name) for name in ("product_id", "image_no", "image_sha256")),
        pa.field("thumbnail", pa.binary(), nullable=False),
        pa.field("descriptor", pa.binary()),
    ]
)
"""One row per answer that waits for a person, under thumbnails/run_id=R/ingest_date=YYYY-MM-DD/, in a file with the
name of its shard. `thumbnail` is a JPEG whose longer side is at most 160 px. `descriptor` is what the networks saw in
eight bits, see `models.known.images.KnownImages.described`; null if the release does not describe what it knows."""


def image_keys(columns: Mapping[str, Iterable[Any]]) -> list[ImageKey]:
    """Return the key of each row.

    Args:
        columns: Columns by name, `IMAGE_KEY` among them: a pandas DataFrame, the arrays of a batch, or `to_pydict()` of
            an Arrow table.
    """
    rows = zip(*(columns[name] for name in IMAGE_KEY), strict=True)
    return [(str(product_id), int(image_no), str(content)) for product_id, image_no, content in rows]

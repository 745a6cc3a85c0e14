"""The columns of every table that passes between jobs, written once.

`images/` and `seen/` are what ingest leaves, `predictions/` is what predict leaves; publish turns the latter into rows
of the product database, whose columns bear the same names (a test compares them).

Every row of ingest has an `ingest_no`: the driver numbers the ingests of a date from 1. Of several rows of one image
the newest is that of the latest ingest date, then of the highest `ingest_no`, whatever the machines' clocks show. Two
drivers at once may give the same number; then the greater `image_sha256` counts as newer, everywhere alike.
"""

from __future__ import annotations

import pyarrow as pa

from sql import records

CATALOG_REQUIRED = ("product_id", "image_uri")
CATALOG_COLUMNS = ("product_id", "image_no", "image_uri", "title", "category", "updated_at")

_CATALOG_FIELDS = (
    pa.field("product_id", pa.string(), nullable=False),
    pa.field("image_no", pa.int32(), nullable=False),
    pa.field("image_uri", pa.string(), nullable=False),
    pa.field("title", pa.string()),
    pa.field("category", pa.string()),
    pa.field("updated_at", pa.string()),
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
        pa.field("jpeg", pa.binary(), nullable=False),
    ]
)
"""One row an image that can be used, under images/ingest_date=YYYY-MM-DD/.

`jpeg` is RGB, upright, its short side at most 320 px. A local file has a modification time, and what a web server or an
object store gave has `source_version`: `etag:...` or `last-modified:...`, in the source's own words."""

KEY_COLUMNS = (*CATALOG_COLUMNS, "image_sha256", "ingest_no")
"""What predict carries over from an image to its answer."""

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
    ]
)
"""One row an image that ingest read without storing it, under seen/ingest_date=YYYY-MM-DD/.

`outcome` is `rejected` (then with reason and detail) or `unchanged` (new modification time, same bytes).
"""

CATALOG_ROWS = pa.schema(
    [
        *_CATALOG_FIELDS,
        pa.field("ingest_no", pa.int32(), nullable=False),
    ]
)
"""One row a catalog row that says something new of an image stored before, under catalog_rows/ingest_date=YYYY-MM-DD/.

A new title needs no new prediction, so that publish takes it from here."""

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
        pa.field("ingest_date", pa.date32(), nullable=False),
        pa.field("ingest_no", pa.int32(), nullable=False),
        pa.field("category_id", pa.string()),
        pa.field("confidence", pa.float64()),
        pa.field("status", pa.string()),
        pa.field("top_k", pa.string()),
        pa.field("by_network", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
    ]
)
"""One row an image, a file a shard, under predictions/run_id=R/. An image that no network could take has `reason` and
`detail` instead of an answer. `top_k` and `by_network` are JSON: `[["apparel.tops.shirt", 0.93], ...]`, the surest
first, and `{"xception": ["apparel.tops.shirt", 0.91], ...}`, each network's own first choice."""

REJECTION_REASONS = records.REJECTION_REASONS
"""Why an image could not be used; the closed list of the database's check constraint.

`missing`: nothing is at the URI. `unreadable`: something is, but reading it failed, so it is tried again every night.
`uri_not_allowed`: not a path or URI that may be read, or a web server at an address that may not be reached. `empty`:
no bytes. `not_an_image`: other content, such as HTML. `unsupported_format`: an image, but of a format that is not read.
`truncated`, `corrupt`: it begins well and then ends too soon, or does not decode. `too_small`, `too_large`: outside the
accepted sides, pixels or bytes. `inference_failed`: the stored image broke prediction.
"""

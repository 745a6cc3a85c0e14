"""Make a row of an image as ingest stores it, for tests without ingest; and files as an earlier version wrote them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def image_row(product_id: str, **columns: Any) -> dict[str, Any]:
    """Return a row of `jobs.dataset.schema.IMAGES`; `columns` replaces default values."""
    row = {
        "product_id": product_id,
        "image_no": 0,
        "image_uri": f"{product_id}.jpg",
        "title": None,
        "category": None,
        "updated_at": None,
        "group_id": None,
        "image_sha256": product_id.removeprefix("p").zfill(64),
        "source_size_bytes": 1,
        "source_mtime_ns": 1,
        "source_version": None,
        "ingest_no": 1,
        "seen_at_utc": datetime(2026, 11, 1, tzinfo=UTC),
        "width_px": 30,
        "height_px": 20,
        "catalog_name": "shop",
        "jpeg": b"x" * 100,
    }
    assert columns.keys() <= row.keys()
    return {**row, **columns}


def seen_row(product_id: str, outcome: str, **columns: Any) -> dict[str, Any]:
    """Return a row of `jobs.dataset.schema.SEEN`; `columns` replaces default values."""
    row = {
        "product_id": product_id,
        "image_no": 0,
        "image_uri": f"{product_id}.jpg",
        "image_sha256": None,
        "source_size_bytes": None,
        "source_mtime_ns": None,
        "source_version": None,
        "ingest_no": 1,
        "seen_at_utc": datetime(2026, 11, 1, tzinfo=UTC),
        "outcome": outcome,
        "reason": "unreadable" if outcome == "rejected" else None,
        "detail": None,
        "catalog_name": "shop",
        "counts_from": None,
    }
    assert columns.keys() <= row.keys()
    return {**row, **columns}


def without_groups(directory: Path) -> int:
    """Write the Parquet files below a directory as the version before `group_id` did; return their number."""
    return without_columns(directory, "group_id")


def without_columns(directory: Path, *names: str) -> int:
    """Write the Parquet files below a directory without some columns; return their number."""
    files = list(directory.rglob("*.parquet"))
    for file in files:
        table = pq.read_table(file, partitioning=None)
        lost = [name for name in names if name in table.column_names]
        if lost:
            pq.write_table(table.drop_columns(lost), file, row_group_size=64)
    return len(files)

"""The partitions of the dataset, one for each ingest date: which exist, how many usable images, which rejected ones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.dataset.shards import check_columns, row_count, shards, sound, whole_table
from jobs.storage.places import Place, Places
from jobs.storage.stores import children, reading

SEEN_TAKEN = (
    "product_id",
    "image_no",
    "image_uri",
    "image_sha256",
    "ingest_no",
    "seen_at_utc",
    "outcome",
    "reason",
    "detail",
)
"""Columns of `SEEN` that publish reads."""


@dataclass(frozen=True)
class Partition:
    """Summary of one ingest date's partition.

    Attributes:
        images: Number of usable images.
        rejections: Rows of `SEEN` for rejected images, without those that a later ingest of the same date stored.
    """

    images: int
    rejections: list[dict[str, Any]]

    @property
    def rejected_share(self) -> float:
        """Share of rejected images among the date's new images, in [0, 1]."""
        total = self.images + len(self.rejections)
        return len(self.rejections) / total if total else 0.0

    def rejected_by_reason(self) -> dict[str, int]:
        """Return the number of rejections by reason, the most frequent reason first."""
        counts: dict[str, int] = {}
        for row in self.rejections:
            counts[row["reason"]] = counts.get(row["reason"], 0) + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def partition_dates(root: Place, first: date, last: date) -> list[date]:
    """List the ingest dates that have a partition, from `first` to `last` inclusive."""
    dates = []
    for path in children(root, "ingest_date=*"):
        try:
            day = date.fromisoformat(path.name.removeprefix("ingest_date="))
        except ValueError:
            continue
        if first <= day <= last and children(path, "part-*.parquet"):
            dates.append(day)
    return sorted(dates)


def partition(places: Places, day: date) -> Partition:
    """Read the summary of one ingest date's partition.

    Args:
        places: Directories and stores of the home.
        day: Ingest date.

    Returns:
        The number of usable images and the rejections.
    """
    rejected: dict[tuple[str, int], dict[str, Any]] = {}
    for path in shards(places.seen, [day]):
        with sound(path):
            seen = whole_table(path, pq.read_table)
        check_columns(path, seen.column_names, SEEN_TAKEN)
        for row in seen.to_pylist():
            if row["outcome"] == "rejected":
                _keep_newest(rejected, row)
    stored: dict[tuple[str, int], dict[str, Any]] = {}
    files = shards(places.images, [day])
    for path in files if rejected else []:
        with sound(path):
            keys = reading(path, _keys).to_pylist()
        for row in keys:
            if (row["product_id"], row["image_no"]) in rejected:
                _keep_newest(stored, row)
    return Partition(
        images=row_count(files),
        rejections=[
            row for key, row in rejected.items() if key not in stored or stored[key]["ingest_no"] < row["ingest_no"]
        ],
    )


def _keys(file: Any) -> pa.Table:
    return pq.read_table(file, columns=["product_id", "image_no", "ingest_no"])


def _keep_newest(rows: dict[tuple[str, int], dict[str, Any]], row: dict[str, Any]) -> None:
    key = (row["product_id"], row["image_no"])
    if key not in rows or rows[key]["ingest_no"] < row["ingest_no"]:
        rows[key] = row

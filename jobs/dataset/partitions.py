"""The partitions of the dataset, one for each ingest date: which exist, how many usable images, which rejected ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow.parquet as pq

from jobs.dataset.schema import CATALOG_KEY, SEEN
from jobs.dataset.shards import check_columns, read_errors_explained, shard_rows, shards, whole_table
from jobs.storage.places import Place, Places
from jobs.storage.stores import children
from sql.records import REJECTION_COLUMNS

SEEN_TAKEN = (*(name for name in REJECTION_COLUMNS if name in SEEN.names), "outcome")
"""Columns of `SEEN` that publish reads."""


@dataclass(frozen=True)
class Partition:
    """Summary of one ingest date's partition.

    Attributes:
        images_by_shard: Number of usable images of each image shard, in order of name.
        rejections: Rows of `SEEN` with their `ingest_date` for rejected images, without those that a later ingest of
            the same date stored.
    """

    images_by_shard: Mapping[Place, int]
    rejections: list[dict[str, Any]]

    @property
    def images(self) -> int:
        """Number of usable images."""
        return sum(self.images_by_shard.values())

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
    """Read the summary of one ingest date's partition; each of its files is opened once.

    Args:
        places: Directories and stores of the home.
        day: Ingest date.

    Returns:
        The number of usable images and the rejections.

    Raises:
        RunFailed: If a file is damaged, or was written by another version; the message names the remedy.
    """
    rejected: dict[tuple[str, int], dict[str, Any]] = {}
    for path in shards(places.seen, [day]):
        with read_errors_explained(path):
            seen = whole_table(path, pq.read_table)
        check_columns(path, seen.column_names, SEEN_TAKEN)
        for row in seen.to_pylist():
            if row["outcome"] == "rejected":
                _keep_newest(rejected, {**row, "ingest_date": day})
    stored: dict[tuple[str, int], dict[str, Any]] = {}
    images: dict[Place, int] = {}
    for path in shards(places.images, [day]):
        images[path], keys = shard_rows(path, [*CATALOG_KEY, "ingest_no"] if rejected else [])
        for row in keys.to_pylist():
            if (row["product_id"], row["image_no"]) in rejected:
                _keep_newest(stored, row)
    return Partition(
        images_by_shard=images,
        rejections=[
            row for key, row in rejected.items() if key not in stored or stored[key]["ingest_no"] < row["ingest_no"]
        ],
    )


def _keep_newest(rows: dict[tuple[str, int], dict[str, Any]], row: dict[str, Any]) -> None:
    key = (row["product_id"], row["image_no"])
    if key not in rows or rows[key]["ingest_no"] < row["ingest_no"]:
        rows[key] = row

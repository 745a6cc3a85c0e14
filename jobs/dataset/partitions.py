"""The partitions of the dataset, one for each ingest date: which exist, how many usable images, which rejected ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.dataset.schema import CATALOG_KEY, SEEN
from jobs.dataset.shards import (
    check_columns,
    highest_ingest_no,
    read_errors_explained,
    shard_rows,
    shards,
    whole_table,
)
from jobs.storage.places import Place, Places
from jobs.storage.stores import children
from sql.records import IMAGE_CHANGES, REJECTION_COLUMNS

SEEN_TAKEN = (*(name for name in REJECTION_COLUMNS if name in SEEN.names), "outcome")
"""Columns of `SEEN` that publish reads of rejected images."""


@dataclass(frozen=True)
class Partition:
    """Summary of one ingest date's partition.

    Attributes:
        images_by_shard: Number of usable images of each image shard, in order of name.
        rejections: Rows of `SEEN` with their `ingest_date` for rejected images, without those that a later ingest of
            the same date stored or knew already.
        changes: Files under seen/ with image changes to publish, rows whose outcome is one of `IMAGE_CHANGES`.
        ingest_no: The highest ingest_no of the rows under images/, seen/ and catalog_rows/, 0 without one.
    """

    images_by_shard: Mapping[Place, int]
    rejections: list[dict[str, Any]]
    changes: tuple[Place, ...] = ()
    ingest_no: int = 0

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
    return [day for day in dates_below(root) if first <= day <= last and shards(root, [day])]


def dates_below(root: Place) -> list[date]:
    """List the ingest dates that have a directory, in order; what the directories hold is not looked at."""
    dates = []
    for path in children(root, "ingest_date=*"):
        with suppress(ValueError):
            dates.append(date.fromisoformat(path.name.removeprefix("ingest_date=")))
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
    usable: dict[tuple[str, int], dict[str, Any]] = {}
    known = {path: _seen_rows(path) for path in shards(places.seen, [day])}
    for row in (row for seen in known.values() for row in _with_outcome(seen, "rejected").to_pylist()):
        _keep_newest(rejected, {**row, "ingest_date": day})
    for seen in known.values() if rejected else ():
        _keep_usable(usable, _with_outcome(seen, "unchanged"), rejected)
    images: dict[Place, int] = {}
    highest = max((pc.max(seen["ingest_no"]).as_py() or 0 for seen in known.values()), default=0)
    for path in shards(places.images, [day]):
        images[path], keys, number = shard_rows(path, [*CATALOG_KEY, "ingest_no"] if rejected else [])
        highest = max(highest, number)
        if rejected:
            _keep_usable(usable, keys, rejected)
    highest = max([highest, *map(highest_ingest_no, shards(places.catalog_rows, [day]))])
    changes = pa.array(IMAGE_CHANGES, pa.string())  # not of the module: Arrow's first array imports pandas
    return Partition(
        images_by_shard=images,
        rejections=[
            row for key, row in rejected.items() if key not in usable or usable[key]["ingest_no"] < row["ingest_no"]
        ],
        changes=tuple(path for path, seen in known.items() if pc.any(pc.is_in(seen["outcome"], changes)).as_py()),
        ingest_no=highest,
    )


def _seen_rows(path: Place) -> pa.Table:
    """Read the columns of a file under seen/ that publish needs of rejected images; files may lack later columns."""
    with read_errors_explained(path):
        seen = whole_table(path, pq.read_table)
    check_columns(path, seen.column_names, SEEN_TAKEN)
    for name in set(SEEN_TAKEN).difference(seen.column_names):
        seen = seen.append_column(name, pa.nulls(len(seen), pa.string()))
    return seen.select(SEEN_TAKEN)


def _with_outcome(seen: pa.Table, outcome: str) -> pa.Table:
    """Keep the rows of one outcome; a night may have millions of others, which must not become Python objects."""
    return seen.filter(pc.equal(seen["outcome"], outcome))


def _keep_usable(usable: dict[tuple[str, int], dict[str, Any]], keys: pa.Table, rejected: Collection[Any]) -> None:
    """Keep the newest of the rows whose image was rejected too."""
    products = pa.array({product_id for product_id, _ in rejected}, pa.string())
    wanted = keys.select([*CATALOG_KEY, "ingest_no"]).filter(pc.is_in(keys["product_id"], products))
    for row in wanted.to_pylist():
        if (row["product_id"], row["image_no"]) in rejected:
            _keep_newest(usable, row)


def _keep_newest(rows: dict[tuple[str, int], dict[str, Any]], row: dict[str, Any]) -> None:
    key = (row["product_id"], row["image_no"])
    if key not in rows or rows[key]["ingest_no"] < row["ingest_no"]:
        rows[key] = row

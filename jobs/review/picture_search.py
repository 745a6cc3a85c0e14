"""The search for pictures of which no prediction says where they lie: answers without a person, and earlier versions.

Only the date of a picture is known. The key columns of the newest files of its partition are read, and kept in memory
as hashes. What is found by a hash is compared when the picture is read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.dataset.stored_images import group_sizes, opened
from jobs.review.byte_cache import ByteCache
from jobs.review.file_reads import THREADS, Reads
from jobs.storage.places import Place, Places

FILES = 64
"""Most files whose keys are read for one page, and most files of a date that are searched."""

KEYS_BYTES = 32 * 2**20
"""Bytes of the keys that are kept in memory: 8 an image."""

PictureKey = tuple[str, str]
"""A picture of a product: (product_id, image_sha256)."""

_PARTS = "part-*.parquet"
_TIMES = ("LastModified", "mtime", "last_modified", "updated", "created")
"""Under one of these names a store's library has the time of a file."""


@dataclass(frozen=True)
class _Keys:
    """Hashes of a file's keys, int64 (images,), and the number of images up to the end of each row group."""

    hashes: NDArray[np.int64]
    ends: NDArray[np.int64]

    def find(self, key: PictureKey) -> tuple[int, int] | None:
        """Return row group and row of a key; None if it is not in the file."""
        rows = np.flatnonzero(self.hashes == hash(key))
        if not len(rows):
            return None
        group = int(np.searchsorted(self.ends, rows[0], side="right"))
        return group, int(rows[0]) - (int(self.ends[group - 1]) if group else 0)


class PictureSearch:
    """Finds pictures in the dataset by their keys; keeps the keys of files that it has read."""

    def __init__(self, places: Places, *, keys_bytes: int = KEYS_BYTES) -> None:
        """Make a search that knows no file yet."""
        self._places = places
        self._kept = ByteCache[Place, _Keys](keys_bytes)

    def find(self, reads: Reads, wanted: Iterable[tuple[PictureKey, date]]) -> dict[PictureKey, tuple[Place, int, int]]:
        """Find pictures.

        Args:
            reads: Reads of the page.
            wanted: Key and ingest date of each picture.

        Returns:
            Maps the keys that were found to file, row group and row.
        """
        by_date: defaultdict[date, set[PictureKey]] = defaultdict(set)
        for key, day in wanted:
            by_date[day].add(key)
        found: dict[PictureKey, tuple[Place, int, int]] = {}
        left = FILES
        directories = {self._places.partition(self._places.images, day): day for day in sorted(by_date, reverse=True)}
        listed = dict(reads.each(_newest_files, directories))
        for day in directories.values():
            files, missing = listed.get(day, [])[:FILES], by_date[day]
            for start in range(0, len(files), THREADS):
                if not missing or reads.away:
                    break
                some, asked = self._keys(reads, files[start : start + THREADS], most=left)
                left -= asked
                for file, keys in some.items():
                    places = {key: place for key in missing if (place := keys.find(key))}
                    found |= {key: (file, *place) for key, place in places.items()}
                    missing -= places.keys()
        return found

    def _keys(self, reads: Reads, files: Sequence[Place], *, most: int) -> tuple[Mapping[Place, _Keys], int]:
        """Return the keys of files, and how many files had to be read for them, at most so many."""
        kept = {file: keys for file in files if (keys := self._kept.get(file))}
        unread = [file for file in files if file not in kept][:most]
        for file, keys in reads.each(_keys_of, dict.fromkeys(unread)):
            kept[file] = keys
            self._kept.put(file, keys, keys.hashes.nbytes + keys.ends.nbytes + 500)
        return kept, len(unread)


def _keys_of(file: Place, _: None) -> tuple[Place, _Keys]:
    with opened(file) as parquet:
        sizes = group_sizes(parquet)
        table = parquet.read(columns=["product_id", "image_sha256"])
    keys = zip(table.column("product_id").to_pylist(), table.column("image_sha256").to_pylist(), strict=True)
    hashes = np.fromiter((hash(key) for key in keys), np.int64, len(table))
    return file, _Keys(hashes, np.cumsum(np.array(sizes, np.int64)))


def _newest_files(directory: Place, day: date) -> tuple[date, list[Place]]:
    """Return the files of a partition, the newest first; without the retries of `jobs.storage.stores`."""
    if isinstance(directory, Path):
        return day, [*sorted(directory.glob(_PARTS), key=lambda path: (-path.stat().st_mtime, path.name))]
    try:
        entries = directory.fs.ls(directory.path, detail=True)
    except FileNotFoundError:  # pruned, or of a date without images
        return day, []
    named = {str(entry["name"]).rstrip("/").rpartition("/")[2]: _time(entry) for entry in entries}
    names = sorted((name for name in named if fnmatchcase(name, _PARTS)), key=lambda name: (-named[name], name))
    return day, [directory / name for name in names]


def _time(entry: Mapping[str, Any]) -> float:
    value = next((entry[name] for name in _TIMES if entry.get(name) is not None), 0.0)
    return (
        value.timestamp() if isinstance(value, datetime) else float(value) if isinstance(value, (int, float)) else 0.0
    )

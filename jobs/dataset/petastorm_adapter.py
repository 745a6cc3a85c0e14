"""Adapter for Petastorm's batch reader over the dataset's files: opens readers, times their reads, mends a race."""

from __future__ import annotations

import io
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import numpy as np
import pyarrow.parquet as pq

from jobs.dataset.petastorm_compat import petastorm
from jobs.dataset.schema import KEY_COLUMNS

log = logging.getLogger(__name__)

_QUEUE_ROW_GROUPS = 3


@dataclass
class ReaderClock:
    """Counts the seconds that Petastorm's threads spend reading and decoding, summed over the threads."""

    decoding_seconds: float = 0.0
    reading_seconds: float = 0.0
    _lock: Any = field(default_factory=Lock, repr=False)

    def decode(self, seconds: float) -> None:
        """Add the decoding time of one worker."""
        with self._lock:
            self.decoding_seconds += seconds

    def read(self, seconds: float) -> None:
        """Add the reading time of one worker."""
        with self._lock:
            self.reading_seconds += seconds


class Blocks:
    """Passes the images of a row group from a worker thread to the thread that reads, without a copy.

    Petastorm converts what a worker returns to an Arrow table and back, which copies every pixel twice. So a worker
    puts the images here, and returns only the number of their block in a column of its rows.
    """

    COLUMN = "block"
    """Name of the column with the number of the block."""

    FIELD = (COLUMN, np.int64, (), False)
    """The column, for `adds` of `transform_of`."""

    def __init__(self) -> None:
        """Create an empty store."""
        self._blocks: dict[int, Any] = {}
        self._numbers = count()

    def put(self, images: Any) -> int:
        """Keep the images of a row group.

        Args:
            images: Array whose first axis is the rows that the worker returns.

        Returns:
            Number of the block; every row of the group must have it in `COLUMN`.
        """
        number = next(self._numbers)  # atomic in CPython, as are the operations on the dictionary
        self._blocks[number] = images
        return number

    def take(self, group: Any) -> Any:
        """Return the images of a row group and forget them.

        Args:
            group: Row group from the reader, with `COLUMN`.
        """
        return self._blocks.pop(int(getattr(group, self.COLUMN)[0]))


def transform_of(
    change: Callable[[Any], Any], *, adds: Sequence[tuple[str, Any, tuple[int, ...], bool]], drops: Sequence[str]
) -> Any:
    """Return the transform that Petastorm's worker threads apply to each row group.

    Args:
        change: Function from a pandas DataFrame of the read columns to a DataFrame of the new columns.
        adds: (name, NumPy dtype, shape, nullable) of each column that `change` adds.
        drops: Names of the columns that `change` removes.
    """
    return petastorm().TransformSpec(change, edit_fields=list(adds), removed_fields=list(drops))


def open_reader(
    files: Sequence[Path],
    transform: Any,
    workers: int,
    *,
    columns: Sequence[str] = (*KEY_COLUMNS, "jpeg"),
    shuffle_seed: int | None = None,
    clock: ReaderClock | None = None,
    part: tuple[int, int] = (0, 1),
) -> Any:
    """Open a Petastorm reader over exactly these files.

    Args:
        files: Local Parquet files.
        transform: Transform of each row group, from `transform_of`.
        workers: Number of worker threads.
        columns: Names of the columns to read.
        shuffle_seed: Seed of the order of the row groups; None does not shuffle them.
        clock: Counts the seconds spent reading.
        part: Which of how many equal parts of the row groups to read: (1, 4) is the second of four.

    Returns:
        The Petastorm reader; the caller must stop and join it.
    """
    package = petastorm()
    # Petastorm's threads print the traceback of an error that the reader raises again; print it only in the debug log.
    package.workers_pool.thread_pool.sys = SimpleNamespace(stderr=SimpleNamespace(write=log.debug))
    reader = package.make_batch_reader(
        [url_of(path) for path in files],
        schema_fields=list(columns),
        transform_spec=transform,
        reader_pool_type="thread",
        workers_count=workers,
        results_queue_size=_QUEUE_ROW_GROUPS,
        shuffle_row_groups=shuffle_seed is not None,
        seed=shuffle_seed,
        cur_shard=part[0] if part[1] > 1 else None,
        shard_count=part[1] if part[1] > 1 else None,
        filesystem=TimedFiles((clock or ReaderClock()).read),
    )
    _end_only_when_all_is_handed_out(reader)
    return reader


def _end_only_when_all_is_handed_out(reader: Any) -> None:
    """Fix a race in Petastorm 0.13.1: a reader sometimes ends early without an error, even before its first row.

    The pool checks first whether the workers have finished the work assigned to them, and then whether all work has
    been assigned. If all work is assigned between the two checks, both are true although nothing was read. In the
    reverse order the two checks cannot both be wrong.
    """
    pool, ventilator = reader._workers_pool, reader.ventilator
    workers_done = pool.all_workers_done
    pool.all_workers_done = lambda: ventilator.completed() and workers_done()


def url_of(path: Path) -> str:
    """Return the URL under which Petastorm opens a local file, with special characters quoted."""
    return f"file://{quote(os.fsencode(path.absolute()))}"


class TimedFiles:
    """File system that opens the quoted paths of `url_of`, measures the time of each read, and reads a footer once."""

    def __init__(self, measured: Callable[[float], None]) -> None:
        """Create the file system.

        Args:
            measured: Function called with the seconds of each read.
        """
        self.measured = measured
        self._footers: dict[str, pq.FileMetaData] = {}
        self._lock = Lock()

    def open(self, path: str, mode: str = "rb") -> _TimedFile:
        """Open a local file for reading.

        Args:
            path: Quoted path of the file.
            mode: Always `rb`; Petastorm may pass it.
        """
        return _TimedFile(os.fsdecode(unquote_to_bytes(path)), self)

    def footer(self, path: str) -> pq.FileMetaData:
        """Return the footer of a file: Petastorm asks for it once for each row group."""
        with self._lock:
            if path not in self._footers:
                self._footers[path] = pq.read_metadata(path)
            return self._footers[path]


class _TimedFile(io.FileIO):
    def __init__(self, path: str, files: TimedFiles) -> None:
        super().__init__(path, "rb")
        self._path, self._files = path, files

    @property
    def footer(self) -> pq.FileMetaData:
        return self._files.footer(self._path)

    def read(self, size: int | None = -1) -> Any:
        started = time.perf_counter()
        try:
            return super().read(-1 if size is None else size)
        finally:
            self._files.measured(time.perf_counter() - started)

    def __del__(self) -> None:  # Petastorm does not close its files; the garbage collector would warn
        self.close()

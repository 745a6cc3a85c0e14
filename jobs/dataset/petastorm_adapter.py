"""Adapter for Petastorm's batch reader over the dataset's files; the only module that imports Petastorm."""

from __future__ import annotations

import io
import logging
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote_to_bytes

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


def transform_of(
    change: Callable[[Any], Any], *, adds: Sequence[tuple[str, Any, tuple[int, ...], bool]], drops: Sequence[str]
) -> Any:
    """Return the transform that Petastorm's worker threads apply to each row group.

    Args:
        change: Function from a pandas DataFrame of the read columns to a DataFrame of the new columns.
        adds: (name, NumPy dtype, shape, nullable) of each column that `change` adds.
        drops: Names of the columns that `change` removes.
    """
    from petastorm.transform import TransformSpec

    return TransformSpec(change, edit_fields=list(adds), removed_fields=list(drops))


def open_reader(
    files: Sequence[Path],
    transform: Any,
    workers: int,
    *,
    columns: Sequence[str] = (*KEY_COLUMNS, "jpeg"),
    shuffle_seed: int | None = None,
    clock: ReaderClock | None = None,
) -> Any:
    """Open a Petastorm reader over exactly these files.

    Petastorm warns at every call, also in its workers, that pyarrow will remove its old interface. The project pins
    pyarrow for that reason, so only these warnings are suppressed.

    Args:
        files: Local Parquet files.
        transform: Transform of each row group, from `transform_of`.
        workers: Number of worker threads.
        columns: Names of the columns to read.
        shuffle_seed: Seed of the order of the row groups; None does not shuffle them.
        clock: Counts the seconds spent reading.

    Returns:
        The Petastorm reader; the caller must stop and join it.
    """
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"petastorm\.")
    from petastorm import make_batch_reader
    from petastorm.workers_pool import thread_pool

    # Petastorm's threads print the traceback of an error that the reader raises again; print it only in the debug log.
    thread_pool.sys = SimpleNamespace(stderr=SimpleNamespace(write=log.debug))
    reader = make_batch_reader(
        [url_of(path) for path in files],
        schema_fields=list(columns),
        transform_spec=transform,
        reader_pool_type="thread",
        workers_count=workers,
        results_queue_size=_QUEUE_ROW_GROUPS,
        shuffle_row_groups=shuffle_seed is not None,
        seed=shuffle_seed,
        filesystem=timed_files((clock or ReaderClock()).read),
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


def _path_of(name: Any) -> Path:
    return Path(os.fsdecode(unquote_to_bytes(str(name))))


def timed_files(count: Callable[[float], None]) -> Any:
    """Return the local file system that Petastorm reads from, which measures the time of each read.

    It has pyarrow's old interface, which Petastorm needs. Petastorm passes it the quoted paths of `url_of`.

    Args:
        count: Function called with the seconds of each read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        from pyarrow.filesystem import FileSystem

        class TimedFile(io.FileIO):
            def read(self, size: int | None = -1) -> Any:
                started = time.perf_counter()
                try:
                    return super().read(-1 if size is None else size)
                finally:
                    count(time.perf_counter() - started)

            def __del__(self) -> None:  # Petastorm does not close its files; the garbage collector would warn
                self.close()

        class TimedFiles(FileSystem):  # type: ignore[misc]
            """File system of timed files; not a LocalFileSystem, because pyarrow would open the quoted paths itself."""

            def open(self, path: Any, mode: str = "rb") -> Any:
                return TimedFile(_path_of(path), mode)

            def exists(self, path: Any) -> bool:
                return _path_of(path).exists()

            def isdir(self, path: Any) -> bool:
                return _path_of(path).is_dir()

            def isfile(self, path: Any) -> bool:
                return _path_of(path).is_file()

        return TimedFiles()

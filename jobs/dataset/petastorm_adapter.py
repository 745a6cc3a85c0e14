"""Petastorm's batch reader over the dataset's files; the only module that imports Petastorm."""

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
    """Seconds spent by a reader's threads, summed over them."""

    decoding_seconds: float = 0.0
    reading_seconds: float = 0.0
    _lock: Any = field(default_factory=Lock, repr=False)

    def decode(self, seconds: float) -> None:
        """Count one worker's decoding."""
        with self._lock:
            self.decoding_seconds += seconds

    def read(self, seconds: float) -> None:
        """Count one worker's reading."""
        with self._lock:
            self.reading_seconds += seconds


def transform_of(
    change: Callable[[Any], Any], *, adds: Sequence[tuple[str, Any, tuple[int, ...], bool]], drops: Sequence[str]
) -> Any:
    """Return what Petastorm's worker threads do with each row group.

    Args:
        change: From a pandas DataFrame of the read columns to one of the new columns.
        adds: Name, NumPy dtype, shape and whether it may be missing, of each column that `change` adds.
        drops: Columns that `change` takes away.
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
    """Open Petastorm over exactly these files.

    Petastorm warns at every call, in its workers too, that pyarrow's old interface will go; the pin on pyarrow is the
    answer to that, so exactly these warnings are silenced.
    """
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"petastorm\.")
    from petastorm import make_batch_reader
    from petastorm.workers_pool import thread_pool

    # Its threads print the trace of what they raise, and the reader raises that again: the second is enough.
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
    """Mend a race in Petastorm 0.13.1 by which a reader now and then ends early, or before its first row, silently.

    Its pool asks first whether the workers have done what they were given, and then whether all work has been given
    out. If all of it is given out between the two questions, both answers are yes and nothing was read. Asked the other
    way round they cannot both be wrong.
    """
    pool, ventilator = reader._workers_pool, reader.ventilator
    workers_done = pool.all_workers_done
    pool.all_workers_done = lambda: ventilator.completed() and workers_done()


def url_of(path: Path) -> str:
    """Return a URL of a local file in which nothing but the slashes has a meaning; `timed_files` reads it."""
    return f"file://{quote(os.fsencode(path.absolute()))}"


def _path_of(name: Any) -> Path:
    return Path(os.fsdecode(unquote_to_bytes(str(name))))


def timed_files(count: Callable[[float], None]) -> Any:
    """Return local files in pyarrow's old kind of file system, which Petastorm takes, with their reads timed.

    Its files are named by the paths of `url_of`, as Petastorm gives them on.
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

            def __del__(self) -> None:  # Petastorm leaves its files to the garbage collector, which would warn
                self.close()

        class TimedFiles(FileSystem):  # type: ignore[misc]
            """Is no LocalFileSystem: pyarrow opens the files of such a one itself, by their undecoded names."""

            def open(self, path: Any, mode: str = "rb") -> Any:
                return TimedFile(_path_of(path), mode)

            def exists(self, path: Any) -> bool:
                return _path_of(path).exists()

            def isdir(self, path: Any) -> bool:
                return _path_of(path).is_dir()

            def isfile(self, path: Any) -> bool:
                return _path_of(path).is_file()

        return TimedFiles()

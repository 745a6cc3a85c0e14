"""Parquet files that are there whole or not at all, and the dataset's shards made of them.

A file is written under a hidden temporary name, flushed to disk and moved into place; for an object store, which shows
nothing before it is whole, it is written here and put there. A shard's name is made from its content, so that a task
that Spark runs twice puts the same file in the same place.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.dataset.schema import KEY_COLUMNS
from jobs.errors import INGEST_AGAIN, RunFailed
from jobs.storage.faults import disk_full
from jobs.storage.places import Place
from jobs.storage.stores import children, is_remote, put, read_bytes, reading
from jobs.storage.temporary import own_directory
from models.whole_files import in_place_of

T = TypeVar("T")

ROW_GROUP_ROWS = 64
"""Images that a reader holds at once; a multiple of the usual batch sizes."""

_FILES_AT_ONCE = 8
_KEYS = ("product_id", "image_no", "image_sha256", "ingest_no")


@contextmanager
def whole_file(target: Place, schema: pa.Schema, *, compression: Mapping[str, str] | str = "zstd") -> Iterator[Any]:
    """Write a Parquet file that appears under its name only when the block ends well.

    Args:
        target: The final name; an existing file is replaced in one step.
        schema: Of the tables that the block writes.
        compression: For all columns, or by column.

    Yields:
        A pyarrow.parquet.ParquetWriter.

    Raises:
        StoreError: If a disk is full or a store cannot be written; nothing appears then.
    """
    try:
        with _placed(target) as scratch, pq.ParquetWriter(scratch, schema, compression=compression) as writer:
            yield writer
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(str(target.parent if isinstance(target, Path) else tempfile.gettempdir())) from error
        raise


@contextmanager
def _placed(target: Place) -> Iterator[Path]:
    """Yield a temporary file of this machine that is put in place of the target when the block ends well."""
    if isinstance(target, Path):
        with in_place_of(target) as scratch:
            yield scratch
        return
    with own_directory() as directory:
        yield directory / target.name
        put(directory / target.name, target)


class ShardWriter:
    """Collects rows into files of bounded size; each file that `rows` fill is put in place at once."""

    def __init__(self, directory: Place, schema: pa.Schema, *, shard_bytes: int) -> None:
        """Prepare to write.

        Args:
            directory: Of one ingest date; made when the first file is written.
            schema: `IMAGES`, `SEEN` or `CATALOG_ROWS`.
            shard_bytes: A file is closed once its binary columns reach this many bytes.
        """
        self._directory, self._schema, self._shard_bytes = directory, schema, shard_bytes
        self._names = schema.names
        self._compression = {field.name: "none" if pa.types.is_binary(field.type) else "zstd" for field in schema}
        self._rows: list[Sequence[Any]] = []
        self._bytes = 0
        self.files = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Take one row, and close the file if it is full."""
        self._rows.append([row[name] for name in self._names])
        self._bytes += len(row.get("jpeg", b"")) + 256
        if self._bytes >= self._shard_bytes:
            self.flush()

    def flush(self) -> None:
        """Put what was added in place as one file; nothing happens when nothing was added."""
        if not self._rows:
            return
        keys = [self._names.index(name) for name in _KEYS if name in self._names]
        content = hashlib.sha256(repr([[row[key] for key in keys] for row in self._rows]).encode()).hexdigest()
        target = self._directory / f"part-{content[:16]}-{len(self._rows):06d}.parquet"
        with whole_file(target, self._schema, compression=self._compression) as writer:
            for start in range(0, len(self._rows), ROW_GROUP_ROWS):
                columns = zip(*self._rows[start : start + ROW_GROUP_ROWS], strict=True)
                arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows, self._bytes, self.files = [], 0, self.files + 1


def shards(root: Place, dates: Sequence[date]) -> list[Place]:
    """List the dataset files of some ingest dates, in order of date and name."""
    return [path for day in sorted(dates) for path in children(root / f"ingest_date={day}", "part-*.parquet")]


def partition_dates(root: Place, first: date, last: date) -> list[date]:
    """List the ingest dates that have a partition, from `first` to `last` inclusive."""
    found = []
    for path in children(root, "ingest_date=*"):
        try:
            day = date.fromisoformat(path.name.removeprefix("ingest_date="))
        except ValueError:
            continue
        if first <= day <= last and children(path, "part-*.parquet"):
            found.append(day)
    return sorted(found)


def ingest_date_of(shard: Place) -> date:
    """Return the ingest date that a shard's directory names."""
    return date.fromisoformat(shard.parent.name.removeprefix("ingest_date="))


@contextmanager
def sound(file: Place, remedy: str = INGEST_AGAIN) -> Iterator[None]:
    """Turn what pyarrow says of a damaged file of ours into one sentence.

    Args:
        file: What the sentence names: the file itself, also while a copy of it is read.
        remedy: What to do about it.

    Raises:
        RunFailed: Instead of what pyarrow raises; says how to go on, and to delete only what is damaged.
        MemoryError: As it comes; no file is to blame for it.
    """
    try:
        yield
    except MemoryError:  # pyarrow's own is an ArrowException too
        raise
    except (pa.ArrowException, OSError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0][:200]
        reason = _reason(error)
        if not reason:
            raise RunFailed(f"{file} cannot be read ({said}); {remedy}") from error
        what = "see to its disk" if reason == os.strerror(errno.EIO) else "mend that"
        raise RunFailed(
            f"{file} cannot be read ({reason}); {what} and run the same again, what is finished is kept"
        ) from error


def _reason(error: Exception) -> str:
    """Return why the system would not read on; empty where the file's content is to blame."""
    if isinstance(error, FileNotFoundError):  # of a store it has no number
        return os.strerror(errno.ENOENT)
    # A damaged file asks for places outside of itself, which is EINVAL.
    if not isinstance(error, OSError) or error.errno in (None, errno.EINVAL):
        return ""
    return os.strerror(error.errno)


def whole_table(where: Place, read: Callable[[Any], T]) -> T:
    """Let a function read all of a small file; one request where it is in a store."""
    return read(io.BytesIO(read_bytes(where))) if is_remote(where) else read(where)


def columns_of(files: Sequence[Place], names: Sequence[str]) -> Iterator[tuple[Place, dict[str, list[Any]]]]:
    """Read columns of dataset files where they lie, several files at once, as a store takes its time to answer.

    Args:
        files: Of ingest.
        names: Of the columns; of a file in a store no others travel.

    Yields:
        Each file, in the same order, with its columns.

    Raises:
        RunFailed: If a file is damaged.
    """

    def read(file: Place) -> pa.Table:
        with sound(file):
            return reading(file, lambda opened: pq.read_table(opened, columns=list(names)))

    with ThreadPoolExecutor(_FILES_AT_ONCE, "columns") as readers:
        for file, table in zip(files, readers.map(read, files), strict=True):
            yield file, table.to_pydict()


def check_columns(shard: Place, names: Sequence[str], needed: Sequence[str] = (*KEY_COLUMNS, "jpeg")) -> None:
    """Refuse a dataset file of another version.

    Args:
        shard: What the sentence names.
        names: Of the columns that it has.
        needed: Those that its reader takes; by default those that predict takes of an image shard.

    Raises:
        RunFailed: If it lacks one of them; says which and how to go on.
    """
    lacking = set(needed) - set(names)
    if lacking:
        raise RunFailed(
            f"{shard} was written by another version: it lacks {', '.join(sorted(lacking))}; {INGEST_AGAIN}"
        )


def row_count(files: Sequence[Place]) -> int:
    """Count the images of dataset files from their footers alone.

    Raises:
        RunFailed: If a file is damaged, or was written by another version.
    """
    return sum(_rows(path) for path in files)


def _rows(shard: Place) -> int:
    with sound(shard):
        footer = reading(shard, pq.read_metadata)
        names = footer.schema.to_arrow_schema().names
    check_columns(shard, names)
    return int(footer.num_rows)

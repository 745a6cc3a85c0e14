"""Atomic writing and checked reading of Parquet files, and the dataset's shards, which are such files.

A file is written under a hidden temporary name, flushed to disk and renamed. For an object store it is written to a
local file and uploaded; a store shows an object only when the upload is complete. A shard's name is derived from its
content, so that a task that Spark runs twice writes the same file to the same path.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.dataset.schema import IMAGE_KEY, KEY_COLUMNS, LATER_COLUMNS
from jobs.errors import INGEST_AGAIN, RunFailed
from jobs.storage.faults import disk_full
from jobs.storage.places import Place
from jobs.storage.stores import children, is_remote, put, read_bytes, reading
from models.temporary import temporary_directory
from models.whole_files import in_place_of

if TYPE_CHECKING:
    import pyarrow.dataset as ds

T = TypeVar("T")

ROW_GROUP_ROWS = 64
"""Rows per row group, the images that a reader loads at once; a multiple of the usual batch sizes."""

_FILES_AT_ONCE = 8
_NAMING = (*IMAGE_KEY, "ingest_no", "outcome", "catalog_name", "counts_from")
"""Columns whose values give a shard its name."""


@contextmanager
def whole_file(
    target: Place,
    schema: pa.Schema,
    *,
    compression: Mapping[str, str] | str = "zstd",
    statistics: Sequence[str] | bool = True,
    checksums: bool = False,
) -> Iterator[Any]:
    """Write a Parquet file that appears under its name only when the block ends without an exception.

    Args:
        target: Final path; an existing file is replaced in one step.
        schema: Schema of the tables that the block writes.
        compression: Codec for all columns, or a mapping from column to codec.
        statistics: Whether the footer has the least and largest value of each column, or the names of those of which
            it has them.
        checksums: Whether each page has a checksum, by which a reader that asks for it finds damaged bytes.

    Yields:
        A pyarrow.parquet.ParquetWriter.

    Raises:
        StoreError: If a disk is full or a store cannot be written; then the target is unchanged.
    """
    try:
        options: dict[str, Any] = {
            "compression": compression,
            "write_statistics": statistics,
            "write_page_checksum": checksums,
        }
        with _placed(target) as scratch, pq.ParquetWriter(scratch, schema, **options) as writer:
            yield writer
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(str(target.parent if isinstance(target, Path) else tempfile.gettempdir())) from error
        raise


@contextmanager
def _placed(target: Place) -> Iterator[Path]:
    """Yield a local temporary file that replaces the target when the block ends without an exception."""
    if isinstance(target, Path):
        with in_place_of(target) as scratch:
            yield scratch
        return
    with temporary_directory() as directory:
        yield directory / target.name
        put(directory / target.name, target)


class ShardWriter:
    """Writes rows to shards of bounded size, each as soon as it is full."""

    def __init__(self, directory: Place, schema: pa.Schema, *, shard_bytes: int) -> None:
        """Create a writer without writing anything.

        Args:
            directory: Directory of one ingest date; created when the first file is written.
            schema: `IMAGES`, `SEEN` or `CATALOG_ROWS`.
            shard_bytes: A shard is written once its JPEGs, plus 256 bytes per row, reach this many bytes.
        """
        self._directory, self._schema, self._shard_bytes = directory, schema, shard_bytes
        self._names = schema.names
        self._compression = {field.name: "none" if pa.types.is_binary(field.type) else "zstd" for field in schema}
        self._rows: list[Sequence[Any]] = []
        self._bytes = 0
        self.files = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row, and write the shard if it is full."""
        self._rows.append([row[name] for name in self._names])
        self._bytes += len(row.get("jpeg", b"")) + 256
        if self._bytes >= self._shard_bytes:
            self.flush()

    def flush(self) -> None:
        """Write the added rows as one shard; do nothing if there are none."""
        if not self._rows:
            return
        keys = [self._names.index(name) for name in _NAMING if name in self._names]
        content = hashlib.sha256(repr([[row[key] for key in keys] for row in self._rows]).encode()).hexdigest()
        target = self._directory / f"part-{content[:16]}-{len(self._rows):06d}.parquet"
        with whole_file(target, self._schema, compression=self._compression) as writer:
            for start in range(0, len(self._rows), ROW_GROUP_ROWS):
                columns = zip(*self._rows[start : start + ROW_GROUP_ROWS], strict=True)
                arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows, self._bytes, self.files = [], 0, self.files + 1


def shards(root: Place, dates: Sequence[date]) -> list[Place]:
    """List the shards of some ingest dates, in order of date and name."""
    return [path for day in sorted(dates) for path in children(root / f"ingest_date={day}", "part-*.parquet")]


def ingest_date_of(shard: Place) -> date:
    """Return the ingest date in the name of a shard's directory."""
    return date.fromisoformat(shard.parent.name.removeprefix("ingest_date="))


@contextmanager
def read_errors_explained(file: Place, remedy: str = INGEST_AGAIN) -> Iterator[None]:
    """Replace pyarrow's exceptions about a damaged Parquet file by one RunFailed with a clear message.

    Args:
        file: File named in the message: the original, also while a copy of it is read.
        remedy: What the user should do if the file is damaged.

    Raises:
        RunFailed: In place of pyarrow's exception; the message names the remedy, and to delete only a damaged file.
        MemoryError: Unchanged, because the file is not its cause.
    """
    try:
        yield
    except MemoryError:  # pyarrow's own MemoryError is also an ArrowException
        raise
    except (pa.ArrowException, OSError) as error:
        detail = (str(error) or type(error).__name__).splitlines()[0][:200]
        reason = _reason(error)
        if not reason:
            raise RunFailed(f"{file} cannot be read ({detail}); {remedy}") from error
        what = "see to its disk" if reason == os.strerror(errno.EIO) else "mend that"
        raise RunFailed(
            f"{file} cannot be read ({reason}); {what} and run the same again, what is finished is kept"
        ) from error


def _reason(error: Exception) -> str:
    """Return the operating system's reason for a failed read; empty if the file's content is the cause."""
    if isinstance(error, FileNotFoundError):  # a store's error has no errno
        return os.strerror(errno.ENOENT)
    # A damaged footer can point outside the file; reading there gives EINVAL.
    if not isinstance(error, OSError) or error.errno in (None, errno.EINVAL):
        return ""
    return os.strerror(error.errno)


def whole_table(where: Place, read: Callable[[Any], T]) -> T:
    """Read a small Parquet file with a function; a file in a store is fetched whole, in one request."""
    return read(io.BytesIO(read_bytes(where))) if is_remote(where) else read(where)


def columns_of(files: Sequence[Place], names: Sequence[str]) -> Iterator[tuple[Place, dict[str, list[Any]]]]:
    """Read some columns of shards, without a local copy; several files at once, because a store is slow.

    Args:
        files: Dataset files, local or in a store.
        names: Names of the columns; only these are transferred from a store.

    Yields:
        Each file, in the given order, with its columns as lists by name. A column of `LATER_COLUMNS` that the file
        lacks is null.

    Raises:
        RunFailed: If a file is damaged, or was written by another version; the message names the remedy.
    """

    def read(file: Place) -> pa.Table:
        with read_errors_explained(file):
            table = reading(file, partial(_columns, names=names))
        check_columns(file, table.column_names, names)
        for name in set(names).difference(table.column_names):
            table = table.append_column(name, pa.nulls(len(table), pa.string()))
        return table

    with ThreadPoolExecutor(_FILES_AT_ONCE, "columns") as readers:
        ahead: deque[Future[pa.Table]] = deque()  # bounded: a slow caller must not fill the memory with tables
        try:
            for number, file in enumerate(files):
                following = files[number + len(ahead) : number + 2 * _FILES_AT_ONCE]
                ahead.extend(readers.submit(read, each) for each in following)
                yield file, ahead.popleft().result().to_pydict()
        finally:
            for future in ahead:
                future.cancel()


def _columns(file: Any, names: Sequence[str]) -> pa.Table:
    with pq.ParquetFile(file, pre_buffer=True) as opened:
        return opened.read(columns=list(names))


def rows_of(file: Path) -> ds.Dataset:
    """Return the rows of a local Parquet file, to be read in batches."""
    import pyarrow.dataset as ds  # this imports pandas, which would take a third of the start of every command

    return ds.dataset(file)


def with_later_columns(dataset: ds.Dataset) -> ds.Dataset:
    """Return a file's dataset in which the columns of `LATER_COLUMNS` that the file lacks are null."""
    schema = dataset.schema
    for name in LATER_COLUMNS:
        if name not in schema.names:
            schema = schema.append(pa.field(name, pa.string()))
    return dataset.replace_schema(schema)


def check_columns(shard: Place, names: Sequence[str], needed: Sequence[str] = (*KEY_COLUMNS, "jpeg")) -> None:
    """Refuse a shard that another version wrote, by its columns; those of `LATER_COLUMNS` may be missing.

    Args:
        shard: File named in the message.
        names: Names of the file's columns.
        needed: Columns that the reader needs; by default those that predict reads from an image shard.

    Raises:
        RunFailed: If a column is missing; the message names it and the remedy.
    """
    lacking = set(needed) - set(names) - set(LATER_COLUMNS)
    if lacking:
        raise RunFailed(
            f"{shard} was written by another version: it lacks {', '.join(sorted(lacking))}; {INGEST_AGAIN}"
        )


def row_count(files: Sequence[Place]) -> int:
    """Count the images of shards; only their footers are read.

    Raises:
        RunFailed: If a file is damaged, or was written by another version; the message names the remedy.
    """
    return sum(shard_rows(path)[0] for path in files)


def highest_ingest_no(file: Place) -> int:
    """Return the highest ingest_no in a Parquet file of the dataset, 0 if it has no row; only its footer is read.

    Raises:
        RunFailed: If the file is damaged, or was written by another version; the message names the remedy.
    """
    with read_errors_explained(file):
        footer = reading(file, pq.read_metadata)
    check_columns(file, footer.schema.names, ["ingest_no"])
    return _highest_ingest_no(footer)


def _highest_ingest_no(footer: Any) -> int:
    names = footer.schema.names
    column = names.index("ingest_no") if "ingest_no" in names else None
    groups = [] if column is None else [footer.row_group(i).column(column) for i in range(footer.num_row_groups)]
    return max((int(group.statistics.max) for group in groups), default=0)


def shard_rows(shard: Place, columns: Sequence[str] = ()) -> tuple[int, pa.Table, int]:
    """Count the images of an image shard and read some of its columns; the file is opened once.

    Args:
        shard: File of the dataset, local or in a store.
        columns: Names of the columns; only these and the footer are transferred from a store.

    Returns:
        The number of images, a table of the columns (an empty table without columns), and the highest ingest_no.

    Raises:
        RunFailed: If the file is damaged, or was written by another version; the message names the remedy.
    """

    def read(file: Any) -> tuple[Any, list[str], pa.Table]:
        with pq.ParquetFile(file, pre_buffer=True) as opened:
            table = opened.read(columns=list(columns)) if columns else pa.table({})
            return opened.metadata, opened.schema_arrow.names, table

    with read_errors_explained(shard):
        footer, names, table = reading(shard, read)
    check_columns(shard, names)
    return footer.num_rows, table, _highest_ingest_no(footer)

"""Single images out of files of the home, for pages: where they lie, and what a file that cannot be read means.

Files are opened without the retries of `jobs.storage.stores`, because a page does not wait minutes for a store that is
away. Only the footer and the needed parts of a file are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.errors import RunFailed
from jobs.storage.faults import is_storage_error, masked
from jobs.storage.places import Place
from jobs.storage.stores import is_remote


@dataclass(frozen=True)
class Unreadable:
    """Why a file or directory could not be read.

    Attributes:
        reason: The error's text, with secrets masked.
        away: Whether its store does not answer; each further file in it would take seconds until it fails.
    """

    reason: str
    away: bool


def why_unreadable(error: Exception, where: Place) -> Unreadable | None:
    """Explain an error of reading a file or directory; None if the error is a bug of this program."""
    away = isinstance(error, RunFailed) or is_storage_error(error)
    if not (away or isinstance(error, (OSError, pa.ArrowException, LookupError, ValueError))):
        return None
    reason = masked(str(error)) or type(error).__name__
    return Unreadable(reason, away and is_remote(where) and not isinstance(error, FileNotFoundError))


@contextmanager
def opened(file: Place) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file, local or in a store, of which a block reads parts."""
    remote = is_remote(file)
    options: dict[str, Any] = {"cache_type": "none"} if remote else {}  # what lies between the parts is not needed
    with file.open("rb", **options) as source, pq.ParquetFile(source, pre_buffer=remote) as parquet:
        yield parquet


def group_sizes(parquet: pq.ParquetFile) -> list[int]:
    """Return the number of rows of each row group of a file."""
    return [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]


def positions(parquet: pq.ParquetFile) -> list[tuple[int, int]]:
    """Return row group and row within it of each row of a file, both from 0."""
    return [(group, row) for group, size in enumerate(group_sizes(parquet)) for row in range(size)]


def cells(parquet: pq.ParquetFile, group: int, rows: Sequence[int], columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return some columns of some rows of one row group; only these columns are read."""
    table = parquet.read_row_group(group, columns=list(columns))
    values = (table.column(name).take(pa.array(rows, pa.int64())).to_pylist() for name in columns)
    return list(zip(*values, strict=True))

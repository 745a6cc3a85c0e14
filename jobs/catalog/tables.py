"""The Parquet tables of a directory: those in it, and those below folders such as `date=2026-11-01/category=shoes/`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from jobs.catalog.description import is_description
from jobs.catalog.listing import entries_in_store, entries_on_disk
from jobs.catalog.passed_over import PassedOver
from jobs.storage.places import Place

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Table:
    """A Parquet file of a directory.

    Attributes:
        file: The file.
        columns: Names and values of the columns that its folders stand for, the outermost first.
    """

    file: Place
    columns: tuple[tuple[str, str | None], ...] = ()


def tables_in(directory: Place, passed_over: PassedOver | None = None) -> Iterator[Table]:
    """Yield the Parquet files of a directory, on a disk or in a store, in order of their names, folder by folder.

    Folders are searched at any depth if their names are columns with values: `category=shoes`. These are decoded as
    Hive and Spark encode them: `%2F` is a slash. Hidden files are no data, as other programs keep their own there.

    Args:
        directory: The directory.
        passed_over: Counts the other files and folders.

    Raises:
        UsageError: If a folder may not be listed.
        StoreError: If the store cannot list a folder.
    """
    pending = [Table(directory)]
    while pending:
        folder = pending.pop()
        where = folder.file
        # A link to a folder is left out, since it may lead back to a folder above it.
        here = (
            entries_on_disk(str(where)) if isinstance(where, Path) else entries_in_store(where, where.path.rstrip("/"))
        )
        for name in _shown(here.files):
            if name.lower().endswith(".parquet"):
                yield Table(where / name, folder.columns)
            elif passed_over and not (name.startswith("_") or is_description(Path(name))):
                passed_over.add_file(PurePosixPath(name).suffix.lower() or "without suffix")
        for name in reversed(_shown(here.folders)):
            column, equals, value = name.partition("=")
            if column and equals:
                # Bytes that are no UTF-8 stay different, so that an id with them is refused.
                decoded = unquote(value, errors="surrogateescape")
                pair = (unquote(column), None if value == _NO_VALUE else decoded)
                pending.append(Table(where / name, (*folder.columns, pair)))
            elif passed_over and not name.startswith("_"):
                passed_over.folders.add(name)


def _shown(names: list[str]) -> list[str]:
    return sorted(name for name in names if name and not name.startswith("."))

"""The Parquet tables of a directory: those in it, and those below folders such as `date=2026-11-01/category=shoes/`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from jobs.catalog.description import is_description
from jobs.catalog.errors import catalog_error
from jobs.catalog.listing import Entries, entries_in_store, entries_on_disk
from jobs.catalog.passed_over import PassedOver
from jobs.storage.places import Place

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class _Folder:
    """A folder to search for tables.

    Attributes:
        place: The folder.
        columns: Names and values of the columns that it and the folders above it stand for.
        is_linked: Whether a link is on the way from the directory to it.
    """

    place: Place
    columns: tuple[tuple[str, str | None], ...] = ()
    is_linked: bool = False


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

    A link to a folder is followed if that folder is below the directory and is not searched by its own path. So each
    table is read once, and links that lead in a circle do no harm. A link out of the directory is refused if its name
    is a partition's, because the products of a partition that a full catalog lacks would leave. Pictures differ there:
    the name of a linked folder of pictures does not say that it belongs to the catalog.

    Args:
        directory: The directory.
        passed_over: Counts the other files and folders.

    Raises:
        UsageError: If a folder may not be listed, or a link with the name of a partition leads out of the directory or
            to nothing.
        StoreError: If the store cannot list a folder.
    """
    pending = [_Folder(directory)]
    visited: set[str] = set()  # of the folders that were reached by a link
    while pending:
        folder = pending.pop()
        where = folder.place
        if isinstance(where, Path):
            real = os.path.realpath(where)
            if folder.is_linked and real in visited:
                if passed_over:
                    passed_over.folders.add(where.name)
                continue
            if folder.is_linked:
                visited.add(real)
            here = entries_on_disk(str(where))
            followed = _followed(here, where, str(directory))
        else:
            here, followed = entries_in_store(where, where.path.rstrip("/")), set()
        for name in _shown(here.files):
            if name.lower().endswith(".parquet"):
                yield Table(where / name, folder.columns)
            elif passed_over and not (name.startswith("_") or is_description(Path(name))):
                passed_over.add_file(PurePosixPath(name).suffix.lower() or "without suffix")
        for name in reversed(_shown([*here.folders, *here.links])):
            column, _, value = name.partition("=")
            if _is_partition(name) and (name in followed or name not in here.links):
                # Bytes that are no UTF-8 stay different, so that an id with them is refused.
                decoded = unquote(value, errors="surrogateescape")
                pair = (unquote(column), None if value == _NO_VALUE else decoded)
                is_linked = folder.is_linked or name in followed
                pending.append(_Folder(where / name, (*folder.columns, pair), is_linked))
            elif passed_over and not name.startswith("_"):
                passed_over.folders.add(name)


def _followed(here: Entries, folder: Path, directory: str) -> set[str]:
    """Return the links of a folder that lead to partitions of a directory which are not searched by their own path.

    Raises:
        UsageError: If a link with the name of a partition leads out of the directory, or to nothing.
    """
    followed = set()
    for name in filter(_is_partition, _shown(here.links)):
        levels = Path(os.path.relpath(os.path.realpath(folder / name), os.path.realpath(directory))).parts
        if levels[:1] == (os.pardir,):
            raise catalog_error(
                folder / name,
                f"is a link to {os.path.realpath(folder / name)[:200]}, outside of the catalog; put the folder itself "
                "there, as a night would take the products that it lacks for having left",
            )
        if not all(map(_is_partition, levels)):
            followed.add(name)
    for name in filter(_is_partition, _shown(here.files)):
        if (folder / name).is_symlink() and not (folder / name).exists():
            raise catalog_error(folder / name, "is a link to a folder that is not there; put it there")
    return followed


def _is_partition(name: str) -> bool:
    column, equals, _ = name.partition("=")
    return bool(column and equals) and not name.startswith(".")


def _shown(names: list[str]) -> list[str]:
    return sorted(name for name in names if name and not name.startswith("."))

"""Read a directory as a catalog: one folder for each category, one file for each product."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NoReturn

from upath import UPath

from jobs.catalog.errors import read_errors_explained
from jobs.catalog.layout import Layout
from jobs.catalog.links import link_of
from jobs.catalog.rows import Batches, Part, Row, in_batches
from jobs.storage.places import Place
from jobs.storage.stores import listed


def read_folders(root: Place, layout: Layout, part: Part) -> Batches:
    """List the files of a directory of category folders as catalog rows, in batches."""
    rows = enumerate(folder_rows(root), part.first_position)
    yield from in_batches((*row, None, None, position) for position, row in rows)


def folder_rows(root: Place) -> Iterator[Row]:
    """List the files below a directory of category folders as catalog rows.

    The path of folders is the category, joined by dots; a comma in a name is written `\\,`, since a comma alone
    separates categories. The file name without its suffix is the product_id.

    Yields:
        Rows with values in the order of `CATALOG_COLUMNS`. Hidden files and folders are left out.

    Raises:
        UsageError: If this user has no permission to list a folder; its products would otherwise be missing unnoticed.
        StoreError: If an object store cannot list a folder.
    """
    for folder, subfolders, files in _walk_disk(root) if isinstance(root, Path) else walk_store(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        parts = PurePosixPath(folder[len(str(root)) :].strip("/")).parts
        if any(part.startswith(".") for part in parts) or (not parts and subfolders):
            continue
        for name in sorted(files):
            if name and not name.startswith("."):
                path = PurePosixPath(*parts, name)
                link = link_of(path.as_posix())
                yield path.stem, "0", link.image_uri, None, ".".join(parts).replace(",", "\\,") or None, None


def _walk_disk(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    def failed(error: OSError) -> NoReturn:
        with read_errors_explained(str(error.filename or root)):
            raise error

    return os.walk(str(root), onerror=failed)


def walk_store(root: UPath) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk the category folders of an object store, top down, as `os.walk` does on a disk.

    A folder that the caller removes from the list of subfolders is not visited.

    Yields:
        The URI of a folder, the names of its subfolders, the names of its files.

    Raises:
        StoreError: If a folder cannot be listed; fsspec's own walk would skip it silently.
    """
    pending = [root.path.rstrip("/")]
    while pending:
        folder = pending.pop()
        subfolders: list[str] = []
        files: list[str] = []
        for entry in listed(root, folder):
            path = str(entry["name"]).rstrip("/")
            if path != folder:  # some stores list an empty object that represents the folder itself
                (subfolders if entry["type"] == "directory" else files).append(path.rpartition("/")[2])
        yield f"{root.protocol}://{folder}", subfolders, files
        pending += [f"{folder}/{name}" for name in reversed(subfolders)]

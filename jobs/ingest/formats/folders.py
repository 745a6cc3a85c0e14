"""Catalogs that are a directory: a folder for each category, a file for each product."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NoReturn

from upath import UPath

from jobs.ingest.formats.rows import Row, readable
from jobs.storage.places import Place
from jobs.storage.stores import listed


def folder_rows(root: Place) -> Iterator[Row]:
    """List a directory: the folders are the category, the file's name without its ending is the product.

    Yields:
        Rows in the order of `CATALOG_COLUMNS`; hidden files and folders are left out.

    Raises:
        UsageError: If a folder may not be listed; its products would be missing in silence.
        StoreError: If a store cannot list one.
    """
    for folder, subfolders, files in _walked_on_disk(root) if isinstance(root, Path) else walked(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        parts = PurePosixPath(folder[len(str(root)) :].strip("/")).parts
        if any(part.startswith(".") for part in parts) or (not parts and subfolders):
            continue
        for name in sorted(files):
            if name and not name.startswith("."):
                path = PurePosixPath(*parts, name)
                yield path.stem, "0", path.as_posix(), None, ".".join(parts) or None, None


def _walked_on_disk(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    def failed(error: OSError) -> NoReturn:
        with readable(str(error.filename or root)):
            raise error

    return os.walk(str(root), onerror=failed)


def walked(root: UPath) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield what `os.walk` would: a folder, the folders in it, the files in it, each folder's name as a URI.

    Folders that the caller takes out of the list are not looked into.

    Raises:
        StoreError: If a folder cannot be listed; fsspec's own walk would leave it out in silence.
    """
    waiting = [root.path.rstrip("/")]
    while waiting:
        folder = waiting.pop()
        subfolders: list[str] = []
        files: list[str] = []
        for entry in listed(root, folder):
            path = str(entry["name"]).rstrip("/")
            if path != folder:  # some stores keep an empty object that stands for the folder itself
                (subfolders if entry["type"] == "directory" else files).append(path.rpartition("/")[2])
        yield f"{root.protocol}://{folder}", subfolders, files
        waiting += [f"{folder}/{name}" for name in reversed(subfolders)]

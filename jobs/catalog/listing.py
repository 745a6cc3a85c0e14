"""The names in one folder of a catalog, on a disk or in an object store."""

from __future__ import annotations

import os
from typing import NamedTuple

from upath import UPath

from jobs.catalog.errors import read_errors_explained
from jobs.storage.stores import listed


class Entries(NamedTuple):
    """Names in a folder, in no order.

    Attributes:
        folders: Names of its folders.
        files: Names of its files, and of links to files or to nothing.
        links: Names of its links to folders; a store has none.
    """

    folders: list[str]
    files: list[str]
    links: list[str]


def entries_on_disk(folder: str) -> Entries:
    """List a folder of a disk.

    Raises:
        UsageError: If this user has no permission to list it.
    """
    found = Entries([], [], [])
    with read_errors_explained(folder), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found.folders.append(entry.name)
            elif entry.is_symlink() and os.path.isdir(entry.path):  # noqa: PTH112 - does not raise
                found.links.append(entry.name)
            else:
                found.files.append(entry.name)
    return found


def entries_in_store(root: UPath, folder: str) -> Entries:
    """List a folder of an object store.

    Args:
        root: Place in the store, for error messages.
        folder: Path of the folder in the form that the store's library uses, without a slash at its end.

    Raises:
        StoreError: If it cannot be listed.
    """
    found = Entries([], [], [])
    for entry in listed(root, folder):
        path = str(entry["name"]).rstrip("/")
        if path != folder:  # some stores list an empty object that represents the folder itself
            (found.folders if entry["type"] == "directory" else found.files).append(path.rpartition("/")[2])
    return found

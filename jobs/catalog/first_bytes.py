"""The first bytes of files whose names do not tell what they are, on a disk or in an object store."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from upath import UPath

from jobs.catalog.errors import read_errors_explained
from jobs.storage.faults import with_retries
from jobs.storage.places import Place

HEAD_BYTES = 1024
_AT_ONCE = 1000
"""Most files of a store whose first bytes are in memory at the same time."""


def first_bytes(root: Place, folder: str, names: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
    """Yield the names of files, in their order, with the first `HEAD_BYTES` of each.

    In a store the files of a folder are asked for together, as each request waits for an answer.

    Args:
        root: A directory.
        folder: Path below it of the folder of the files.
        names: Names of the files.

    Yields:
        The name and the bytes; None instead of the bytes if the file is gone, or a link to nothing.

    Raises:
        UsageError: If a file of a disk cannot be read.
        StoreError: If the store cannot read one.
    """
    if isinstance(root, Path):
        for name in names:
            yield name, _of_disk(Path(root, folder, name))
        return
    above = f"{root.path.rstrip('/')}/{folder}".rstrip("/")
    for at in range(0, len(names), _AT_ONCE):
        some = names[at : at + _AT_ONCE]
        yield from zip(some, _of_store(root, [f"{above}/{name}" for name in some]), strict=True)


def _of_disk(path: Path) -> bytes | None:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for its writer
            return b""
    except OSError:  # a link to nothing or to itself
        return None
    with read_errors_explained(path), open(os.fspath(path), "rb", buffering=0) as file:  # noqa: PTH123 - no buffer
        return file.read(HEAD_BYTES)


def _of_store(root: UPath, paths: list[str]) -> list[bytes | None]:
    def attempt() -> list[bytes | None]:
        found = root.fs.cat_ranges(paths, 0, HEAD_BYTES, on_error="return")
        return [_checked(root, path, each) for path, each in zip(paths, found, strict=True)]

    return with_retries(root, "read", attempt)


def _checked(root: UPath, path: str, found: bytes | Exception) -> bytes | None:
    """Return what was found in a file; raise the error of reading it, unless the file is gone or empty."""
    if not isinstance(found, Exception):
        return bytes(found)
    if isinstance(found, FileNotFoundError):
        return None
    if root.fs.info(path).get("size") == 0:  # stores refuse a range of an empty file
        return b""
    raise found

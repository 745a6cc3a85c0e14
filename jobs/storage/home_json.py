"""Small JSON files of the home that several runs change: read, locked and written whole, on disk or in a store."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jobs.storage.places import Place
from jobs.storage.stores import put, read_bytes, uri
from models.temporary import temporary_directory
from models.whole_files import write_whole


def read_json(target: Place) -> Any:
    """Return the content of a file; None if it is missing or no JSON.

    Raises:
        OSError: If the disk cannot be read.
        StoreError: If the store cannot be read.
    """
    try:
        return json.loads(read_bytes(target))
    except (FileNotFoundError, ValueError):
        return None


def write_json(target: Place, content: Any) -> None:
    """Write a file, completely or not at all."""
    text = json.dumps(content, indent=2) + "\n"
    if isinstance(target, Path):
        write_whole(target, text)
        return
    with temporary_directory() as directory:
        written = directory / target.name
        write_whole(written, text)
        put(written, target)


@contextmanager
def locked(target: Place) -> Iterator[None]:
    """Hold an exclusive lock on a file for the length of a block; the system frees it when the process ends.

    It orders the writes of runs on one machine or on a shared disk. An object store has no locks: if two machines write
    at the same moment, one of the results is lost.
    """
    if isinstance(target, Path):
        path = target.with_name(f".{target.name}.lock")
        path.parent.mkdir(parents=True, exist_ok=True)
    else:
        digest = hashlib.sha256(uri(target).encode()).hexdigest()[:16]
        path = Path(tempfile.gettempdir(), f".shelfwise-{os.getuid()}-{digest}.lock")
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        with suppress(OSError):  # some file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

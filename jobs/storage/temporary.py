"""Directories for copies on this machine's disk that are removed with their process, however that ends.

Each holds a file that its process keeps locked. A process that is killed leaves its directory behind unlocked, and the
next one on the machine removes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "shelfwise-"
_LOCK = ".in-use"


@contextmanager
def own_directory(under: Path | None = None) -> Iterator[Path]:
    """Make a directory for the length of a block.

    Args:
        under: Where: on the disk that takes what is moved out of it at the end; None is `TMPDIR`.
    """
    parent = under or Path(tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    remove_left_behind(parent)
    directory, descriptor = _locked(parent)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(descriptor)


def remove_left_behind(parent: Path) -> None:
    """Remove the directories of processes that were killed: those whose lock nobody holds."""
    for directory in parent.glob(f"{_PREFIX}*"):
        try:
            descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # of another user, just being made, or gone meanwhile
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)


def _locked(parent: Path) -> tuple[Path, int]:
    while True:
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        descriptor = os.open(directory / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if (directory / _LOCK).exists():  # else another process took it for left behind, in the moment before the lock
            return directory, descriptor
        os.close(descriptor)

"""Temporary directories on this machine's disk that are removed after their process, even if it was killed.

Each directory holds a lock file that its process keeps locked. A killed process leaves its directory behind unlocked,
and the next process on the machine removes it.
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
def temporary_directory(under: Path | None = None) -> Iterator[Path]:
    """Make a temporary directory that exists within a block.

    Args:
        under: Parent directory. Files that are moved out of the temporary directory need a parent on the target's disk.
            None uses `TMPDIR`.
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
    """Remove the temporary directories of killed processes: those whose lock is not held."""
    for directory in parent.glob(f"{_PREFIX}*"):
        try:
            descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # of another user, without its lock file yet, or removed meanwhile
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
        if (directory / _LOCK).exists():  # if not, another process removed the directory before the lock was held
            return directory, descriptor
        os.close(descriptor)

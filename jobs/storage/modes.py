"""Modes of the files that this process and its child processes make: for their user alone, or as the umask says.

The umask of the process does this, because Spark's Java, its Python workers and helper processes inherit it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.errors import UsageError

_PRIVATE = 0o077
_former: list[int] = []
"""The umask before each `private_files` that is active; the first one is the user's own."""


def refuse_open_to_others(path: Path, holds: str) -> None:
    """Refuse a file of secrets that other users of this machine can open.

    Args:
        path: The file.
        holds: What it holds, for the message.

    Raises:
        UsageError: Others can open it; the message has the command that ends this.
        OSError: There is no such file.
    """
    if path.stat().st_mode & _PRIVATE:
        raise UsageError(f"{path} holds {holds}, and other users can open it; run: chmod 600 {path}")


@contextmanager
def private_files(home: Path) -> Iterator[None]:
    """Make new files 0600 and new directories 0700 within a block, unless the home exists and others may enter it.

    The mode of a home that exists decides: its owner has chosen it, and those whom it lets in can read new files too.

    Args:
        home: SHELFWISE_HOME on this machine; need not exist.
    """
    try:
        private = home.stat().st_mode & _PRIVATE == 0
    except OSError:
        private = True
    umask = os.umask(_PRIVATE)
    _former.append(umask)
    try:
        if not private:
            os.umask(umask)
        yield
    finally:
        os.umask(_former.pop())


@contextmanager
def usual_files() -> Iterator[None]:
    """Make new files with the user's own umask within a block: files outside the home that an option names."""
    if not _former:
        yield
        return
    umask = os.umask(_former[0])
    try:
        yield
    finally:
        os.umask(umask)

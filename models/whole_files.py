"""Files that appear whole or not at all; what cannot be replaced, such as a pipe, is written into."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_MOST_LINKS = 40
"""Symbolic links that are followed one after the other, as Linux does."""

_NAME_CHARACTERS = 50
"""Of a file's name that its temporary name repeats; 50 characters in UTF-8 leave room for the rest in 255 bytes."""

_DESCRIPTORS = re.compile(r"/dev/fd|/proc/[^/]+(/task/\d+)?/fd")
"""Directories whose entries are what a process has open."""


@contextmanager
def in_place_of(target: Path) -> Iterator[Path]:
    """Yield a temporary file; what the block writes there becomes the target's content when it ends well.

    A regular file is replaced in one step and keeps its mode and owner; of a symbolic link, what it leads to is. The
    temporary file is in the same directory, hidden, and of this writer alone. What is no regular file, and what a
    process has open (`/dev/stdout`, `/dev/fd/3`), is not replaced: it receives the content.

    Args:
        target: The file; its directory is made.

    Raises:
        OSError: If it cannot be written; a former file stays.
    """
    place = destination(target)
    former = None if isinstance(place, int) else _status(place)
    if isinstance(place, int) or (former is not None and not stat.S_ISREG(former.st_mode)):
        with tempfile.TemporaryDirectory() as directory:
            scratch = Path(directory, "whole")
            yield scratch
            with scratch.open("rb") as content, _opened(place) as stream:
                shutil.copyfileobj(content, stream)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o666 if former is None else 0o600 | former.st_mode & 0o777
    scratch = place.with_name(f"{_stem(place)}.{uuid.uuid4().hex}.tmp")
    os.close(os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    try:
        yield scratch
        with scratch.open("rb") as content:
            os.fsync(content.fileno())
        if former is not None:
            _keep_owner_and_mode(scratch, former)
        os.replace(scratch, place)
    finally:
        scratch.unlink(missing_ok=True)


def write_whole(target: Path, content: str | bytes | memoryview) -> int:
    """Write a file as `in_place_of` does; what a text cannot hold becomes a question mark. Return its bytes."""
    with in_place_of(target) as scratch:
        return scratch.write_bytes(content.encode("utf-8", "replace") if isinstance(content, str) else content)


def destination(target: Path) -> Path | int:
    """Return what is written where a path is given.

    Returns:
        The path without any symbolic link, or the number of a file descriptor of this process.

    Raises:
        OSError: If its symbolic links go in a circle.
    """
    path = Path(target)
    for _ in range(_MOST_LINKS):
        parent = os.path.realpath(path.parent)
        path = Path(parent, path.name)
        if _DESCRIPTORS.fullmatch(parent):
            # An entry leads to a file by a link too, which must not be followed: the file would be replaced.
            return int(path.name) if _is_own(parent) and path.name.isdecimal() else path
        if not path.is_symlink():
            return path
        path = Path(parent, path.readlink())
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(target))


def remove_left_behind(target: Path) -> None:
    """Remove the temporary files of a target's writers that were killed; nobody may be writing it meanwhile."""
    pattern = re.compile(rf"{re.escape(_stem(target))}\.[0-9a-f]{{32}}\.tmp")
    for scratch in target.parent.glob(".*.tmp"):
        if pattern.fullmatch(scratch.name):
            scratch.unlink(missing_ok=True)


def _stem(target: Path) -> str:
    return f".{target.name[:_NAME_CHARACTERS]}"


def _is_own(descriptors: str) -> bool:
    own = {"/proc/self", "/proc/thread-self", os.path.realpath("/proc/self")}
    return descriptors == "/dev/fd" or any(descriptors.startswith(f"{process}/") for process in own)


def _status(place: Path) -> os.stat_result | None:
    try:
        return place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextmanager
def _opened(place: Path | int) -> Iterator[BinaryIO]:
    """Open what is written into: a copy of the descriptor, which keeps its position, or the pipe or device."""
    if isinstance(place, int):
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()  # what was printed before comes before
        descriptor = os.dup(place)
    else:
        descriptor = os.open(place, os.O_WRONLY | os.O_TRUNC | os.O_NOCTTY)
    with os.fdopen(descriptor, "wb") as file:
        yield file


def _keep_owner_and_mode(scratch: Path, former: os.stat_result) -> None:
    # Only root gives files away, and some file systems know neither; the file is then its writer's, and no more open.
    with suppress(OSError):
        os.chown(scratch, former.st_uid, former.st_gid)
    with suppress(OSError):
        scratch.chmod(former.st_mode & 0o777)

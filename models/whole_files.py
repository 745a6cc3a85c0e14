"""Write files so that they appear completely or not at all; write into pipes and devices, which cannot be replaced."""

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
"""Longest chain of symbolic links that is followed, as on Linux."""

_NAME_CHARACTERS = 50
"""Characters of a file's name that its temporary name repeats.

50 characters in UTF-8 leave room for the rest of the name within 255 bytes.
"""

_TEMPORARY = re.compile(r"(\..*)\.[0-9a-f]{32}\.tmp", re.DOTALL)
"""Names of temporary files, with their stem."""

_DESCRIPTORS = re.compile(r"/dev/fd|/proc/[^/]+(/task/\d+)?/fd")
"""Directories whose entries are the open files of a process."""


@contextmanager
def in_place_of(target: Path) -> Iterator[Path]:
    """Yield a temporary file that replaces the target file as a whole, if the block ends without an exception.

    A regular file is replaced in one step and keeps its mode and owner. A symbolic link is kept; the file to which it
    leads is replaced. The temporary file is hidden, in the same directory, and used by this writer only. A target that
    is not a regular file, or an open file of a process (`/dev/stdout`, `/dev/fd/3`), is not replaced: the content is
    written to it.

    Args:
        target: File to write; missing directories are made.

    Raises:
        OSError: If it cannot be written; a former file is kept. Free disk space or choose another path.
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
    """Write a whole file, or none, as `in_place_of` does.

    Args:
        target: File to write.
        content: Bytes, or text to encode as UTF-8; characters that cannot be encoded become question marks.

    Returns:
        Number of bytes written.
    """
    with in_place_of(target) as scratch:
        return scratch.write_bytes(content.encode("utf-8", "replace") if isinstance(content, str) else content)


def destination(target: Path) -> Path | int:
    """Resolve the symbolic links of a path to the file that is written as a whole.

    Args:
        target: Path that the user gave.

    Returns:
        The path without any symbolic link, or the number of a file descriptor of this process.

    Raises:
        OSError: If its symbolic links form a loop; give another path.
    """
    path = Path(target)
    for _ in range(_MOST_LINKS):
        parent = os.path.realpath(path.parent)
        path = Path(parent, path.name)
        if _DESCRIPTORS.fullmatch(parent):
            # This entry is a symbolic link too, but must not be followed, or the open file would be replaced.
            return int(path.name) if _is_own(parent) and path.name.isdecimal() else path
        if not path.is_symlink():
            return path
        path = Path(parent, path.readlink())
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(target))


def remove_left_behind(target: Path) -> None:
    """Remove the temporary files of killed writers of a target file. Nobody else may be writing it meanwhile."""
    for scratch in target.parent.glob(".*.tmp"):
        found = _TEMPORARY.fullmatch(scratch.name)
        if found and found[1] == _stem(target):
            scratch.unlink(missing_ok=True)


def temporary_files(directory: Path) -> list[Path]:
    """Return the temporary files of writers in a directory and all below it: of those at work, and of killed ones."""
    return sorted(scratch for scratch in directory.rglob(".*.tmp") if _TEMPORARY.fullmatch(scratch.name))


def _stem(target: Path) -> str:
    """Return the beginning of the names of a target's temporary files."""
    return f".{target.name[:_NAME_CHARACTERS]}"


def _is_own(descriptors: str) -> bool:
    """Return whether a directory of file descriptors is that of this process."""
    processes = {"/proc/self", "/proc/thread-self", os.path.realpath("/proc/self")}
    return descriptors == "/dev/fd" or any(descriptors.startswith(f"{process}/") for process in processes)


def _status(place: Path) -> os.stat_result | None:
    """Return the status of a path; None if it does not exist."""
    try:
        return place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextmanager
def _opened(place: Path | int) -> Iterator[BinaryIO]:
    """Open a pipe or device for writing, or a copy of a file descriptor, which shares its position."""
    if isinstance(place, int):
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()  # earlier output must come before the content
        descriptor = os.dup(place)
    else:
        descriptor = os.open(place, os.O_WRONLY | os.O_TRUNC | os.O_NOCTTY)
    with os.fdopen(descriptor, "wb") as file:
        yield file


def _keep_owner_and_mode(scratch: Path, former: os.stat_result) -> None:
    # Only root may change owners, and some file systems have no owners or modes. The file then belongs to its writer,
    # and its mode allows no more than before.
    with suppress(OSError):
        os.chown(scratch, former.st_uid, former.st_gid)
    with suppress(OSError):
        scratch.chmod(former.st_mode & 0o777)

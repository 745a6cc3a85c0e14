"""Files that housekeeping deletes: their number, size and age, and their deletion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import RunFailed
from jobs.storage.places import Place
from jobs.storage.stores import delete, modified_at, size_bytes

LATELY_SECONDS = 3600
"""A directory with a file that is younger than this is left alone: someone may be writing there."""


@dataclass(frozen=True)
class FileCount:
    """Number of files and their size.

    Attributes:
        files: Number of files.
        bytes: Size of all of them together.
    """

    files: int = 0
    bytes: int = 0

    def __add__(self, other: FileCount) -> FileCount:
        """Return the sum of two counts."""
        return FileCount(self.files + other.files, self.bytes + other.bytes)


def count(files: Iterable[Place]) -> FileCount:
    """Count files and sum up their sizes."""
    sizes = [size_bytes(file) for file in files]
    return FileCount(len(sizes), sum(sizes))


def newest(files: Sequence[Place]) -> float:
    """Return when the last of some files was written, in seconds since 1970; 0 if there are none."""
    return max((modified_at(file) for file in files), default=0.0)


def remove(files: Iterable[Place]) -> None:
    """Delete files, and a local directory that is empty then.

    Raises:
        RunFailed: If the operating system refuses to; the same command continues when that is mended.
    """
    directories = set()
    for file in files:
        try:
            delete(file)
        except OSError as error:
            reason = error.strerror or str(error)
            raise RunFailed(
                f"{file} cannot be deleted ({reason}); mend that and run the same command again, which goes on"
            ) from error
        directories.add(file.parent)
    for directory in directories:
        if isinstance(directory, Path):
            with suppress(OSError):  # something else is in it
                directory.rmdir()

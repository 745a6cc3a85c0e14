"""Open the content of a file: the file as it is, or unpacked."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from jobs.catalog.errors import read_errors_explained
from jobs.storage.places import Place
from jobs.storage.stores import reading

Source = Path | BinaryIO
HEAD_BYTES = 2**16


@dataclass(frozen=True)
class Inside:
    """What a look into a file shows.

    Attributes:
        head: First bytes of the content, unpacked.
    """

    head: bytes


def look_inside(where: Place, count: int = HEAD_BYTES) -> Inside:
    """Return the first bytes of the content of a file, on a disk or in a store."""

    def look(source: Source) -> Inside:
        with opened(source, where) as stream:
            return Inside(stream.read(count))

    with read_errors_explained(where):
        return reading(where, look)


@contextmanager
def opened(source: Source, where: str | Place) -> Iterator[io.BufferedReader]:
    """Open the content of a file, unpacked, as a stream of bytes within a block.

    Args:
        source: Local path of a file, or an open file of a store.
        where: Name of the file for error messages.
    """
    with source.open("rb") if isinstance(source, Path) else source as file:
        head = file.read(3)
        file.seek(0)
        raw = gzip.GzipFile(fileobj=file) if head == b"\x1f\x8b\x08" else file
        yield cast("io.BufferedReader", raw)

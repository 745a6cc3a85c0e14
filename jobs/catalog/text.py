"""The lines of a catalog's text file, decoded and checked; no line is too long for memory."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from jobs.catalog.errors import catalog_error, read_errors_explained
from jobs.catalog.values import MAX_VALUE_CHARS

_MAX_LINE_CHARS = 8 * MAX_VALUE_CHARS


def lines(path: Path, where: str) -> Iterator[str]:
    r"""Yield the lines of a catalog's text file, each ending in `\n` whatever line ending the file uses.

    Args:
        path: File in UTF-8, with or without a byte order mark; compressed with gzip if its name ends in `.gz`.
        where: Name of the file for error messages.

    Raises:
        UsageError: If the file is not UTF-8, is damaged, or has a line that is too long. The message names the line.
    """
    try:
        with read_errors_explained(where), _opened(path, "strict") as file:
            number = 0
            while line := file.readline(_MAX_LINE_CHARS):
                number += 1
                if len(line) == _MAX_LINE_CHARS and not line.endswith("\n"):
                    raise catalog_error(
                        where, f"has over {len(line):,} characters in line {number}; write a line for each row"
                    )
                yield line
    except UnicodeDecodeError as error:
        raise catalog_error(
            where, f"is not UTF-8 in line {_first_undecoded(path, where)}; write it in UTF-8"
        ) from error


def _first_undecoded(path: Path, where: str) -> int:
    with read_errors_explained(where), _opened(path, "surrogateescape") as file:
        return next((n for n, line in enumerate(file, 1) if any("\ud800" <= each <= "\udfff" for each in line)), 1)


def _opened(path: Path, errors: str) -> TextIO:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", errors=errors)
    return path.open(encoding="utf-8-sig", errors=errors)

"""What the readers of all catalog formats share: batches of rows, column names, values as text, error messages.

A reader takes the local path of a file and the file's name for error messages. It yields record batches with the
columns of `CATALOG_COLUMNS`. It keeps one batch of rows in memory, never the whole file. Its errors name the line to
correct.
"""

from __future__ import annotations

import errno
import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from jobs.dataset.schema import CATALOG_COLUMNS, CATALOG_REQUIRED, CATALOG_TEXTS
from jobs.errors import RunFailed, UsageError
from jobs.storage.faults import masked
from jobs.storage.places import Place

BATCH_ROWS = 10_000
MAX_VALUE_CHARS = 2**20
"""Longest value, in characters. A longer one means that a quotation mark is not closed, or the file has no rows."""

_MAX_LINE_CHARS = 8 * MAX_VALUE_CHARS

TEXTS = pa.schema([(name, pa.string()) for name in CATALOG_COLUMNS])
Row = Sequence[str | None]
Batches = Iterator[pa.RecordBatch]


def catalog_error(where: str | Place, what: str) -> UsageError:
    """Return the error for a faulty row or file of any catalog format: one line of printable characters."""
    sentence = f"catalog {masked(where)} {what}"
    return UsageError("".join(character if character.isprintable() else "?" for character in sentence))


@contextmanager
def read_errors_explained(where: str | Place) -> Iterator[None]:
    """Replace the exceptions of reading a catalog file of any format by errors of one sentence.

    Raises:
        UsageError: If the file is damaged or missing, or this user has no permission to read it.
        RunFailed: If its disk failed to read; the same command may succeed when it is repeated.
    """
    try:
        yield
    except MemoryError:  # pyarrow's MemoryError is an ArrowException too
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise catalog_error(where, "is gone; put it back, or correct the call") from error
    except IsADirectoryError as error:
        raise catalog_error(
            where, "is a directory where a file is expected; name that directory as the catalog"
        ) from error
    except PermissionError as error:
        raise catalog_error(where, "may not be read by this user; grant reading") from error
    except (pa.ArrowException, EOFError, zlib.error, OSError) as error:
        # A damaged Parquet file points to offsets outside itself, which raises EINVAL; gzip's error has no errno.
        number = error.errno if isinstance(error, OSError) else None
        if number not in (None, errno.EINVAL):
            raise RunFailed(
                f"catalog {masked(where)} cannot be read ({os.strerror(number)}); see to its disk and "
                "run the same again"
            ) from error
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise catalog_error(where, f"cannot be read ({reason}); write it again") from error


def column_indices(names: Sequence[str], where: str | Place) -> dict[str, int]:
    """Find the catalog's columns among the columns of a file of any format.

    Args:
        names: Column names of the file. Upper and lower case are the same; spaces around a name are ignored.
        where: Name of the file for error messages.

    Returns:
        Maps each column of the catalog that the file has to its index in `names`.

    Raises:
        UsageError: If a required column is missing, or a column appears twice.
    """
    indices: dict[str, int] = {}
    for index, name in enumerate(names):
        column = name.strip().lower()
        if column in indices:
            raise catalog_error(where, f"has two columns {column}; rename one of them")
        if column in CATALOG_COLUMNS:
            indices[column] = index
    missing = [name for name in CATALOG_REQUIRED if name not in indices]
    if missing:
        raise catalog_error(
            where,
            f"has no column {' and no column '.join(missing)}; "
            f"it needs {' and '.join(CATALOG_REQUIRED)} and has {', '.join(names)[:1000] or 'none'}",
        )
    return indices


def in_batches(rows: Iterable[Row]) -> Batches:
    """Gather the rows of a catalog in any text format into record batches.

    Args:
        rows: Rows with values in the order of `CATALOG_COLUMNS`.
    """
    rows = iter(rows)
    while batch := list(islice(rows, BATCH_ROWS)):
        yield pa.RecordBatch.from_arrays([text_array(column) for column in zip(*batch, strict=True)], schema=TEXTS)


def text_array(values: Row) -> pa.Array:
    """Make a column of strings for a batch of rows; what UTF-8 cannot encode becomes a question mark."""
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:  # file names are arbitrary bytes, and JSON can hold half of a surrogate pair
        replaced = [value if value is None else value.encode("utf-8", "replace").decode() for value in values]
        return pa.array(replaced, pa.string())


def as_text(value: Any, name: str, where: str, at: str) -> str | None:
    """Convert a value of a row to text, from a format with several types; a list or dictionary becomes JSON.

    Args:
        value: Text, boolean, list, dictionary or None.
        name: Catalog column of the value.
        where: Name of the file for error messages.
        at: Position in the file for error messages: `in line 3`.

    Raises:
        UsageError: If a column that identifies the product or the image holds a list or dictionary.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if name not in CATALOG_TEXTS:
        raise catalog_error(where, f"has {at} another {name} than a text or a number; write a row for each image")
    return json.dumps(value, ensure_ascii=False, default=str)


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

"""What the readers of all forms of a catalog share: how rows are gathered, which columns they have, what is at fault.

A reader takes a file's path on this machine and the name that messages call it by. It yields record batches with the
columns of `CATALOG_COLUMNS`, holds one batch of rows and never the file, and says in which line a file is wrong.
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

from jobs.dataset.schema import CATALOG_COLUMNS, CATALOG_REQUIRED
from jobs.errors import RunFailed, UsageError
from jobs.storage.faults import shown
from jobs.storage.places import Place

BATCH_ROWS = 10_000
MAX_VALUE_CHARS = 2**20
"""No value of a product is longer: a quotation mark was not closed, or it is no file of rows."""

_MAX_LINE_CHARS = 8 * MAX_VALUE_CHARS

TEXTS = pa.schema([(name, pa.string()) for name in CATALOG_COLUMNS])
Row = Sequence[str | None]
Batches = Iterator[pa.RecordBatch]


def wrong(where: str | Place, what: str) -> UsageError:
    """Return what to raise of a catalog that is itself at fault: one line, whatever its name and content hold."""
    sentence = f"catalog {shown(where)} {what}"
    return UsageError("".join(character if character.isprintable() else "?" for character in sentence))


@contextmanager
def readable(where: str | Place) -> Iterator[None]:
    """Turn what reading a file raises into one sentence.

    Raises:
        UsageError: If the file is damaged, gone, or not for this user to read.
        RunFailed: If its disk would not read on; the same may go well again.
    """
    try:
        yield
    except MemoryError:  # pyarrow's own is an ArrowException too
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise wrong(where, "is gone; put it back, or correct the call") from error
    except IsADirectoryError as error:
        raise wrong(where, "is a directory where a file is expected; name that directory as the catalog") from error
    except PermissionError as error:
        raise wrong(where, "may not be read by this user; grant reading") from error
    except (pa.ArrowException, EOFError, zlib.error, OSError) as error:
        # A damaged Parquet file asks for places outside of itself, which is EINVAL; gzip's own error has no number.
        number = error.errno if isinstance(error, OSError) else None
        if number not in (None, errno.EINVAL):
            raise RunFailed(
                f"catalog {shown(where)} cannot be read ({os.strerror(number)}); see to its disk and run the same again"
            ) from error
        said = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise wrong(where, f"cannot be read ({said}); write it again") from error


def chosen(names: Sequence[str], where: str | Place) -> dict[str, int]:
    """Find the catalog's columns among those of a file.

    Args:
        names: The file's columns; capitals, and spaces around a name, do not matter.
        where: The file, for messages.

    Returns:
        The index of each of the catalog's columns that is there.

    Raises:
        UsageError: If a needed column is missing, or one is there twice.
    """
    found: dict[str, int] = {}
    for index, name in enumerate(names):
        known = name.strip().lower()
        if known in found:
            raise wrong(where, f"has two columns {known}; rename one of them")
        if known in CATALOG_COLUMNS:
            found[known] = index
    missing = [name for name in CATALOG_REQUIRED if name not in found]
    if missing:
        raise wrong(
            where,
            f"has no column {' and no column '.join(missing)}; "
            f"it needs product_id and image_uri and has {', '.join(names)[:1000] or 'none'}",
        )
    return found


def in_batches(rows: Iterable[Row]) -> Batches:
    """Gather rows of texts, each in the order of `CATALOG_COLUMNS`."""
    rows = iter(rows)
    while batch := list(islice(rows, BATCH_ROWS)):
        yield pa.RecordBatch.from_arrays([texts(column) for column in zip(*batch, strict=True)], schema=TEXTS)


def texts(values: Row) -> pa.Array:
    """Return a column of texts; what is no UTF-8 in them becomes a question mark."""
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:  # names of files are bytes to the system, and JSON can name half a character
        replaced = [value if value is None else value.encode("utf-8", "replace").decode() for value in values]
        return pa.array(replaced, pa.string())


def text_of(value: Any, name: str, where: str, at: str) -> str | None:
    """Return a value of a form that knows more than texts as text; lists and the like as JSON.

    Args:
        value: Text, truth value, list, dictionary or None.
        name: The catalog's column.
        where: The file, for messages.
        at: Where in the file, for messages.

    Raises:
        UsageError: If it names the product or the image and is a list or the like.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if name in (*CATALOG_REQUIRED, "image_no"):
        raise wrong(where, f"has {at} another {name} than a text or a number; write a row for each image")
    return json.dumps(value, ensure_ascii=False, default=str)


def lines(path: Path, where: str) -> Iterator[str]:
    r"""Yield the lines of a text file, each with `\n` at its end, however it ends there.

    Args:
        path: In UTF-8, with or without a mark at its start; with gzip if its name ends in `.gz`.
        where: The file, for messages.

    Raises:
        UsageError: If it is something else; says in which line.
    """
    try:
        with readable(where), _opened(path, "strict") as file:
            number = 0
            while line := file.readline(_MAX_LINE_CHARS):
                number += 1
                if len(line) == _MAX_LINE_CHARS and not line.endswith("\n"):
                    raise wrong(where, f"has over {len(line):,} characters in line {number}; write a line for each row")
                yield line
    except UnicodeDecodeError as error:
        raise wrong(where, f"is not UTF-8 in line {_first_undecoded(path, where)}; write it in UTF-8") from error


def _first_undecoded(path: Path, where: str) -> int:
    with readable(where), _opened(path, "surrogateescape") as file:
        return next((n for n, line in enumerate(file, 1) if any("\ud800" <= each <= "\udfff" for each in line)), 1)


def _opened(path: Path, errors: str) -> TextIO:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", errors=errors)
    return path.open(encoding="utf-8-sig", errors=errors)

"""Read catalogs in JSON Lines: one object in each line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from jobs.catalog.errors import catalog_error
from jobs.catalog.forms.json_values import DECODER, record_of, too_deep
from jobs.catalog.forms.records import Record, names_in, rows_of
from jobs.catalog.layout import Layout
from jobs.catalog.opening import Source
from jobs.catalog.rows import Batches, Part, in_batches
from jobs.catalog.text import lines

_ADVICE = "write an object in each line"


def read_json_lines(path: Path, where: str, layout: Layout, part: Part) -> Batches:
    """Read a catalog's JSON Lines in batches of rows; a line may also hold a list of objects.

    Numbers become text exactly as they are written in the file.

    Args:
        path: Local path of the file, or of its local copy.
        where: Name of the file for error messages.
        layout: How it is read.
        part: Which part of it.

    Raises:
        UsageError: If a line is not an object or a list of objects, or no line has a required column. The message
            names the line to correct.
    """
    yield from in_batches(rows_of(_records(path, where, layout), layout, where, part.first_position))


def json_line_names(source: Source, where: str, layout: Layout) -> list[str]:
    """Return the names of the first objects' members, each once, in their order."""
    return names_in(_records(source, where, layout))


def _records(source: Source, where: str, layout: Layout) -> Iterator[Record]:
    complete = False
    for number, line in enumerate(lines(source, where, layout.encoding), 1):
        if not line.strip():
            continue
        try:
            value = DECODER.decode(line)
        except json.JSONDecodeError as error:
            reason = f"{error.msg} at column {error.colno}"
            # Where the very first line ends too soon, the file is probably one document.
            whole = not complete and error.pos >= len(line.rstrip())
            advice = f"{_ADVICE}, or read one list of objects with `--format json`" if whole else _ADVICE
            raise catalog_error(where, f"has no JSON in line {number} ({reason}); {advice}") from error
        except RecursionError as error:
            raise too_deep(number, where, _ADVICE) from error
        complete = True
        for each in value if isinstance(value, list) else [value]:
            yield record_of(each, number, where, _ADVICE)

"""Read catalogs in JSON Lines: one object in each line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.catalog.errors import catalog_error
from jobs.catalog.layout import Layout
from jobs.catalog.rows import Batches, Part, Row, RowMaker, column_places, in_batches
from jobs.catalog.text import lines
from jobs.catalog.values import Number

_MAX_CACHED_LAYOUTS = 1000
_SAMPLE = 100


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
    yield from in_batches(_rows(path, where, layout, part.first_position))


def json_line_names(path: Path, where: str) -> list[str]:
    """Return the names of the first objects' members, each once, in their order."""
    names: dict[str, None] = {}
    for index, (_, record) in enumerate(_objects(path, where)):
        names.update(dict.fromkeys(record))
        if index == _SAMPLE:
            break
    return list(names)


def _rows(path: Path, where: str, layout: Layout, position: int) -> Iterator[Row]:
    # Objects with the same keys in the same order share one lookup of the catalog's columns.
    makers: dict[tuple[str, ...], RowMaker] = {}
    columns: dict[str, None] = {}
    for index, (number, record) in enumerate(_objects(path, where)):
        names = tuple(record)
        if names not in makers:
            if len(makers) == _MAX_CACHED_LAYOUTS:  # a file whose lines all have different keys must not fill memory
                makers.clear()
            makers[names] = RowMaker(names, layout, where, partial=number)
            columns.update(dict.fromkeys(name.strip().lower() for name in names))
        yield from makers[names].rows(list(record.values()), number, position + index)
    if columns:
        column_places(list(columns), layout, where)


def _objects(path: Path, where: str) -> Iterator[tuple[int, dict[str, Any]]]:
    decode = json.JSONDecoder(parse_float=Number, parse_int=Number, parse_constant=Number).decode
    for number, line in enumerate(lines(path, where), 1):
        if not line.strip():
            continue
        try:
            value = decode(line)
        except json.JSONDecodeError as error:
            reason = f"{error.msg} at column {error.colno}"
            raise catalog_error(
                where, f"has no JSON in line {number} ({reason}); write an object in each line"
            ) from error
        except RecursionError as error:
            raise catalog_error(where, f"is nested too deep in line {number}; write an object in each line") from error
        for row in value if isinstance(value, list) else [value]:
            if not isinstance(row, dict):
                raise catalog_error(
                    where, f"has something else than an object in line {number}; write an object in each line"
                )
            yield number, row

"""Read catalogs in JSON Lines: one object in each line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jobs.dataset.schema import CATALOG_COLUMNS
from jobs.ingest.formats.rows import Batches, Row, as_text, catalog_error, column_indices, in_batches, lines

_MAX_CACHED_LAYOUTS = 1000


def read_json(path: Path, where: str) -> Batches:
    """Read a catalog's JSON Lines in batches of rows; a line may also hold a list of objects.

    Numbers become text exactly as they are written in the file.

    Args:
        path: Local path of the file, or of its local copy.
        where: Name of the file for error messages.

    Raises:
        UsageError: If a line is not an object or a list of objects, or no line has a required column. The message
            names the line to correct.
    """
    yield from in_batches(_rows(path, where))


def _rows(path: Path, where: str) -> Iterator[Row]:
    # Objects with the same keys in the same order share one lookup of the catalog's columns.
    layouts: dict[tuple[str, ...], list[str | None]] = {}
    columns: set[str] = set()
    for number, row in _objects(path, where):
        names = tuple(row)
        if names not in layouts:
            if len(layouts) == _MAX_CACHED_LAYOUTS:  # a file whose lines all have different keys must not fill memory
                layouts.clear()
            layouts[names] = _keys_of_columns(names, where, number)
            columns.update(name.strip().lower() for name in names)
        yield [
            None if theirs is None else as_text(row[theirs], ours, where, f"in line {number}")
            for ours, theirs in zip(CATALOG_COLUMNS, layouts[names], strict=True)
        ]
    if columns:
        column_indices(sorted(columns), where)


def _objects(path: Path, where: str) -> Iterator[tuple[int, dict[str, Any]]]:
    decode = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str).decode
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


def _keys_of_columns(names: Sequence[str], where: str, number: int) -> list[str | None]:
    """Return, for each column of the catalog, the object's key for it; None if the object lacks it."""
    keys: dict[str, str] = {}
    for name in names:
        plain = name.strip().lower()
        if keys.setdefault(plain, name) != name and plain in CATALOG_COLUMNS:
            raise catalog_error(where, f"names {plain} twice in line {number}; rename one of them")
    return [keys.get(name) for name in CATALOG_COLUMNS]

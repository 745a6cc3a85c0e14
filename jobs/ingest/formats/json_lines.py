"""Catalogs in JSON Lines: an object in each line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jobs.dataset.schema import CATALOG_COLUMNS
from jobs.ingest.formats.rows import Batches, Row, chosen, in_batches, lines, text_of, wrong

_KINDS_KNOWN = 1000


def read_json(path: Path, where: str) -> Batches:
    """Read JSON Lines; a line may also hold a list of objects. Numbers are given as they are written.

    Args:
        path: The file, or its copy on this machine.
        where: The file, for messages.

    Raises:
        UsageError: If a line is something else, or no line has a needed column; names the line.
    """
    yield from in_batches(_rows(path, where))


def _rows(path: Path, where: str) -> Iterator[Row]:
    known: dict[tuple[str, ...], list[str | None]] = {}
    columns: set[str] = set()
    for number, row in _objects(path, where):
        names = tuple(row)
        if names not in known:
            if len(known) == _KINDS_KNOWN:  # each line has names of its own
                known.clear()
            known[names] = _named(names, where, number)
            columns.update(name.strip().lower() for name in names)
        yield [
            None if theirs is None else text_of(row[theirs], ours, where, f"in line {number}")
            for ours, theirs in zip(CATALOG_COLUMNS, known[names], strict=True)
        ]
    if columns:
        chosen(sorted(columns), where)


def _objects(path: Path, where: str) -> Iterator[tuple[int, dict[str, Any]]]:
    decode = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str).decode
    for number, line in enumerate(lines(path, where), 1):
        if not line.strip():
            continue
        try:
            value = decode(line)
        except json.JSONDecodeError as error:
            said = f"{error.msg} at column {error.colno}"
            raise wrong(where, f"has no JSON in line {number} ({said}); write an object in each line") from error
        except RecursionError as error:
            raise wrong(where, f"is nested too deep in line {number}; write an object in each line") from error
        for row in value if isinstance(value, list) else [value]:
            if not isinstance(row, dict):
                raise wrong(where, f"has something else than an object in line {number}; write an object in each line")
            yield number, row


def _named(names: Sequence[str], where: str, number: int) -> list[str | None]:
    """Return an object's own name of each of the catalog's columns."""
    found: dict[str, str] = {}
    for name in names:
        plain = name.strip().lower()
        if found.setdefault(plain, name) != name and plain in CATALOG_COLUMNS:
            raise wrong(where, f"names {plain} twice in line {number}; rename one of them")
    return [found.get(name) for name in CATALOG_COLUMNS]

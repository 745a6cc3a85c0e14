"""Values of JSON: numbers as they are written, repeated names kept, and a limit of depth."""

from __future__ import annotations

import json
from typing import Any

from jobs.catalog.errors import catalog_error
from jobs.catalog.forms.records import Record
from jobs.catalog.rows import MAX_COLUMNS, too_many_columns
from jobs.catalog.values import Number
from jobs.errors import UsageError

MAX_DEPTH = 32
"""Most lists and objects that may lie inside of each other, the record itself included."""


class _Repeating(dict[str, Any]):
    """An object in which a name is there more than once; `pairs` has all of its members."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    return members if len(members) == len(pairs) else _Repeating(pairs)


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=Number, parse_int=Number, parse_constant=Number)
"""Decodes numbers to `Number`, exactly as they are written, and objects to what `record_of` takes."""


def record_of(value: Any, line: int, where: str, advice: str) -> Record:
    """Return the record of a decoded object.

    Args:
        value: What `DECODER` returned.
        line: Line in which it begins.
        where: Name of the file for error messages.
        advice: What to do instead, for error messages.

    Raises:
        UsageError: If the value is no object, has too many members, or is nested too deep.
    """
    if not isinstance(value, dict):
        raise no_object(line, where, advice)
    pairs = value.pairs if isinstance(value, _Repeating) else value.items()
    if len(pairs) > MAX_COLUMNS:
        raise too_many_columns(len(pairs), where, f" in line {line}")
    names, values = tuple(name for name, _ in pairs), [each for _, each in pairs]
    if any(isinstance(each, (dict, list)) for each in values) and _is_deep(values):
        raise too_deep(line, where, advice)
    return Record(line, names, values)


def no_object(line: int, where: str, advice: str) -> UsageError:
    """Return the error for a record that is no object."""
    return catalog_error(where, f"has something else than an object in line {line}; {advice}")


def too_deep(line: int, where: str, advice: str) -> UsageError:
    """Return the error for a value with more lists and objects inside of each other than `MAX_DEPTH`."""
    return catalog_error(where, f"is nested too deep in line {line}; {advice}, of at most {MAX_DEPTH} levels")


def _is_deep(values: list[Any]) -> bool:
    level: list[Any] = values
    for _ in range(MAX_DEPTH):
        level = [each for each in level if isinstance(each, (dict, list))]
        if not level:
            return False
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return True

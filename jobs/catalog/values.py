"""The values of a catalog as texts: the texts of one value, trimmed, without control characters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from jobs.catalog.errors import catalog_error

MAX_VALUE_CHARS = 2**20
"""Longest value, in characters. A longer one means that a quotation mark is not closed, or the file has no rows."""

_CONTROL = dict.fromkeys((*range(0x20), 0x7F), "\ufffd")


class Number(str):
    """Text of a number, in a form that tells numbers from texts, such as JSON."""

    __slots__ = ()


def texts_of(value: Any, column: str, where: str, at: str) -> list[str]:
    """Return the texts of a value, in their order; none for an empty value.

    Args:
        value: Text, `Number`, boolean, None, or a list of these.
        column: Column of the catalog that the value is for.
        where: Name of the file for error messages.
        at: Position in the file for error messages: `in line 3`.

    Raises:
        UsageError: If the value is of another type.
    """
    if value is None:
        return []
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, Sequence) and column == "image_uri":
        return [text for each in value for text in texts_of(each, "image_uri of a list", where, at)]
    if column in ("title", "category", "updated_at"):
        return [json.dumps(value, ensure_ascii=False, default=str)]
    raise catalog_error(where, f"has {at} another {column} than a text or a number; write a row for each image")


def printable(text: str) -> str:
    """Return a text with U+FFFD in place of each control character."""
    return text if text.isprintable() else text.translate(_CONTROL)

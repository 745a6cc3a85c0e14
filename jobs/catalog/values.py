"""The values of a catalog as texts: trimmed, of limited length, without control characters; numbers as ids.

A text is never reinterpreted. Only a value that its form marks as a number, such as a JSON number or a float of
Parquet, is written as a whole number where it is an id: `12345678.0` and `1.2345678E7` are both `12345678`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any

from jobs.catalog.errors import catalog_error
from jobs.errors import UsageError

MAX_VALUE_CHARS = 2**20
"""Longest value, in characters. A longer one means that a quotation mark is not closed, or the file has no rows."""

MAX_CHARS: Mapping[str, int] = MappingProxyType(
    {"product_id": 255, "group_id": 255, "image_no": 100, "title": 10_000, "category": 10_000, "updated_at": 100}
)
"""Longest value of each column of the catalog, in characters. Links have a limit of their own."""

NO_ID_CHARACTER = r"[\x00-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
r"""Regular expression, for Python and Java, of a character that no id may have: controls, invisible marks, marks of
direction. Ids that differ in one of these look the same. The two joiners U+200C and U+200D are allowed, because words
of Persian and of Indian languages need them."""

_IDS = ("product_id", "group_id")
NO_CHARACTERS = (*range(0x20), *range(0x7F, 0xA0), *range(0xD800, 0xE000))
"""Code points that no text holds: controls, and halves of surrogate pairs. JSON can write these, and a byte of a file's
name that is no UTF-8 becomes one."""

_CONTROL = dict.fromkeys((*NO_CHARACTERS, 0x2028, 0x2029), "\ufffd")
_HALF = re.compile("[\ud800-\udfff]")
_WHOLE = re.compile(r"-?[0-9]+")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")
_NUMBERS_BELOW = 2**31
_QUOTED_CHARS = 80
EXACT_BELOW = 2**53
"""From this number on, floats of 64 bits skip whole numbers."""


class Number(str):
    """Text of a number, in a form that tells numbers from texts, such as JSON."""

    __slots__ = ()


class RoundedNumber(Number):
    """Text of a number that may have lost digits, because its type has fewer than the number needs."""

    __slots__ = ()


def texts_of(value: Any, column: str, where: str, at: str) -> list[str]:
    r"""Return the texts of a value, in their order; none for an empty value.

    A list of links is several images, a list of categories is several categories: a comma in one of its names becomes
    `\,`, since a comma alone separates categories.

    Args:
        value: Text, bytes in UTF-8, `Number`, int, float, Decimal, boolean, None, or a list of these.
        column: Column of the catalog that the value is for.
        where: Name of the file for error messages.
        at: Position in the file for error messages: `in line 3`.

    Raises:
        UsageError: If the value is of another type, is no UTF-8, or is an id that is no whole number or may have lost
            digits.
    """
    if not isinstance(value, list | tuple):
        text = _text_of(value, column, where, at)
        return [text] if text else []
    if not value:
        return []
    if column not in ("image_uri", "category"):
        raise _other_kind(value, column, where, at)
    texts = [text for each in value if (text := _text_of(each, column, where, at).strip())]
    return texts if column == "image_uri" else [text.replace(",", "\\,") for text in texts]


def limited(text: str, column: str, where: str, at: str) -> str:
    """Return a text of a column that is not longer than `MAX_CHARS` allows.

    Raises:
        UsageError: If it is longer; the message quotes its beginning.
    """
    limit = MAX_CHARS.get(column, MAX_VALUE_CHARS)
    if len(text) > limit:
        raise catalog_error(
            where,
            f"has {at} a {column} of {len(text):,} characters, over the limit of {limit:,} characters "
            f"({quoted(text)}); shorten it, or name another column",
        )
    return text


def whole_characters(text: str, column: str, where: str, at: str) -> str:
    """Return a text of a column that identifies something, which has no half of a surrogate pair.

    Such halves have no bytes in UTF-8. With one text in place of all of them, two ids would become one.

    Raises:
        UsageError: If it has one; the message quotes the text.
    """
    if not text.isascii() and _HALF.search(text):
        raise catalog_error(
            where,
            f"has {at} the {column} {quoted(text)} with a byte or half of a character that no text in UTF-8 has; "
            "write or rename it in UTF-8",
        )
    return text


def image_number(text: str) -> int | None:
    """Return the number of a product's image that a text stands for: `1`, `01` and `1.0` are 1; None if it is none.

    Ingest and `shelfwise catalog check` both compare rows by this number.
    """
    if not _NUMBER.fullmatch(text):
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return int(number) if 0 <= number < _NUMBERS_BELOW and number == number.to_integral_value() else None


def printable(text: str) -> str:
    """Return a text with U+FFFD in place of each control character, separator of lines and half of a character."""
    return text if text.isprintable() else text.translate(_CONTROL)


def quoted(text: str) -> str:
    """Return the beginning of a text in quotation marks, for messages."""
    return repr(text[:_QUOTED_CHARS]) + ("..." if len(text) > _QUOTED_CHARS else "")


def _text_of(value: Any, column: str, where: str, at: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Number | int | float | Decimal):
        return _number(value, column, where, at)
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise catalog_error(
                where, f"has {at} a {column} that is no UTF-8 ({quoted(repr(value)[2:-1])}); write texts in UTF-8"
            ) from error
    raise _other_kind(value, column, where, at)


def _number(value: Number | int | float | Decimal, column: str, where: str, at: str) -> str:
    """Return the text of a number; a missing number of other programs, NaN, is empty, and no product_id."""
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    if column not in _IDS:
        return "" if text.lower() == "nan" else text
    if _WHOLE.fullmatch(text) and not isinstance(value, RoundedNumber):
        return text
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("nan")
    if column == "group_id" and number.is_nan():
        return ""
    if not number.is_finite() or number != number.to_integral_value():
        raise catalog_error(
            where, f"has {at} the number {quoted(text)} as {column}; an id is a text or a whole number, so correct it"
        )
    exact = isinstance(value, Decimal) or (number.copy_abs() < EXACT_BELOW and not isinstance(value, RoundedNumber))
    if not exact:
        raise catalog_error(
            where,
            f"has {at} the number {quoted(text)} as {column}, which may have lost digits, as floats of this size do; "
            "write ids as texts",
        )
    whole = format(number.to_integral_value(), "f")
    return "0" if whole == "-0" else whole


def _other_kind(value: Any, column: str, where: str, at: str) -> UsageError:
    kinds = {"dict": "an object", "list": "a list", "tuple": "a list"}
    kind = kinds.get(type(value).__name__, f"a {type(value).__name__}")
    remedy = {
        "image_uri": "write one link, a list of links, or a row for each image",
        "category": "write one text or a list of texts",
    }.get(column, "write one text or number")
    return catalog_error(where, f"has {at} another {column} than a text or a number, {kind}; {remedy}")

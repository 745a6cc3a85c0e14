"""The name under which products remember a catalog: derived from its path, or given by a person."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from jobs.errors import UsageError
from jobs.storage.stores import place, scheme_of

MAX_CATALOG_NAME_CHARACTERS = 100
TABLE_NAME = "products"
"""Name of the catalog that is a database table."""

_SUFFIX = re.compile(
    r"\.(?:csv|tsv|tab|txt|jsonl|ndjson|json|parquet|xlsx|xlsm|xls|xml|rss|atom|gz|bz2|xz|zst|zip)$", re.IGNORECASE
)
_YEAR, _MONTH, _DAY = r"(?:19|20)\d\d", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
_CLOCK = r"(?:[01]\d|2[0-3])(?P<colon>[-_.:]?)[0-5]\d(?:(?P=colon)[0-5]\d)?"
_DATE = re.compile(
    rf"(?<!\d)(?:{_YEAR}(?P<sign>[-_.]?){_MONTH}(?P=sign){_DAY}|{_DAY}(?P<mark>[-_.]){_MONTH}(?P=mark){_YEAR})"
    rf"(?:[T _-]?{_CLOCK}Z?(?!\d)|(?!\d))",
    re.IGNORECASE,
)
"""Matches a date, with or without a time, that is no part of a longer number."""
_SEPARATORS = " -_."


def catalog_name_of(catalog: str) -> str:
    """Derive the name of a catalog from its path, the same for the files of all nights.

    `exports/shop-2026-11-01.csv.gz` is `shop`, and `shop/2026-11-01.parquet` is `shop` too. The name of a folder counts
    where that of the file is only a date.

    Args:
        catalog: Path or URI of a directory or file, or `products`.

    Returns:
        A name that `check_catalog_name` accepts.
    """
    if catalog == TABLE_NAME:
        return TABLE_NAME
    where = place(catalog)
    # `..` must not count as a name, and a link such as `latest` must: what it leads to changes every night.
    text = os.path.abspath(where) if isinstance(where, Path) else str(where)  # noqa: PTH100
    for part in reversed(_without_scheme(text).split("/")):
        if name := _name_in(part):
            return name
    return "catalog"


def check_catalog_name(name: str) -> str:
    """Check a name that a person gave to a catalog, and return it as it is stored.

    Raises:
        UsageError: If it is blank, too long, or has a character that a name must not have.
    """
    stored = unicodedata.normalize("NFC", name).strip(" ")
    if not stored or len(stored) > MAX_CATALOG_NAME_CHARACTERS or not all(map(_may_be, stored)):
        raise UsageError(
            f"--catalog-name {name[:120]!r} is no name of a catalog: expected letters, digits, blanks, '-', '_' and "
            f"'.', at least one and at most {MAX_CATALOG_NAME_CHARACTERS} characters; choose another name"
        )
    return stored


def _without_scheme(text: str) -> str:
    """Return a URI without its scheme and without a user name, which is no part of a catalog's name."""
    return text.partition("://")[2].rpartition("@")[2] if scheme_of(text) else text


def _name_in(part: str) -> str:
    """Return what of a file's or folder's name stays from night to night; an empty text if it is only a date."""
    part = unicodedata.normalize("NFC", part)
    while _SUFFIX.search(part):
        part = _SUFFIX.sub("", part)
    part = _DATE.sub("-", part)
    part = "".join(character if _may_be(character) else _replacement(character) for character in part)
    # Of several separators in a row, where a date was, the first stays.
    part = re.sub(rf"([{re.escape(_SEPARATORS)}])[{re.escape(_SEPARATORS)}]+", r"\1", part)
    return part.strip(_SEPARATORS)[:MAX_CATALOG_NAME_CHARACTERS].rstrip(_SEPARATORS)


def _may_be(character: str) -> bool:
    """Return whether a name may have a character: a letter of any script with its marks, a digit, a separator."""
    return character in _SEPARATORS or unicodedata.category(character)[0] in "LMN"


def _replacement(character: str) -> str:
    return "" if unicodedata.category(character)[0] == "C" else "-"

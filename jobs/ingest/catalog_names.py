"""The name under which products remember a catalog: derived from its path, or given by a person."""

from __future__ import annotations

import os
import re
import unicodedata
from datetime import datetime
from pathlib import Path

from jobs.errors import UsageError
from jobs.storage.stores import place, scheme_of

MAX_CATALOG_NAME_CHARACTERS = 100
TABLE_NAME = "products"
"""Name of the catalog that is a database table."""
FILES_NAME = "products-files"
"""Name of a file or folder that would have the name of the table: what one of them lacks has not left the other."""

_SUFFIX = re.compile(
    r"\.(?:csv|tsv|tab|txt|jsonl|ndjson|json|parquet|xlsx|xlsm|xls|xml|rss|atom|gz|bz2|xz|zst|zip)$", re.IGNORECASE
)
_YEAR, _MONTH, _DAY = r"(?:19|20)\d\d", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
# With separators, days and months may have one digit.
_SHORT_MONTH, _SHORT_DAY = r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])"
_NAMED_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_ZONE = r"(?:Z|[ _]?[+-](?:0\d|1[0-4])[-_.:]?(?:00|15|30|45))"
_CLOCK = (
    rf"(?:[01]\d|2[0-3])(?P<colon>[-_.:]?)[0-5]\d(?:(?P=colon)[0-5]\d(?:[.,]\d{{1,9}}|\d{{3}}(?!\d))?)?{_ZONE}?"
    rf"|(?<=T)(?:[01]\d|2[0-3]){_ZONE}?"
)
_DAY_OF_A_YEAR = "|".join(
    (
        rf"{_YEAR}(?P<sign>[-_.]){_SHORT_MONTH}(?P=sign){_SHORT_DAY}",
        rf"{_YEAR}{_MONTH}{_DAY}",
        rf"(?:{_SHORT_DAY}(?P<mark>[-_.]){_SHORT_MONTH}|{_SHORT_MONTH}(?P<us_mark>[-_.]){_SHORT_DAY})"
        rf"(?:(?P=mark)|(?P=us_mark)){_YEAR}",
        rf"(?P<day_first>(?:{_DAY}{_MONTH}|{_MONTH}{_DAY})20\d\d)",
        rf"(?:{_SHORT_DAY}[-_. ]?)?(?<![^\W\d_]){_NAMED_MONTH}[-_. ]?(?:{_SHORT_DAY}[-_. ,]{{1,2}})?{_YEAR}",
        rf"{_YEAR}[-_. ]?{_NAMED_MONTH}(?:[-_. ]?{_SHORT_DAY}(?!\d))?(?![^\W\d_])",
    )
)
_DATE = re.compile(rf"(?<!\d)(?:{_DAY_OF_A_YEAR})(?:[T _-]?(?:{_CLOCK})(?!\d)|(?!\d))", re.IGNORECASE)
"""Matches a date, with or without a time, that is no part of a longer number."""
_MONTH_OF_A_YEAR = re.compile(
    rf"(?<![^\W_])(?<!\d[-_.])(?:{_YEAR}[-_.]{_MONTH}|{_MONTH}[-_.]{_YEAR})(?![^\W_])(?![-_.]\d)"
)
"""Matches a month in digits, which is no part of a longer row of numbers."""
_DATED_FOLDERS = re.compile(
    rf"(?:^|/)(?:{_YEAR}/{_SHORT_MONTH}(?:/{_SHORT_DAY}(?:/(?:[01]\d|2[0-3]))?)?|{_YEAR}[-_.]?{_MONTH}/{_SHORT_DAY})$"
)
"""Matches folders of a date at the end of a path: a year and a month, or also a day, or also an hour."""
_DATED_FOLDERS_OF_A_FILE = re.compile(rf"(?:^|/){_YEAR}(?:/{_SHORT_MONTH}(?:/{_SHORT_DAY})?)?$")
"""Matches the same above a name that is only a date; there a year is enough."""
_PART_OF_A_DATE = re.compile(r"(?:y|yyyy|year|m|mm|month|d|dd|day|h|hh|hour)=\d{1,4}", re.IGNORECASE)
"""Matches a folder of a data set that is partitioned by date, such as `month=11`."""
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
    name = _name_of_path(_without_scheme(text))
    return FILES_NAME if name == TABLE_NAME else name


def _name_of_path(path: str) -> str:
    """Return the name in the last part of a path that is more than a date; `catalog` if there is none."""
    path = _without_suffixes(unicodedata.normalize("NFC", path))
    path = _DATED_FOLDERS.sub("", path)
    while path:
        folder, _, part = path.rpartition("/")
        if name := _name_in(part):
            return name
        path = _DATED_FOLDERS.sub("", _DATED_FOLDERS_OF_A_FILE.sub("", folder) if part else folder)
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


def _without_suffixes(part: str) -> str:
    while _SUFFIX.search(part):
        part = _SUFFIX.sub("", part)
    return part


def _name_in(part: str) -> str:
    """Return what of a file's or folder's name stays from night to night; an empty text if it is only a date."""
    if _PART_OF_A_DATE.fullmatch(part):
        return ""
    key, equals, value = part.partition("=")
    if equals and key.isidentifier() and value and not _name_in(value):
        return ""  # a folder of a data set that is partitioned by date, such as `dt=2026-11-01`
    part = _MONTH_OF_A_YEAR.sub("-", _DATE.sub(_gap, _without_suffixes(part)))
    part = "".join(character if _may_be(character) else _replacement(character) for character in part)
    # Of several separators in a row, where a date was, the first stays.
    part = re.sub(rf"([{re.escape(_SEPARATORS)}])[{re.escape(_SEPARATORS)}]+", r"\1", part)
    return part.strip(_SEPARATORS)[:MAX_CATALOG_NAME_CHARACTERS].rstrip(_SEPARATORS)


def _gap(date_found: re.Match[str]) -> str:
    """Return what stands where a date was; eight digits that are no day of the calendar stay, such as a number."""
    digits = date_found["day_first"]
    return "-" if digits is None or any(_is_a_day(digits, form) for form in ("%d%m%Y", "%m%d%Y")) else date_found[0]


def _is_a_day(digits: str, form: str) -> bool:
    try:
        datetime.strptime(digits, form)
    except ValueError:
        return False
    return True


def _may_be(character: str) -> bool:
    """Return whether a name may have a character: a letter of any script with its marks, a digit, a separator."""
    return character in _SEPARATORS or unicodedata.category(character)[0] in "LMN"


def _replacement(character: str) -> str:
    return "" if unicodedata.category(character)[0] == "C" else "-"

"""Read the decisions of people, each a product and its category, from a CSV or JSON Lines file.

People make such files with spreadsheets, often of the query `review_queue`. So the names of columns may be in any case,
semicolons or tabs may divide the cells, and rows may be empty.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from jobs.errors import UsageError
from sql.former_decisions import is_database, read_former_decisions
from sql.overrides import Override

SUGGESTED = "suggested_category_id"
"""Column by which a file is recognised as one that the query `review_queue` wrote."""

_DELIMITERS = (",", ";", "\t")
_OBJECTS = (".jsonl", ".ndjson", ".json")
_FORMULA = re.compile(r"'(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")
"""The apostrophe that `shelfwise query --safe` puts before texts that begin like a formula."""

_EXACT_BELOW = 2**53  # from there on, floats of 64 bits skip whole numbers

_EXPECTED = "expected a .csv or .jsonl file in UTF-8"


@dataclass(frozen=True)
class _Row:
    """A row that is not empty, by the names of its columns in lower case, and where it stands in the file."""

    number: int
    line: int
    cells: dict[str, Any]

    @property
    def place(self) -> str:
        """Place of the row, for messages."""
        return f"row {self.number} (line {self.line})"


def read_decisions(file: Path, decided_by: str | None) -> list[Override]:
    """Read the file of `override import`: decisions, one for each product.

    In a file with the column suggested_category_id, rows without a category_id are left out: nobody has decided there.

    Args:
        file: A .csv file with a header or a .jsonl file, with product_id, category_id and, optionally, why; or an
            SQLite database of another version of shelfwise.
        decided_by: The person who decided. A database names the person of each decision itself.

    Returns:
        The decisions, in the order of the file.

    Raises:
        UsageError: If the file cannot be read, is empty, or has a row without product_id or category_id; the message
            names the row to correct. Also if `decided_by` is missing for a text file, or given for a database.
        ValueError: If a decision of a database is not valid; the message names the product.
        DatabaseError: If a database is damaged.
    """
    if _from_database(file):
        if decided_by is not None:
            raise UsageError(f"{file} is a database, which names who decided; leave --by out")
        return read_former_decisions(file)
    if decided_by is None:
        raise UsageError(f"{file} does not name who decided; add --by NAME, as in --by ada")
    rows = _rows(file)
    if not rows:
        raise UsageError(f"{file} holds no decision; it needs rows with product_id and category_id")
    columns = {name for row in rows for name in row.cells}
    if SUGGESTED in columns:
        if "category_id" not in columns:
            raise UsageError(
                f"{file} has the column {SUGGESTED} and no column category_id; add the column category_id and fill it "
                "with the category of each product that was decided"
            )
        rows = [row for row in rows if not _blank(row.cells.get("category_id"))]
        if not rows:
            raise UsageError(f"{file} has no category_id in any row; fill the column category_id where you decided")
    decisions = []
    for row in rows:
        product_id, category_id = (_text(file, row, name) for name in ("product_id", "category_id"))
        why = row.cells.get("why")
        if not isinstance(why or "", str):
            raise UsageError(f"{row.place} of {file} has a why that is no text; correct it, nothing was taken")
        decisions.append(Override(product_id, category_id, (why or "").strip() or None, decided_by))
    return decisions


def read_products(file: Path) -> list[str]:
    """Read the products of a file that was imported, or of any .csv or .jsonl file with product_id.

    Args:
        file: Such a file, or an SQLite database of another version of shelfwise, which `override import` takes too.

    Returns:
        The products, each once, in the order of the file.

    Raises:
        UsageError: If the file cannot be read, is empty, or has a row without product_id; the message names the row.
        ValueError: If a decision of a database is not valid; the message names the product.
        DatabaseError: If a database is damaged.
    """
    if _from_database(file):
        return [decision.product_id for decision in read_former_decisions(file)]
    rows = _rows(file)
    if not rows:
        raise UsageError(f"{file} names no product; it needs rows with product_id")
    if any(SUGGESTED in row.cells for row in rows) and any("category_id" in row.cells for row in rows):
        rows = [row for row in rows if not _blank(row.cells.get("category_id"))]  # the others were never imported
    return list(dict.fromkeys(_text(file, row, "product_id") for row in rows))


def _from_database(file: Path) -> bool:
    try:
        return is_database(file)
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error}); {_EXPECTED}") from error


def _text(file: Path, row: _Row, name: str) -> str:
    """Return the text of a cell; whole numbers are ids too, and 7.0 is the product 7, as in catalogs.

    Raises:
        UsageError: If it is empty or something else, or a float that may have lost digits.
    """
    value = row.cells.get(name)
    if name == "product_id" and isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_BELOW:
        return str(int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if _blank(value) or not isinstance(value, str):
        missing = f"no {name}" if _blank(value) else f"a {name} that is no text"
        raise UsageError(f"{row.place} of {file} has {missing}; correct it, nothing was taken")
    text = value.strip()
    return _FORMULA.sub("", text, count=1) if SUGGESTED in row.cells and text.startswith("'") else text


def _blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _rows(file: Path) -> list[_Row]:
    """Read the rows of a text file, without the empty ones; raise UsageError if it cannot be read."""
    try:
        with file.open("rb") as stream:
            start = stream.read(2)
        utf_16 = start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # Excel's "Unicode text"
        with file.open(encoding="utf-16" if utf_16 else "utf-8-sig", newline="") as lines:
            found = _objects(lines) if file.suffix.lower() in _OBJECTS else _table(file, lines)
            kept = ((line, cells) for line, cells in found if not all(map(_blank, cells.values())) or not cells)
            return [_Row(number, line, cells) for number, (line, cells) in enumerate(kept, 1)]
    except RecursionError as error:
        raise UsageError(f"{file} has a line that is nested too deep; expected one decision a line") from error
    except UsageError:
        raise
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{file} cannot be read ({error}); {_EXPECTED}") from error


def _objects(lines: TextIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of JSON Lines with the numbers of their lines; anything else is a row without cells."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            value = json.loads(line)
            yield number, {_name(name): cell for name, cell in value.items()} if isinstance(value, dict) else {}


def _table(file: Path, lines: TextIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of CSV with the numbers of their lines; the header says what divides the cells."""
    first = lines.readline()
    before = 1
    if told := re.fullmatch(r"sep=(.)\s*", first):  # which spreadsheets write and read in front of the header
        first, before = lines.readline(), 2
    choices = (told[1],) if told else _DELIMITERS
    headers = {mark: [_name(cell) for cell in next(csv.reader([first], delimiter=mark), [])] for mark in choices}
    mark = next((mark for mark, names in headers.items() if "product_id" in names), choices[0])
    names = headers[mark]
    if twice := next((name for name in names if name and names.count(name) > 1), None):
        raise UsageError(f"{file} has two columns {twice}; leave one of them out, nothing was taken")
    if "product_id" not in names:
        shown = ", ".join(repr(name[:40]) for name in names[:10]) or "nothing"
        raise UsageError(f"{file} has no column product_id in its first line, which has {shown}; add it")
    reader = csv.reader(lines, delimiter=mark, strict=True)
    for row in reader:
        if any(cell.strip() for cell in row[len(names) :]):
            raise UsageError(
                f"line {before + reader.line_num} of {file} has {len(row)} cells where the header has {len(names)}; "
                f"put a text with {mark!r} in quotes, nothing was taken"
            )
        cells = dict(zip(names, row, strict=False))
        yield before + reader.line_num, {**cells, names[0]: cells.get(names[0], "")}


def _name(text: str) -> str:
    """Return the name of a column as this project spells it: `Product ID` is product_id."""
    return re.sub(r"[\s-]+", "_", text.strip().lower())

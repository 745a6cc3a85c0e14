"""Read catalogs in XLSX: the first visible sheet of a workbook, with the columns' names in one row.

Values are what the cells show as far as that is certain: the stored results of formulas, dates in ISO 8601, numbers
without exponent, and with the leading zeros of a format that has only zeros.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from openpyxl.styles.numbers import is_date_format, is_datetime, is_timedelta_format
from openpyxl.utils.datetime import from_excel

from jobs.catalog.errors import catalog_error
from jobs.catalog.forms.cells import Cell, cell_name
from jobs.catalog.forms.workbook import Sheet, opened_sheet
from jobs.catalog.layout import Layout
from jobs.catalog.rows import MAX_COLUMNS, Batches, Part, Row, RowMaker, column_places, in_batches, too_many_columns
from jobs.catalog.values import EXACT_BELOW, Number, RoundedNumber
from jobs.errors import UsageError

_WHOLE = re.compile(r"[+-]?\d{1,30}")
_ZEROS = re.compile(r"0{2,100}")


def read_xlsx(path: Path, where: str, layout: Layout, part: Part) -> Batches:
    """Read the first visible sheet of a workbook in batches of rows.

    Args:
        path: Local path of the file, or of its local copy.
        where: Name of the file for error messages.
        layout: How it is read; rows without a value are skipped.
        part: Which part of it.

    Raises:
        UsageError: If the file is no workbook, lacks a required column, or a cell of a column that counts has an error
            or a formula without its result. The message names the cell.
    """
    with opened_sheet(path, where) as sheet:
        yield from in_batches(_rows(sheet, where, layout, part.first_position))


def xlsx_names(path: Path, where: str, layout: Layout) -> list[str]:
    """Return the names of the columns of a workbook's first visible sheet; none if it has no cells."""
    with opened_sheet(path, where) as sheet:
        return _header(_Cells(sheet, where), layout)


def _rows(sheet: Sheet, where: str, layout: Layout, position: int) -> Iterator[Row]:
    cells = _Cells(sheet, where)
    names = _header(cells, layout)
    if not names:
        return
    used = sorted({index for indices in column_places(names, layout, where).values() for index in indices})
    maker = RowMaker([names[index] for index in used], layout, where, unit="row")
    places = {index + 1: place for place, index in enumerate(used)}
    for number, row in sheet.rows:
        values: list[Any] = [None] * len(used)
        for cell in row:
            place = places.get(cell.column)
            if place is not None:
                values[place] = cells.value(cell, number)
        yield from maker.rows(values, number, position + number)


def _header(cells: _Cells, layout: Layout) -> list[str]:
    """Return the names of the columns: the values of the first row that is not blank, from the header line on."""
    for number, row in cells.sheet.rows:
        if number < layout.header_line:
            continue
        texts = {cell.column: str(cells.value(cell, number)).strip() for cell in row}
        if any(texts.values()):
            if max(texts) > MAX_COLUMNS:
                raise too_many_columns(max(texts), cells.where, f" in row {number}")
            return [texts.get(column, "") for column in range(1, max(texts) + 1)]
    return []


class _Format(NamedTuple):
    """What a number's format says of its value: `date`, `time`, `duration` or empty, and the digits to fill up to."""

    kind: str
    digits: int


class _Cells:
    """Turns the cells of a sheet into values."""

    def __init__(self, sheet: Sheet, where: str) -> None:
        self.sheet, self.where = sheet, where
        self._formats = [_format(each) for each in sheet.formats]

    def value(self, cell: Cell, row: int) -> Any:
        """Return a cell's value: text, `Number` or bool.

        Raises:
            UsageError: If the cell has an error, or a formula without its result, or no such value.
        """
        if cell.kind == "e":
            raise self._refused(cell, row, f"the error {cell.text[:20]}", "correct it")
        if not cell.text:
            if cell.formula and cell.kind != "str":
                remedy = "open the workbook in a spreadsheet program, and save it"
                raise self._refused(cell, row, "a formula without its result", remedy)
            return ""
        try:
            if cell.kind == "s":
                return self.sheet.string(int(cell.text))
            if cell.kind == "n":
                return self._number(cell)
        except UsageError:
            raise
        except (ArithmeticError, ValueError, LookupError) as error:
            raise self._refused(cell, row, f"no such value ({cell.text[:20]})", "save it again as .xlsx") from error
        return cell.text in ("1", "true") if cell.kind == "b" else cell.text

    def _number(self, cell: Cell) -> str:
        kind, digits = self._formats[cell.style] if cell.style < len(self._formats) else _Format("", 0)
        if kind:
            return _moment(float(cell.text), kind, self.sheet.epoch)
        text = _digits(cell.text)
        # Spreadsheet programs keep numbers as floats of 64 bits, also those that are stored with all their digits.
        number = RoundedNumber if abs(float(text)) >= EXACT_BELOW else Number
        return number(text.zfill(digits) if text.isdecimal() else text)

    def _refused(self, cell: Cell, row: int, what: str, remedy: str) -> UsageError:
        return catalog_error(
            self.where, f"has {what} in cell {cell_name(cell.column, row)} of sheet {self.sheet.name[:80]!r}; {remedy}"
        )


def _format(code: str) -> _Format:
    if is_timedelta_format(code):
        return _Format("duration", 0)
    if is_date_format(code):
        return _Format("date" if is_datetime(code) == "date" else "time", 0)
    return _Format("", len(code) if _ZEROS.fullmatch(code) else 0)


def _digits(text: str) -> str:
    """Return a number's text without exponent.

    Spreadsheet programs store 17 digits, of which the last are noise: 19.9 is in the file as 19.899999999999999. The
    shortest digits that stand for the same float are those that were typed.
    """
    if _WHOLE.fullmatch(text):
        return str(int(text))
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("no number")
    return format(Decimal(repr(number or 0.0)), "f").removesuffix(".0")  # -0 is 0


def _moment(number: float, kind: str, epoch: datetime) -> str:
    """Return a date, a time or both in ISO 8601."""
    value = from_excel(number, epoch, timedelta=kind == "duration")
    if kind == "date" and isinstance(value, datetime):
        return value.date().isoformat()
    return str(value)

"""The cells of an XLSX sheet and the strings that they share, as streams.

A sheet is parsed row by row and the shared strings as far as they are needed, so that memory holds these strings and a
few rows. What a file says of the sheet's size is not used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from openpyxl.utils import column_index_from_string, get_column_letter

from jobs.catalog.forms.xml_stream import Target, TooMuch
from jobs.catalog.values import MAX_VALUE_CHARS

MAX_ROW = 2**20
MAX_COLUMN = 2**14
"""Most rows and columns of a sheet, by the format's own definition."""

_MAX_ROW_CHARS = 8 * MAX_VALUE_CHARS
_REFERENCE = re.compile(r"([A-Za-z]{1,3})\d*")


class Cell(NamedTuple):
    """A cell as the file has it.

    Attributes:
        column: Number of its column, from 1.
        kind: Type by the format: `n` number, `s` shared string, `str`, `inlineStr`, `b`, `e`, `d`.
        style: Number of its style.
        text: The stored value.
        formula: Whether the value comes from a formula.
    """

    column: int
    kind: str
    style: int
    text: str
    formula: bool


def cell_name(column: int, row: int) -> str:
    """Return the name of a cell, such as `B7`."""
    return f"{get_column_letter(column)}{row}"


class SheetCells(Target):
    """Gathers the rows of a sheet.

    Attributes:
        rows: Number of each row that has ended and has cells, and its cells; the caller takes them away.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, list[Cell]]] = []
        self._row = self._column = 0
        self._cells: list[Cell] = []
        self._cell: Mapping[str, str] = {}
        self._text: list[str] = []
        self._chars = 0
        self._formula = self._reads = False
        self._columns: dict[str, int] = {}

    def opened(self, name: str, namespace: str, attributes: dict[str, str]) -> None:
        """Begin a row, a cell or its value."""
        if name == "c":
            self._cell, self._text, self._formula = attributes, [], False
            self._column = self._column_of(attributes.get("r", ""))
        elif name == "v" or (name == "t" and "rPh" not in self.stack):
            self._reads = True
        elif name == "f":
            self._formula = True
        elif name == "row":
            number = int(float(attributes.get("r") or self._row + 1))
            if not self._row < number <= MAX_ROW:
                raise ValueError(f"row {number} follows row {self._row}")
            self._row, self._column, self._cells, self._chars = number, 0, [], 0

    def said(self, text: str) -> None:
        """Add to a cell's value."""
        if self._reads:
            self._text.append(text)
            self._chars += len(text)
            if self._chars > _MAX_ROW_CHARS:
                raise TooMuch(f"over {_MAX_ROW_CHARS:,} characters in row {self._row}")

    def closed(self, name: str) -> None:
        """End a row, a cell or its value."""
        if name in ("v", "t"):
            self._reads = False
        elif name == "c":
            text = "".join(self._text)
            if text or self._formula:
                kind, style = self._cell.get("t", "n"), int(self._cell.get("s") or 0)
                self._cells.append(Cell(self._column, kind, style, text, self._formula))
                if len(self._cells) > MAX_COLUMN:
                    raise TooMuch(f"over {MAX_COLUMN:,} cells in row {self._row}")
        elif name == "row" and self._cells:
            self.rows.append((self._row, self._cells))

    def _column_of(self, reference: str) -> int:
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            if reference:
                raise ValueError(f"a cell is called {reference[:20]!r}")
            return self._column + 1
        letters = match[1].upper()
        if letters not in self._columns:
            self._columns[letters] = int(column_index_from_string(letters))
        return self._columns[letters]


class SharedStrings(Target):
    """The strings that cells share, read as far as they are needed.

    Attributes:
        pieces: Parses the strings piece by piece into this object.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pieces: Iterator[int] = iter(())
        self._known: list[str] = []
        self._text: list[str] = []
        self._chars = 0
        self._reads = False

    def string(self, number: int) -> str:
        """Return a string by its number.

        Raises:
            LookupError: If there is none.
        """
        while number >= len(self._known) and next(self.pieces, None) is not None:
            pass
        if number < 0:
            raise LookupError(f"no shared string {number}")
        return self._known[number]

    def opened(self, name: str, namespace: str, attributes: dict[str, str]) -> None:
        """Begin a string or a part of it."""
        if name == "si":
            self._text, self._chars = [], 0
        self._reads = name == "t" and "rPh" not in self.stack  # rPh holds how a word is pronounced

    def said(self, text: str) -> None:
        """Add to a string."""
        if self._reads:
            self._text.append(text)
            self._chars += len(text)
            if self._chars > MAX_VALUE_CHARS:
                raise TooMuch(f"over {MAX_VALUE_CHARS:,} characters in one shared string")

    def closed(self, name: str) -> None:
        """End a string or a part of it."""
        self._reads = False
        if name == "si":
            self._known.append("".join(self._text))

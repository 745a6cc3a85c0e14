"""Read catalogs in CSV: a line of names, a separator between values, quotation marks doubled inside quoted values."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.catalog.divisions import lines_before, window_of
from jobs.catalog.errors import catalog_error
from jobs.catalog.layout import SEPARATORS, Layout
from jobs.catalog.opening import Source
from jobs.catalog.rows import MAX_COLUMNS, Batches, Part, RowMaker, in_batches, too_many_columns
from jobs.catalog.text import MAX_LINE_CHARS, WHOLE, Window, lines
from jobs.catalog.values import MAX_VALUE_CHARS
from jobs.errors import UsageError

if TYPE_CHECKING:
    import _csv

_CLOSE = "close each quotation mark, and double those inside of a value"

Record = tuple[int, list[str]]
"""Number of a record's first line, from 1, and its values."""


def read_csv(path: Path, where: str, layout: Layout, part: Part) -> Batches:
    """Read a catalog's CSV file in batches of rows.

    Args:
        path: Local path of the file, or of its local copy.
        where: Name of the file for error messages.
        layout: How it is read.
        part: Which part of it.

    Raises:
        UsageError: If a row has more or fewer values than the header, a quoted value is not closed, or text follows
            its closing quotation mark. Such rows would be lost or read wrong. The message names the line to correct.
    """
    header = _header(path, where, layout)
    if header is None:
        return
    window = window_of(path, part, header[0]) if part.start or part.end else WHOLE
    try:
        yield from _batches(path, where, layout, part, header[1], window)
    except UsageError:
        if not window.start:
            raise
        # Only now the line's number is needed. The part is read again, and fails at the same line.
        window = replace(window, lines_before=lines_before(path, window.start))
        for _ in _batches(path, where, layout, part, header[1], window):
            pass
        raise


def csv_names(source: Source, where: str, layout: Layout) -> list[str]:
    """Return the names of the columns of a CSV file; none if it has no line.

    Args:
        source: The file, local or open in a store.
        where: Name of the file for error messages.
        layout: How it is read.

    Raises:
        UsageError: If the header cannot be read.
    """
    header = _header(source, where, layout)
    return header[1] if header else []


def _header(source: Source, where: str, layout: Layout) -> Record | None:
    text = lines(source, where, layout.encoding)
    above = layout.header_line - 1
    skipped = sum(1 for _ in islice(text, above))
    header = next(_records(text, where, layout, above), None)
    if above and header is None:
        raise catalog_error(
            where,
            f"has no header in line {layout.header_line} (it has {skipped:,} lines); correct `header_line` in "
            "shelfwise.toml",
        )
    if header and len(header[1]) > MAX_COLUMNS:
        remedy = ", or name the line of its header as `header_line` in shelfwise.toml"
        raise too_many_columns(len(header[1]), where, f" in line {header[0]}", remedy)
    return header


def _batches(path: Path, where: str, layout: Layout, part: Part, header: list[str], window: Window) -> Batches:
    """Read the rows of a window; one that begins with the file has the header."""
    text = lines(path, where, layout.encoding, window)
    above = window.lines_before
    if not window.start:
        above += sum(1 for _ in islice(text, layout.header_line - 1))
    records = _records(text, where, layout, above)
    if not window.start:
        next(records, None)
    maker = RowMaker(header, layout, where)
    fitting = enumerate(_fitting(records, where, layout, header), part.first_position)
    yield from in_batches(row for position, (line, values) in fitting for row in maker.rows(values, line, position))


def _fitting(records: Iterator[Record], where: str, layout: Layout, header: list[str]) -> Iterator[Record]:
    """Yield records that have as many values as the header.

    Raises:
        UsageError: If one has more or fewer.
    """
    width = len(header)
    for line, values in records:
        if len(values) != width:
            have = "1 value" if len(values) == 1 else f"{len(values):,} values"
            raise catalog_error(
                where,
                f"has {have} in {_span(line, line + _breaks(values))}, and its header has {width:,}; "
                f"{_remedy(values, header, layout)}",
            )
        yield line, values


def _records(text: Iterator[str], where: str, layout: Layout, above: int) -> Iterator[Record]:
    """Yield the records of a text; empty lines and records of blank values are skipped.

    Args:
        text: Lines.
        where: Name of the file for error messages.
        layout: Its separator and quotation mark.
        above: Number of lines of the file before the text.
    """
    csv.field_size_limit(MAX_VALUE_CHARS)
    end, chars = above, 0  # the last line of the last record, and the characters since then

    def bounded() -> Iterator[str]:
        nonlocal chars
        for line in text:
            chars += len(line)
            if chars > MAX_LINE_CHARS:
                raise catalog_error(
                    where, f"has a row of over {MAX_LINE_CHARS:,} characters from line {end + 1} on; {_CLOSE}"
                )
            yield line

    reader = _reader(bounded(), where, layout)
    try:
        for values in reader:
            # Most rows begin with a value, which saves a look at the others.
            if values and (values[0].strip() or any(map(str.strip, values))):
                yield end + 1, values
            end, chars = above + reader.line_num, 0
    except csv.Error as error:
        at = _span(end + 1, above + reader.line_num)
        if "end of data" in str(error):
            raise catalog_error(where, f"ends inside of a quoted value of {at}; {_CLOSE}") from error
        if "limit" in str(error):
            remedy = _CLOSE if layout.quote else "see that `separator` in shelfwise.toml is the right one"
            raise catalog_error(
                where, f"has a value of over {MAX_VALUE_CHARS:,} characters in {at}; {remedy}"
            ) from error
        raise catalog_error(where, f"has text after the end of a quoted value in {at}; {_CLOSE}") from error


def _reader(text: Iterator[str], where: str, layout: Layout) -> _csv.Reader:
    for what, character in (("separator", layout.separator), ("quotation mark", layout.quote)):
        if character and (len(character) > 1 or character in "\0\r\n"):
            raise catalog_error(
                where, f"cannot be read with the {what} {character!r}; name one visible character in shelfwise.toml"
            )
    if not layout.separator or layout.separator == layout.quote:
        raise catalog_error(
            where,
            f"cannot be read with {layout.separator!r} as separator and as quotation mark; name two of them as "
            "`separator` and `quote` in shelfwise.toml",
        )
    return csv.reader(
        text,
        delimiter=layout.separator,
        quotechar=layout.quote or None,
        quoting=csv.QUOTE_MINIMAL if layout.quote else csv.QUOTE_NONE,
        strict=True,
    )


def _remedy(values: Sequence[str], header: Sequence[str], layout: Layout) -> str:
    """Return what to do about a record that has more or fewer values than the header."""
    separators = SEPARATORS.get(layout.separator, repr(layout.separator))
    if not any(map(str.strip, values[len(header) :])) and len(values) > len(header):
        return f"the row ends in {separators} that the header lacks, so leave them out or give them names"
    if not any(map(str.strip, header[len(values) :])) and len(values) < len(header):
        return f"the header ends in {separators} that the row lacks, so leave them out of the header"
    if not layout.quote:
        return (
            f"write it with quotation marks around values that hold {separators}, and name the mark as `quote` in "
            "shelfwise.toml"
        )
    return f"quote a value that holds {separators}, {_CLOSE}"


def _breaks(values: Sequence[str]) -> int:
    return sum(value.count("\n") for value in values)


def _span(first: int, last: int) -> str:
    return f"line {first}" if first >= last else f"the row of lines {first} to {last}"

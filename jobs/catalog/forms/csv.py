"""Read catalogs in CSV: a line of names, a separator between values, quotation marks doubled inside quoted values."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from jobs.catalog.errors import catalog_error
from jobs.catalog.layout import Layout
from jobs.catalog.rows import Batches, Part, RowMaker, in_batches
from jobs.catalog.text import lines
from jobs.catalog.values import MAX_VALUE_CHARS

_CLOSE = "close each quotation mark, and double those inside of a value"


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
    records = _records(path, where, layout)
    header = next(records, None)
    if header is None:
        return
    maker = RowMaker(header[1], layout, where)
    position = part.first_position
    yield from in_batches(
        row for index, (line, values) in enumerate(records) for row in maker.rows(values, line, position + index)
    )


def csv_names(path: Path, where: str, layout: Layout) -> list[str]:
    """Return the names of the columns of a CSV file; none if it has no line."""
    header = next(_records(path, where, layout), None)
    return header[1] if header else []


def _records(path: Path, where: str, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """Yield the header and the records that have as many values as it, with the first line of each.

    Empty lines are skipped.
    """
    csv.field_size_limit(MAX_VALUE_CHARS)
    text = lines(path, where)
    end = layout.header_line - 1
    for _ in range(end):
        next(text, None)
    reader = csv.reader(
        text,
        delimiter=layout.separator,
        quotechar=layout.quote or None,
        quoting=csv.QUOTE_MINIMAL if layout.quote else csv.QUOTE_NONE,
        strict=True,
    )
    above, width = end, 0
    try:
        for row in reader:
            if row:
                width = width or len(row)
                if len(row) != width:
                    raise catalog_error(
                        where,
                        f"has {_counted(len(row))} in {_span(end + 1, above + reader.line_num)}, and its header has "
                        f"{width}; quote a value that holds commas, {_CLOSE}",
                    )
                yield end + 1, row
            end = above + reader.line_num
    except csv.Error as error:
        at = _span(end + 1, above + reader.line_num)
        if "end of data" in str(error):
            raise catalog_error(where, f"ends inside of a quoted value of {at}; {_CLOSE}") from error
        if "limit" in str(error):
            raise catalog_error(
                where, f"has a value of over {MAX_VALUE_CHARS:,} characters in {at}; {_CLOSE}"
            ) from error
        raise catalog_error(where, f"has text after the end of a quoted value in {at}; {_CLOSE}") from error


def _counted(values: int) -> str:
    return "1 value" if values == 1 else f"{values} values"


def _span(first: int, last: int) -> str:
    return f"line {first}" if first >= last else f"the row of lines {first} to {last}"

"""Read catalogs in CSV: a header line, commas between values, quotation marks doubled inside quoted values."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from jobs.dataset.schema import CATALOG_COLUMNS
from jobs.ingest.formats.rows import MAX_VALUE_CHARS, Batches, catalog_error, column_indices, in_batches, lines

_CLOSE = "close each quotation mark, and double those inside of a value"


def read_csv(path: Path, where: str) -> Batches:
    """Read a catalog's CSV file in batches of rows; an empty value becomes None.

    Args:
        path: Local path of the file, or of its local copy.
        where: Name of the file for error messages.

    Raises:
        UsageError: If a row has more or fewer values than the header, a quoted value is not closed, or text follows
            its closing quotation mark. Such rows would be lost or read wrong. The message names the line to correct.
    """
    csv.field_size_limit(MAX_VALUE_CHARS)
    rows = _records(path, where)
    header = next(rows, None)
    if header is None:
        return
    index_of = column_indices(header, where)
    indices = [index_of.get(name) for name in CATALOG_COLUMNS]
    yield from in_batches([None if index is None else row[index] or None for index in indices] for row in rows)


def _records(path: Path, where: str) -> Iterator[list[str]]:
    """Yield the header and the records that have as many values as it; skip empty lines."""
    reader = csv.reader(lines(path, where), strict=True)
    end, width = 0, 0
    try:
        for row in reader:
            if row:
                width = width or len(row)
                if len(row) != width:
                    raise catalog_error(
                        where,
                        f"has {_counted(len(row))} in {_span(end + 1, reader.line_num)}, and its header has {width}; "
                        f"quote a value that holds commas, {_CLOSE}",
                    )
                yield row
            end = reader.line_num
    except csv.Error as error:
        at = _span(end + 1, reader.line_num)
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

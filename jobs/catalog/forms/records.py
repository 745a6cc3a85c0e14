"""Records that have names of their own, such as objects of JSON and elements of XML, to the rows of a catalog."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from jobs.catalog.layout import Layout
from jobs.catalog.rows import Row, RowMaker, column_places

_MAX_CACHED_LAYOUTS = 1000
_MAX_SHOWN_NAMES = 1000
_SAMPLE = 100


class Record(NamedTuple):
    """What a file holds of one article.

    Attributes:
        line: Line in which it begins, from 1.
        names: Names of its values.
        values: Its values, in the order of the names.
    """

    line: int
    names: tuple[str, ...]
    values: Sequence[Any]


def rows_of(records: Iterable[Record], layout: Layout, where: str, first_position: int) -> Iterator[Row]:
    """Yield the rows of records, each of which may lack some of the columns.

    Args:
        records: The records of the file, in their order.
        layout: How the catalog is read.
        where: Name of the file for error messages.
        first_position: Position of the first record.

    Raises:
        UsageError: If a record has a column twice, or no record has a required column.
    """
    # Records with the same names in the same order share one lookup of the catalog's columns.
    makers: dict[tuple[str, ...], RowMaker] = {}
    seen: dict[str, None] = {}
    for position, record in enumerate(records, first_position):
        maker = makers.get(record.names)
        if maker is None:
            if len(makers) == _MAX_CACHED_LAYOUTS:  # a file whose records all have different names must not fill memory
                makers.clear()
            maker = makers[record.names] = RowMaker(record.names, layout, where, partial=record.line)
            _remember(seen, record, layout, where)
        yield from maker.rows(record.values, record.line, position)
    if seen:
        column_places(list(seen), layout, where)


def _remember(seen: dict[str, None], record: Record, layout: Layout, where: str) -> None:
    """Add the names of a record: all of the first ones, for the message, and later those that count."""
    names: Iterable[str] = record.names
    if len(seen) >= _MAX_SHOWN_NAMES:
        places = column_places(record.names, layout, where, partial=record.line)
        names = [record.names[index] for indices in places.values() for index in indices]
    seen.update(dict.fromkeys(name.strip().lower() for name in names))


def names_in(records: Iterable[Record]) -> list[str]:
    """Return the names of the first records' values, each once, in their order."""
    return list(dict.fromkeys(name for record in islice(records, _SAMPLE) for name in record.names))

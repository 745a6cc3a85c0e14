"""From the records of a file to the rows of a catalog: which columns count, and a row for each image of a record.

A record is what a file holds of one article: a line of CSV, an object of JSON, an element of XML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from jobs.catalog.errors import catalog_error
from jobs.catalog.links import link_of
from jobs.catalog.values import MAX_CHARS, image_number, limited, printable, texts_of, whole_characters
from jobs.dataset.schema import CATALOG_COLUMNS, CATALOG_REQUIRED, CATALOG_TEXTS
from jobs.errors import UsageError
from jobs.storage.places import Place

if TYPE_CHECKING:
    from jobs.catalog.layout import Layout

BATCH_ROWS = 10_000
IMAGES_A_RECORD = 1024
"""Positions that a record of the file has for its images: more than are read of any product. Images behind these share
the last position, since they are only counted."""

MAX_COLUMNS = 10_000
"""Most columns of a file or of a record with names of its own. More are in another kind of file, or another line."""

MAX_PARTS = 2**15
"""Most files of a catalog. Positions leave room for so many files; see `Part.first_position`."""

_LINK_START = r"(?i:https?:|s3:|//|www\.)"
_IMAGE_NO = re.compile(r"0|[1-9][0-9]{0,8}")
_WEB_LINK = re.compile(rf"\s*{_LINK_START}")

ROW_SCHEMA = pa.schema(
    [(name, pa.string()) for name in CATALOG_COLUMNS] + [("fetch_uri", pa.string()), ("position", pa.int64())]
)
"""Rows of a catalog as its readers yield them, before the check of their keys.

`image_no` is a whole number without leading zeros, null where it follows from the order of the rows, or else a text
that is refused with its key. `fetch_uri` is the link with its secrets where `image_uri` masks some. `position` grows
along the catalog and is different for each row that may be read."""

Row = tuple[str | int | None, ...]
"""Values in the order of `ROW_SCHEMA`."""

Batches = Iterator[pa.RecordBatch]


class RowMaker:
    """Makes catalog rows of the records of a file whose columns have given names."""

    def __init__(
        self, names: Sequence[str], layout: Layout, where: str, *, unit: str = "line", partial: int | None = None
    ) -> None:
        """Find the columns that count.

        Args:
            names: Names of the file's columns, in the order of a record's values. Upper and lower case are the same;
                blanks around a name are ignored.
            layout: How the catalog is read.
            where: Name of the file for error messages.
            unit: What the number of a record counts: `line`, `row`.
            partial: Number of a record that has these names, where each record has names of its own and may lack some.

        Raises:
            UsageError: If a column that is needed is missing, or one that counts appears twice.
        """
        self._where, self._unit, self._layout = where, unit, layout
        places = column_places(names, layout, where, partial=partial)
        self._product = places.get("product_id", [])
        self._images = places.get("image_uri", [])
        self._number = places.get("image_no", [])
        self._group_id = places.get("group_id", [])
        self._group = places.get("group_by", [])
        self._passed_over = places.get("passed_over", [])
        self._header = {index: names[index].strip() for indices in places.values() for index in indices}
        self._ids = {self._header[index] for index in self._product}
        self._texts = [places.get(name, []) for name in CATALOG_TEXTS]
        self._several = len(self._images) > 1 or bool(layout.image_separator)

    def rows(self, values: Sequence[Any], number: int, position: int) -> Iterator[Row]:
        """Yield the rows of a record, one for each image.

        Args:
            values: The record's values, in the order of the names.
            number: Number of the record's line or row, from 1, for error messages.
            position: Number that grows along the catalog and is different for each record.

        Raises:
            UsageError: If a value is of a type that cannot be read, or the values are the names of their columns.
        """
        product_id = self._first(values, self._product, "product_id", number)
        if (
            product_id in self._ids
            and self._images
            and all(_is_name(values[at], name) for at, name in self._header.items())
        ):
            raise catalog_error(
                self._where,
                f"has its header again {self._at(number)}, where another file was appended; leave that {self._unit} "
                "out",
            )
        group = self._reference(self._first(values, self._group, "product_id", number))
        group_id = self._reference(self._first(values, self._group_id, "group_id", number))
        group_id = printable(group_id) if group_id and not self._layout.group_by else None
        texts = [
            self._first(values, columns, name, number) for name, columns in zip(CATALOG_TEXTS, self._texts, strict=True)
        ]
        links = self._links(values, number)
        image_no = self._image_no(values, number)
        if not (product_id or group or links or any(texts)):
            return
        if self._layout.passed_over and not any(links):
            kind = self._first(values, self._passed_over, "product_id", number)
            if kind and self._layout.passed_over[1] in {each.strip().lower() for each in kind.split(",")}:
                return
        numbered = not self._layout.group_by and (self._several or len(links) > 1)
        for index, text in enumerate(links or [""]):
            link = link_of(text, self._layout.base_url)
            own_no = str(index) if numbered else image_no or (None if self._layout.group_by else "0")
            row_position = position * IMAGES_A_RECORD + min(index, IMAGES_A_RECORD - 1)
            yield (
                *(group or product_id, own_no, link.image_uri, *texts, group_id),
                *(link.fetch_uri, row_position),
            )

    def _image_no(self, values: Sequence[Any], number: int) -> str | None:
        """Return the number that a record gives its image; a text that is no such number stays as it is."""
        text = self._first(values, self._number, "image_no", number)
        if text is None or _IMAGE_NO.fullmatch(text):
            return text
        found = image_number(text)
        return text if found is None else str(found)

    def _links(self, values: Sequence[Any], number: int) -> list[str]:
        """Return the record's links, in their order and each once."""
        texts = []
        for index in self._images:
            value = values[index]
            texts += [value] if type(value) is str else texts_of(value, "image_uri", self._where, self._at(number))
        if self._layout.image_separator:
            texts = [part for text in texts for part in split_links(text, self._layout.image_separator)]
        texts = [link for text in texts if (link := text.strip())]
        return list(dict.fromkeys(texts)) if len(texts) > 1 else texts

    def _first(self, values: Sequence[Any], columns: Sequence[int], column: str, number: int) -> str | None:
        """Return the first value that is not empty, as text; None if all are empty."""
        for index in columns:
            text = values[index]
            if type(text) is not str:  # most values are plain texts, and catalogs have millions of rows
                text = ", ".join(texts_of(text, column, self._where, self._at(number)))
            if column not in CATALOG_TEXTS:
                text = text.strip()
            if text:
                if len(text) > MAX_CHARS[column]:
                    limited(text, column, self._where, self._at(number))
                if column in CATALOG_TEXTS:
                    return printable(text)
                return whole_characters(text, column, self._where, self._at(number))
        return None

    def _reference(self, product_id: str | None) -> str | None:
        """Return the id of another product without the text that marks it as one."""
        return product_id.removeprefix(self._layout.id_prefix) if product_id else None

    def _at(self, number: int) -> str:
        return f"in {self._unit} {number}"


def _is_name(value: Any, name: str) -> bool:
    return isinstance(value, str) and value.strip() == name


def split_links(text: str, separator: str) -> list[str]:
    """Split a value into its links. Where they are web links, a separator inside of one does not split it."""
    if _WEB_LINK.match(text):
        return re.split(rf"{re.escape(separator)}\s*(?={_LINK_START})", text)
    return text.split(separator)


def column_places(
    names: Sequence[str], layout: Layout, where: str | Place, *, partial: int | None = None
) -> dict[str, list[int]]:
    """Find the columns that count among the columns of a file of any form.

    Args:
        names: Column names of the file.
        layout: How the catalog is read.
        where: Name of the file for error messages.
        partial: As in `RowMaker`.

    Returns:
        Maps each column of the catalog that the file has, `group_by` and `passed_over`, to its indices in `names`.

    Raises:
        UsageError: If a column is missing, or one that counts appears twice.
    """
    wanted = {**{name: (name,) for name in CATALOG_COLUMNS}, **layout.columns}
    if layout.group_by:
        wanted["group_by"] = (layout.group_by,)
    if layout.passed_over:
        wanted["passed_over"] = layout.passed_over[:1]
    by_name: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        by_name.setdefault(name.strip().lower(), []).append(index)
    places: dict[str, list[int]] = {}
    for ours, theirs in wanted.items():
        indices = [index for name in theirs for index in _indices(name, by_name, where, partial)]
        if indices:
            places[ours] = list(dict.fromkeys(indices))
    if partial is not None:
        return places
    needed = [*layout.needed, *([layout.group_by] if layout.group_by and not layout.kind else [])]
    missing = [name for name in dict.fromkeys(needed) if not _indices(name, by_name, where, None)]
    missing += [name for name in CATALOG_REQUIRED if name not in places and not missing]
    if missing:
        raise catalog_error(
            where,
            f"has no column {' and no column '.join(missing)}; "
            f"it needs {' and '.join(CATALOG_REQUIRED)} and has {', '.join(names)[:1000] or 'none'}",
        )
    return places


def too_many_columns(count: int, where: str | Place, at: str = "", or_else: str = "") -> UsageError:
    """Return the error for a file of any form, or for a record, with more than `MAX_COLUMNS` columns.

    Args:
        count: How many it has.
        where: Name of the file.
        at: Position in the file, with a blank before it; empty for the whole file.
        or_else: Another remedy, with a comma before it.
    """
    return catalog_error(
        where,
        f"has {count:,} columns{at}, and {MAX_COLUMNS:,} at most are read; leave out what the catalog does not need"
        f"{or_else}",
    )


def has_own_numbers(places: Mapping[str, list[int]], layout: Layout) -> bool:
    """Return whether each row has one image, with the number that the catalog gives it.

    Args:
        places: The columns that count, as `column_places` returns them.
        layout: How the catalog is read.
    """
    several = layout.group_by or layout.image_separator or len(places["image_uri"]) > 1
    return "image_no" in places and not several


def _indices(name: str, by_name: Mapping[str, list[int]], where: str | Place, partial: int | None) -> list[int]:
    """Return the indices of the columns that a name stands for; `*` at its end stands for a number."""
    wanted = name.strip().lower()
    if wanted.endswith("*") and wanted not in by_name:
        pattern = re.compile(re.escape(wanted[:-1]) + r"(\d+)")
        numbered = sorted((int(match[1]), other) for other in by_name if (match := pattern.fullmatch(other)))
        return [index for _, other in numbered for index in _indices(other, by_name, where, partial)]
    indices = by_name.get(wanted, [])
    if len(indices) > 1:
        if partial is not None:
            raise catalog_error(where, f"names {wanted} twice in line {partial}; rename one of them")
        raise catalog_error(where, f"has two columns {wanted}; rename one of them")
    return indices


def in_batches(rows: Iterable[Row]) -> Batches:
    """Gather the rows of a catalog in any form into record batches with the columns of `ROW_SCHEMA`."""
    rows = iter(rows)
    while batch := list(islice(rows, BATCH_ROWS)):
        arrays = [
            pa.array(column, field.type) for column, field in zip(zip(*batch, strict=True), ROW_SCHEMA, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=ROW_SCHEMA)


@dataclass(frozen=True)
class Part:
    """What one task reads of a catalog: a file, or some bytes of one.

    Attributes:
        file: URI of the file or directory; see `jobs.storage.stores.uri`.
        number: Number of the file among those of the catalog, from 0.
        start: First byte to read; 0 for a whole file.
        end: First byte that is not read; None for a whole file.
        columns: Names and values of the columns that the folders above the file stand for, as in `date=2026-11-01/`.
    """

    file: str
    number: int = 0
    start: int = 0
    end: int | None = None
    columns: tuple[tuple[str, str | None], ...] = ()

    @property
    def first_position(self) -> int:
        """Position of the part's first record. A record has at least one byte, so the parts' positions never meet."""
        return self.number * 2**38 + self.start

"""Which images products have now: whether a catalog still names each position, and which picture is there.

A position is (product_id, image_no). Each catalog that ever named it names it now or does not: the latest event of this
catalog counts, by night and ingest_no, whatever the order in which files are read. The position is present while any
catalog names it. Its picture is that of the newest row that read usable bytes there: a row of images/, or a row
`unchanged` of seen/ for bytes that the product had before. `jobs.dataset.schema` describes the rows.

Catalogs name nearly all positions without interruption. So only positions with a row `left` have a record of their
events, and the rows of seen/ are read once more only if there are any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from jobs.dataset.parts import Ingest
from jobs.dataset.schema import CATALOG_KEY
from jobs.dataset.shards import columns_of, ingest_date_of
from jobs.storage.places import Place

SEEN_COLUMNS = (*CATALOG_KEY, "ingest_no", "image_sha256", "outcome", "catalog_name", "counts_from")
"""Columns of seen/ that `CurrentImages` takes."""

IMAGE_COLUMNS = (*CATALOG_KEY, "ingest_no", "image_sha256", "catalog_name")
"""Columns of images/ that `CurrentImages` takes."""

_EVENT_COLUMNS = (*CATALOG_KEY, "ingest_no", "catalog_name", "counts_from")

Position = tuple[str, int]
"""(product_id, image_no)."""

_Event = tuple[str, Ingest, bool]
"""(catalog_name, (night, ingest_no), whether the catalog names the position since then)."""


class Stored(NamedTuple):
    """Where the bytes of a picture are: the row of images/ that has them.

    Attributes:
        ingest: Date and number of the ingest that stored the row.
        image_sha256: SHA-256 of the picture's content.
        image_no: Position of the row.
        shard: File with the row.
    """

    ingest: Ingest
    image_sha256: str
    image_no: int
    shard: Place


class CurrentImage(NamedTuple):
    """The picture of a product at a position.

    Attributes:
        product_id: The product.
        image_no: The position.
        stored: Row with its bytes, which may be of another position.
    """

    product_id: str
    image_no: int
    stored: Stored


class CurrentImages:
    """The picture at each position and whether the position is present, from rows of images/ and seen/ in any order.

    All rows of seen/ are given before those of images/: first to `note_seen`, and if `some_left`, again to
    `note_names`.
    """

    def __init__(self, last: date = date.max) -> None:
        """Start without a row.

        Args:
            last: Last night; events that count from a later one are ignored.
        """
        self._last = last
        self._events: dict[Position, tuple[_Event, ...]] = {}
        self._unchanged: dict[Position, tuple[Ingest, str]] = {}
        self._wanted: dict[tuple[str, str], Stored | None] = {}
        self._stored: dict[Position, Stored] = {}

    @property
    def some_left(self) -> bool:
        """Whether a catalog ceased to name any position."""
        return bool(self._events)

    @property
    def count(self) -> int:
        """Number of positions with a row of images/."""
        return len(self._stored)

    def note_seen(self, day: date, columns: Mapping[str, Sequence[Any]]) -> None:
        """Take the rows `left` and `unchanged` of a file of seen/.

        Args:
            day: The file's ingest date.
            columns: `SEEN_COLUMNS` of the file.
        """
        if day > self._last:
            return
        for product_id, image_no, number, content, outcome, catalog, since in _rows(columns, SEEN_COLUMNS):
            if outcome == "left":
                self._add((product_id, image_no), catalog or "", _ingest_of(since, day, number), names_it=False)
            elif outcome == "unchanged":
                position, newest = (product_id, image_no), ((day, number), content)
                self._wanted[product_id, content] = None
                if position not in self._unchanged or newest > self._unchanged[position]:
                    self._unchanged[position] = newest

    def note_names(self, day: date, columns: Mapping[str, Sequence[Any]]) -> None:
        """Take from a file which positions its catalog names.

        Args:
            day: The file's ingest date.
            columns: `SEEN_COLUMNS` or `IMAGE_COLUMNS` of the file; those of images/ lack `outcome` and `counts_from`.
        """
        if not self._events or day > self._last:
            return
        outcomes = columns.get("outcome") or ["stored"] * len(columns["product_id"])
        rows = _rows({"counts_from": [None] * len(outcomes), **columns}, _EVENT_COLUMNS)
        for outcome, (product_id, image_no, number, catalog, since) in zip(outcomes, rows, strict=True):
            if outcome != "left" and (product_id, image_no) in self._events:
                self._add((product_id, image_no), catalog or "", _ingest_of(since, day, number), names_it=True)

    def note_images(self, day: date, columns: Mapping[str, Sequence[Any]], shard: Place) -> None:
        """Take the pictures of a file of images/, and which positions its catalog names.

        Args:
            day: The file's ingest date.
            columns: `IMAGE_COLUMNS` of the file.
            shard: The file.
        """
        if day > self._last:
            return
        ingests: dict[int, Ingest] = {}  # one tuple for all rows of an ingest, as there are millions of rows
        for product_id, image_no, number, content in _rows(columns, IMAGE_COLUMNS[:-1]):
            row = Stored(ingests.setdefault(number, (day, number)), content, image_no, shard)
            position = (product_id, image_no)
            if position not in self._stored or row[:2] > self._stored[position][:2]:
                self._stored[position] = row
            if (product_id, content) in self._wanted:
                known = self._wanted[product_id, content]
                if known is None or (row.ingest, -image_no) > (known.ingest, -known.image_no):
                    self._wanted[product_id, content] = row
        self.note_names(day, columns)

    def is_present(self, product_id: str, image_no: int) -> bool:
        """Return whether a catalog names a position that was named once."""
        events = self._events.get((product_id, image_no))
        return events is None or any(names_it for _, _, names_it in events)

    def left_at(self, product_id: str, image_no: int) -> date | None:
        """Return the night from which no catalog names a position; None if one does."""
        if self.is_present(product_id, image_no):
            return None
        return max(night for _, (night, _), _ in self._events[product_id, image_no])

    def all(self) -> Iterator[CurrentImage]:
        """Yield the picture of each position, present or not, whose bytes are in a file that was given."""
        for position, row in self._stored.items():
            ingest, content = self._unchanged.get(position, (row.ingest, row.image_sha256))
            newest: Stored | None = row
            if (ingest, content) > row[:2] and content != row.image_sha256:
                newest = self._wanted[position[0], content]
            if newest is not None:
                yield CurrentImage(*position, newest)
        for position, (_, content) in self._unchanged.items():
            moved = self._wanted[position[0], content]
            if position not in self._stored and moved is not None:
                yield CurrentImage(*position, moved)

    def present(self) -> Iterator[CurrentImage]:
        """Yield the pictures at present positions in order of product_id and image_no.

        A picture that a product has at several present positions is there once, at the first of them.
        """
        contents, product = set[str](), None
        for image in sorted(self.all(), key=lambda image: image[:2]):
            if image.product_id != product:
                product, contents = image.product_id, set()
            content = image.stored.image_sha256
            if self.is_present(image.product_id, image.image_no) and content not in contents:
                contents.add(content)
                yield image

    def read_again(self) -> Iterator[Stored]:
        """Yield the newest row of each picture that a row `unchanged` refers to."""
        return (row for row in self._wanted.values() if row is not None)

    def _add(self, position: Position, catalog: str, ingest: Ingest, *, names_it: bool) -> None:
        """Keep an event if it is the latest of its catalog; of two by one ingest, the one that names the position."""
        if ingest[0] > self._last:
            return
        events = self._events.get(position, ())
        earlier = [event for event in events if event[0] == catalog]
        if not earlier or (ingest, names_it) > earlier[0][1:]:
            self._events[position] = (*(event for event in events if event[0] != catalog), (catalog, ingest, names_it))


def read_seen(files: Sequence[Place], current: CurrentImages) -> Iterator[tuple[date, Mapping[str, Sequence[Any]]]]:
    """Give the rows of seen/ to `CurrentImages`, and yield those of each file once.

    Args:
        files: Files of seen/.
        current: Receives the rows.

    Yields:
        The ingest date of each file and its `SEEN_COLUMNS`.

    Raises:
        RunFailed: If a file is damaged, or was written by another version; the message names the remedy.
    """
    for file, columns in columns_of(files, SEEN_COLUMNS):
        current.note_seen(ingest_date_of(file), columns)
        yield ingest_date_of(file), columns
    if current.some_left:
        for file, columns in columns_of(files, SEEN_COLUMNS):
            current.note_names(ingest_date_of(file), columns)


def pictures_of(columns: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
    """Return product_id and image_sha256 of the rows of a file of seen/ that stand for deleted rows of images/.

    Such a row has the outcome `named` and an image_sha256, see `jobs.housekeeping.partitions`.

    Args:
        columns: `SEEN_COLUMNS` of the file.
    """
    wanted = ("product_id", "image_sha256", "outcome")
    kept = [row for row in _rows(columns, wanted) if row[2] == "named" and row[1]]
    return {"product_id": [row[0] for row in kept], "image_sha256": [row[1] for row in kept]}


def _rows(columns: Mapping[str, Sequence[Any]], names: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*(columns[name] for name in names), strict=True)


def _ingest_of(counts_from: str | None, day: date, number: int) -> Ingest:
    """Return when an event counts; one from a later night is older than all that this night's own ingests record."""
    return (date.fromisoformat(counts_from), 0) if counts_from else (day, number)

"""Plays ingest for tests of the database: what it writes for each catalog that it reads, in plain Python.

A catalog is a mapping from positions to pictures: `{("p", 0): "A", ("p", 1): "broken"}`. A picture is a letter, which
stands for its bytes. The picture `broken` cannot be used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

Position = tuple[str, int]
"""(product_id, image_no)."""

Moment = tuple[int, int]
"""(night, ingest_no): when something was read; nights are counted from 0."""

BROKEN = "broken"

Catalog = Mapping[Position, str]


@dataclass(frozen=True)
class Row:
    """One row of `images/` (outcome `stored`) or of `seen/`.

    Attributes:
        night: Night of the partition.
        ingest_no: Number of the ingest among those of this night.
        position: Where the picture is.
        catalog: The catalog that was read; '' for files from before catalogs had names.
        outcome: `stored`, `rejected`, `unchanged`, `named` or `left`.
        picture: The usable picture of `stored` and `unchanged`.
        counts_from: Night from which a row `left` counts, if it is not that of the partition.
    """

    night: int
    ingest_no: int
    position: Position
    catalog: str
    outcome: str
    picture: str | None = None
    counts_from: int | None = None

    @property
    def read_at(self) -> Moment:
        """When the row was written."""
        return self.night, self.ingest_no

    @property
    def counts_at(self) -> Moment:
        """From when on the row says whether its catalog names the position.

        A row that counts from a later night is older than each ingest of that night.
        """
        return self.read_at if self.counts_from is None else (self.counts_from, 0)


@dataclass(frozen=True)
class CatalogRow:
    """One row of `catalog_rows/`, or the catalog's columns of a row of `images/`, which is `stored`."""

    night: int
    ingest_no: int
    position: Position
    title: str
    stored: bool = False

    @property
    def read_at(self) -> Moment:
        """When the row was written."""
        return self.night, self.ingest_no


def latest_by_catalog(rows: Iterable[Row]) -> dict[str, Row]:
    """Return, of the rows of one position, the one of each catalog that says whether the catalog names it."""
    latest: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: (row.counts_at, row.outcome != "left")):
        latest[row.catalog] = row
    return latest


@dataclass
class Dataset:
    """All rows that were ever ingested.

    Attributes:
        rows: Rows of `images/` and `seen/`.
        catalog_rows: Rows of the catalogs, by night and position.
        full: The nights for which each catalog was read in full.
    """

    rows: list[Row] = field(default_factory=list)
    catalog_rows: list[CatalogRow] = field(default_factory=list)
    full: set[tuple[str, int]] = field(default_factory=set)

    def nights(self) -> list[int]:
        """Return the nights that have rows."""
        return sorted({night for night, _ in self._moments()})

    def read(self, name: str, night: int, catalog: Catalog, *, partial: bool = False, title: str = "a title") -> int:
        """Ingest a catalog, and return the number of rows that it added.

        Args:
            name: Name of the catalog; '' is read as a version did that knew no names, and removed nothing.
            night: Night that it is read for; earlier ones may come later.
            catalog: Picture of each position that the catalog names.
            partial: Whether it names changes only.
            title: Title of all products in it.
        """
        before = len(self.rows) + len(self.catalog_rows)
        number = 1 + max((number for other, number in self._moments() if other == night), default=0)
        decided = min((other for full, other in self.full if full == name and other > night), default=None)
        for position, picture in sorted(catalog.items()):
            known = self._of(position)
            content = self._content(position, picture, night, number, name)
            naming = self._naming(known, position, night, number, name, decided, partial)
            self.rows += [*content, *naming]
            stored = any(row.outcome == "stored" for row in content)
            returned = bool(naming) and naming[0].outcome == "named" and not self._named(known, name)
            self._add_catalog_rows(
                CatalogRow(night, number, position, title), stored=stored, known=bool(known), returned=returned
            )
        if name and not partial:
            if decided is None:
                self._remove(name, (night, number), catalog)
            self.full.add((name, night))
        return len(self.rows) + len(self.catalog_rows) - before

    def _moments(self) -> set[Moment]:
        return {row.read_at for row in self.rows} | {row.read_at for row in self.catalog_rows}

    def _of(self, position: Position) -> list[Row]:
        return [row for row in self.rows if row.position == position]

    def _content(self, position: Position, picture: str, night: int, number: int, name: str) -> list[Row]:
        """Read the picture, unless the newest row of its position has it; return what is stored or seen."""
        read = [row for row in self._of(position) if row.outcome in ("stored", "unchanged", "rejected")]
        read.sort(key=lambda row: row.read_at)
        until = [row for row in read if row.night <= night]
        if any(rows and (rows[-1].picture or BROKEN) == picture for rows in (read, until)):
            return []
        if picture == BROKEN:
            return [Row(night, number, position, name, "rejected")]
        had = {row.picture for row in self.rows if row.position[0] == position[0]}
        # Versions without names stored a picture again that the product had at another position.
        outcome = "unchanged" if picture in had and name else "stored"
        return [Row(night, number, position, name, outcome, picture)]

    @staticmethod
    def _naming(
        known: list[Row], position: Position, night: int, number: int, name: str, decided: int | None, partial: bool
    ) -> list[Row]:
        latest = latest_by_catalog(known).get(name)
        names_it = latest is not None and latest.outcome != "left"
        if not name:
            return []
        if decided is not None:
            before = latest is None or latest.counts_at[0] < decided
            return [] if names_it or not before else [Row(night, number, position, name, "left", None, decided)]
        if not known:
            return []
        if names_it and not (partial and latest is not None and latest.counts_at[0] < night):
            return []
        return [Row(night, number, position, name, "named")]

    @staticmethod
    def _named(known: list[Row], name: str) -> bool:
        """Return whether the catalog, or one from before catalogs had names, names a position so far."""
        latest = latest_by_catalog(known)
        return any(latest[other].outcome != "left" for other in (name, "") if other in latest)

    def _add_catalog_rows(self, row: CatalogRow, *, stored: bool, known: bool, returned: bool) -> None:
        """Write the row with the picture that is stored, or alone if it is new, differs, or its position returns."""
        of_position = [other for other in self.catalog_rows if other.position == row.position]
        newest = max(of_position, key=lambda other: (other.night <= row.night, other.read_at), default=None)
        changed = known and (newest is None or newest.title != row.title)
        if stored:
            self.catalog_rows.append(replace(row, stored=True))
        if changed or returned or not (known or stored):
            self.catalog_rows.append(row)

    def _remove(self, name: str, moment: Moment, catalog: Catalog) -> None:
        for position in sorted({row.position for row in self.rows} - set(catalog)):
            latest = latest_by_catalog(self._of(position))
            for other in (name, ""):
                row = latest.get(other)
                if row is not None and row.outcome != "left" and row.counts_at < moment:
                    self.rows.append(Row(*moment, position, other, "left"))

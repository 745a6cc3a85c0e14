"""What a night's catalog changes in which images are named: rules on one row, without Spark.

Each position (product_id, image_no) remembers for each catalog whether the catalog names it. Files from before catalogs
had names are of the catalog '', for which every full catalog speaks too.

The events of ten million positions are compared, so an event is one integer, and the greatest one counts: the night in
days since 1970 in the upper 32 bits, below it the number of the ingest, and in the lowest bit whether the catalog names
the position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

UNNAMED = ""
"""Name of the catalog of files from before catalogs had names."""

NIGHT_SHIFT = 32
_EPOCH = date(1970, 1, 1)
_NAMES_IT = ("rejected", "unchanged", "named")

Row = Mapping[str, Any]


def night_number(day: date) -> int:
    """Return a night as days since 1970."""
    return (day - _EPOCH).days


def event_of(night: date, ingest_no: int, *, names_it: bool) -> int:
    """Return an event as one integer, of which the greatest counts."""
    return night_number(night) << NIGHT_SHIFT | ingest_no << 1 | names_it


def names_it(event: int | None) -> bool:
    """Return whether a catalog names a position since its latest event; None is no event."""
    return event is not None and bool(event & 1)


def event_columns(table: pa.Table, ingest_date: date, catalog_name: str) -> dict[str, pa.Array]:
    """Compute the events of the rows of one file under images/ or seen/.

    Args:
        table: Rows with `ingest_no` and `catalog_name`; those of seen/ with `outcome` and `counts_from` too.
        ingest_date: Date of the file's partition.
        catalog_name: The catalog.

    Returns:
        int64 columns: `mine`, the events of the catalog, and `unnamed`, those of ''; null for rows of other catalogs.
    """
    number = pc.cast(table["ingest_no"], pa.int64())
    night = pa.scalar(night_number(ingest_date), pa.int64())
    named: Any = pa.scalar(1, pa.int64())
    if "outcome" in table.column_names:
        # What counts from a later night is older than all that this night's own ingests say.
        late = pc.is_valid(table["counts_from"])
        nights = pc.cast(pc.cast(table["counts_from"], pa.date32()), pa.int32())
        night = pc.coalesce(pc.cast(nights, pa.int64()), night)
        number = pc.if_else(late, 0, number)
        named = pc.cast(pc.is_in(table["outcome"], pa.array(_NAMES_IT)), pa.int64())
    events = pc.add(pc.add(pc.multiply(night, 1 << NIGHT_SHIFT), pc.multiply(number, 2)), named)
    name, none = pc.fill_null(table["catalog_name"], UNNAMED), pa.scalar(None, pa.int64())
    return {
        "mine": pc.if_else(pc.equal(name, catalog_name), events, none),
        "unnamed": pc.if_else(pc.equal(name, UNNAMED), events, none),
    }


@dataclass(frozen=True)
class CatalogNight:
    """The night for which a catalog is read.

    Attributes:
        catalog_name: Name of the catalog.
        day: Ingest date.
        partial: Whether the catalog names changes only.
        full_later: The earliest later night for which the catalog was read in full; None if there is none.
    """

    catalog_name: str
    day: date
    partial: bool = False
    full_later: date | None = None

    @property
    def removes(self) -> bool:
        """Whether what the catalog does not name leaves: a later full night has decided that already."""
        return not self.partial and self.full_later is None

    @property
    def end(self) -> int:
        """The lowest event of the next night."""
        return night_number(self.day) + 1 << NIGHT_SHIFT

    def events(self, row: Row) -> list[dict[str, str | None]]:
        """Return what is recorded of a position beside its content: events, with the columns of `SEEN` that they set.

        Args:
            row: A row of the catalog joined with what is stored: `in_catalog`; `is_known`, whether the position is
                stored; `mine` and `unnamed`, its latest event for this catalog and for '', None if there is none.

        Returns:
            At most one event of each catalog, with `outcome`, `catalog_name` and `counts_from`.
        """
        mine = row["mine"]
        if not row["in_catalog"]:
            named_by = {self.catalog_name: mine, UNNAMED: row["unnamed"]}
            return [_event("left", name) for name, event in named_by.items() if self._leaves(event)]
        if self.full_later is not None:
            # That night did not name it: it would have left an event, or would have kept a position that was named.
            missed = mine is None or (not names_it(mine) and mine < night_number(self.full_later) << NIGHT_SHIFT)
            return [_event("left", self.catalog_name, self.full_later.isoformat())] if missed else []
        if not row["is_known"]:
            return []
        returned = mine is None or (not names_it(mine) and mine < self.end)
        confirmed = self.partial and mine is not None and mine < night_number(self.day) << NIGHT_SHIFT
        return [_event("named", self.catalog_name)] if returned or confirmed else []

    def named_before(self, row: Row) -> bool:
        """Return whether a position was named before, by the catalog or by files without a name."""
        return self._leaves(row["mine"]) or self._leaves(row["unnamed"])

    @property
    def named_before_sql(self) -> str:
        """`named_before` as a condition of Spark SQL."""
        return " OR ".join(f"({name} & 1 = 1 AND {name} < {self.end})" for name in ("mine", "unnamed"))

    def _leaves(self, event: int | None) -> bool:
        """Return whether a position with this latest event leaves if it is not named; a later event stays."""
        return event is not None and names_it(event) and event < self.end


def _event(outcome: str, catalog_name: str, counts_from: str | None = None) -> dict[str, str | None]:
    return {"outcome": outcome, "catalog_name": catalog_name, "counts_from": counts_from}

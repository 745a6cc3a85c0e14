"""What housekeeping asks the product database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sql.store import ProductDatabase


class Records(Protocol):
    """Interface of the product database to housekeeping."""

    def at_work(self) -> list[tuple[str, str]]:
        """Return run_id and driver of each run on which a driver works, or died."""

    def published_before(self, moment: datetime) -> set[str]:
        """Return the run_id of all runs that were published before a moment, those taken back since included."""

    def with_answer(self, product_ids: Iterable[str]) -> set[str]:
        """Return which of some thousand products have an answer, of a run or a person."""

    def waiting_pictures(self, run_ids: Iterable[str]) -> Iterator[tuple[str, date, str]]:
        """Yield run, ingest date and `picture_at` of pictures of runs at which a person may have to look."""


class DatabaseRecords:
    """The records of a product database."""

    def __init__(self, database: ProductDatabase) -> None:
        """Take a migrated database."""
        self._database = database

    def at_work(self) -> list[tuple[str, str]]:
        """Return run_id and driver of each run on which a driver works, or died."""
        from sql.run_history import runs_at_work

        return runs_at_work(self._database)

    def published_before(self, moment: datetime) -> set[str]:
        """Return the run_id of all runs that were published before a moment, those taken back since included."""
        from sql.run_history import runs_published_before

        return runs_published_before(self._database, moment)

    def with_answer(self, product_ids: Iterable[str]) -> set[str]:
        """Return which of some thousand products have an answer, of a run or a person."""
        from sql.selection import products_with_answer

        return products_with_answer(self._database, product_ids)

    def waiting_pictures(self, run_ids: Iterable[str]) -> Iterator[tuple[str, date, str]]:
        """Yield run, ingest date and `picture_at` of pictures of runs at which a person may have to look."""
        from sql.selection import waiting_pictures

        return waiting_pictures(self._database, run_ids)

"""What the routes of the review pages work with, and the refusal of a request in one sentence."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from fastapi import Request

from jobs.review.access import Access, Guards
from jobs.review.gallery import Gallery
from jobs.review.leases import Leases
from jobs.review.open_pages import Desk, Desks
from sql.errors import DatabaseError
from sql.publishing.settling import CombineBy
from sql.review.categories import Categories, load_categories
from sql.store import ProductDatabase

_TAXONOMY_AGE = timedelta(minutes=1)


class Refused(Exception):
    """Raised when a request cannot be done; the sentence is for the person, and nothing was written.

    Attributes:
        status: HTTP status of the response.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Taxonomy:
    """The taxonomy of the database in memory, read again once a minute."""

    def __init__(self, database: ProductDatabase, clock: Callable[[], datetime]) -> None:
        """Start without it; it is read at the first use.

        Args:
            database: Migrated.
            clock: Returns the time now, with a time zone.
        """
        self._database, self._clock = database, clock
        self._lock = threading.Lock()
        self._read: tuple[datetime, Categories] | None = None

    def now(self) -> Categories:
        """Return the taxonomy, at most a minute old; older where the database cannot be reached."""
        with self._lock:
            now = self._clock()
            if self._read is None or now - self._read[0] > _TAXONOMY_AGE:
                try:
                    self._read = (now, load_categories(self._database))
                except DatabaseError:
                    if self._read is None:
                        raise
            return self._read[1]

    def forget(self) -> None:
        """Read the taxonomy again at the next use."""
        with self._lock:
            self._read = None


@dataclass(frozen=True)
class Services:
    """What the routes work with.

    Attributes:
        database: Migrated product database.
        taxonomy: Its taxonomy in memory.
        combine_by: Returns, for a release's manifest, the function that computes one answer from several images.
        gallery: Pictures.
        leases: Which person looks at which product.
        desks: What is remembered of each person.
        access: Who may reach the pages.
        guards: Sessions and limits.
        clock: Returns the time now, with a time zone.
        chance: Chooses the planted products.
        reports: Directory of the runs' reports, each RUN_ID.html.
        announce: Shows a new address that works once, where one person reviews and the last one was used.
    """

    database: ProductDatabase
    taxonomy: Taxonomy
    combine_by: CombineBy
    gallery: Gallery
    leases: Leases
    desks: Desks
    access: Access
    guards: Guards
    clock: Callable[[], datetime]
    chance: random.Random
    reports: Path
    announce: Callable[[], None]

    def desk(self, person: str) -> Desk:
        """Return what is remembered of a person."""
        return self.desks.of(person)


def checked_text(text: str, *, what: str) -> str:
    """Return a text of a request.

    Raises:
        Refused: If it has a character that no database stores: NUL, or half of a surrogate pair.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        text = "\0"
    if "\0" in text:
        raise Refused(422, f"The {what} has a character that cannot be stored; remove it, then try again.")
    return text


def services_of(request: Request) -> Services:
    """Return what the routes work with, as a dependency of a route."""
    services: Services = request.app.state.services
    return services


def person_of(request: Request) -> str:
    """Return who sends a request, as a dependency of a route; `jobs.review.access` has found it."""
    person: str = request.state.person
    if not person:
        raise Refused(401, "Log in first.")
    return person

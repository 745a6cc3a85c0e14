"""Leases of products to people: a product that one person looks at is on nobody else's page for ten minutes.

They are kept in the memory of the serving process. A lease only spares work: what protects an answer is the version
that each decision names, which the database compares.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

LEASE = timedelta(minutes=10)
"""Time for which a product is on one person's page."""


class Leases:
    """Which person looks at which product, and until when."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """Start without a lease.

        Args:
            clock: Returns the time now, with a time zone.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, tuple[str, datetime]] = {}

    def take(self, person: str, product_ids: Iterable[str]) -> set[str]:
        """Lease products to a person, and return those that nobody else has.

        Args:
            person: Who looks at them; what the person has already is leased anew.
            product_ids: The products.
        """
        now = self._clock()
        with self._lock:
            free = {name for name in product_ids if self._holder(name, now) in (None, person)}
            self._held |= dict.fromkeys(free, (person, now + LEASE))
            return free

    def of_others(self, person: str) -> set[str]:
        """Return the products that other people look at."""
        now = self._clock()
        with self._lock:
            self._held = {name: held for name, held in self._held.items() if held[1] > now}
            return {name for name, (holder, _) in self._held.items() if holder != person}

    def release(self, person: str, product_ids: Iterable[str]) -> None:
        """End a person's leases of some products."""
        with self._lock:
            for name in product_ids:
                if self._held.get(name, ("",))[0] == person:
                    del self._held[name]

    def _holder(self, product_id: str, now: datetime) -> str | None:
        holder, until = self._held.get(product_id, ("", now))
        return holder if until > now else None

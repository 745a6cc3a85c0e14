"""The connections of the web server: none is kept for long without a whole request, and a new one always finds a place.

Else a client that opens hundreds of connections, with half a request on each, would hold all of them. They are not
simply limited by address, because behind a proxy, and on loopback, all clients have the same one.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 150
"""Connections that are kept; a further one takes the place of one without a whole request. A browser opens six."""

HEAD_SECONDS = 10.0
"""Time in which the head of a request has to arrive."""


class Connection(H11Protocol):
    """A connection with a deadline for the head of each request, which gives its place to others until one is there."""

    _deadline: asyncio.TimerHandle | None = None
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Take the place of another connection if there are too many."""
        super().connection_made(transport)
        self._since = self.loop.time()
        if len(self.connections) > MOST_CONNECTIONS:
            self._make_room()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._unwatch()
        super().connection_lost(exc)

    @property
    def _needs_head(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def _make_room(self) -> None:
        """Close the connection that has waited longest for a whole request, of the address that has most of these."""
        waiting = [
            each
            for each in self.connections
            if isinstance(each, Connection) and each is not self and (each._needs_head or each.cycle.more_body)
        ]
        if not waiting:
            return  # all are answered at this moment; uvicorn refuses what is too much
        counts = Counter(each._address for each in waiting)
        oldest = min(waiting, key=lambda each: (-counts[each._address], each._since))
        self.connections.discard(oldest)  # at once: uvicorn counts them before the transport is closed
        oldest.transport.abort()

    def _watch(self) -> None:
        """Start the deadline where a head is due, and end it where one has arrived."""
        if not self._needs_head:
            self._unwatch()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

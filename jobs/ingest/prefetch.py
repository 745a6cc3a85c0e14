"""The bytes of images that come over a network: how many, of one image and of those that wait for their turn.

Several images are fetched ahead of their turn. Small ones are simply kept. Of large ones there is room for a few: one
that finds none is put off, and fetched when its turn comes and nothing is kept beside it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import urllib3

from jobs.images.normalise import Rejected

LARGE_BYTES = 8 * 2**20
LARGE_AT_ONCE = 3
PIECE_BYTES = 2**16


class PutOff(Exception):
    """There is no room for a large image before its turn."""


class Ticket:
    """The room that one image may take before its turn."""

    def __init__(self, room: threading.Semaphore) -> None:
        self._room = room
        self._large = False

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Let what is read in this block take room."""
        token = _TICKET.set(self)
        try:
            yield
        except BaseException:
            self.give_back()
            raise
        finally:
            _TICKET.reset(token)

    def take(self) -> None:
        """Take the room of a large image, once.

        Raises:
            PutOff: If there is none.
        """
        if not self._large:
            if not self._room.acquire(blocking=False):
                raise PutOff
            self._large = True

    def give_back(self) -> None:
        """Give the room back that was taken, if any."""
        if self._large:
            self._room.release()
            self._large = False


_TICKET: ContextVar[Ticket | None] = ContextVar("ticket", default=None)


def check_room(size: int) -> None:
    """See that there is room for an image of so many bytes, as far as is known by now.

    Raises:
        PutOff: If it is large, its turn has not come, and too many large ones wait already.
    """
    ticket = _TICKET.get()
    if ticket is not None and size > LARGE_BYTES:
        ticket.take()


def read_body(response: urllib3.BaseHTTPResponse, *, max_bytes: int) -> bytes:
    """Read what a web server sends of an image.

    Raises:
        Rejected: `too_large` as soon as it is known to be, or `empty`.
        PutOff: If there is no room for it yet.
    """
    promised = promised_bytes(response.headers) or 0
    if promised > max_bytes:
        raise Rejected("too_large", f"the file has {promised:,} bytes, over the limit of {max_bytes:,}")
    check_room(promised)
    pieces, size = [], 0
    while piece := response.read1(PIECE_BYTES, decode_content=False):
        pieces.append(piece)
        size += len(piece)
        if size > max_bytes:
            raise Rejected("too_large", f"the body went on after the limit of {max_bytes:,} bytes")
        check_room(size)
    if not size:
        raise Rejected("empty", "the file has no bytes")
    return b"".join(pieces)


def promised_bytes(headers: Mapping[str, str]) -> int | None:
    """Return the length that a web server announces; None if it does not."""
    value = headers.get("Content-Length", "")
    return int(value) if value.isdecimal() and len(value) < 20 else None

"""Limit the memory of images that are fetched over a network: of one image, and of all that wait for their turn.

Several images are fetched ahead of their turn. Small ones are kept in memory. Only a few large ones may be kept: when
that limit is reached, a further large image is deferred and fetched when its turn comes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import urllib3

from jobs.images.normalise import Rejected
from jobs.ingest.unpacking import MOST_CHAINED, compressions_of, unpacked

LARGE_BYTES = 8 * 2**20
LARGE_AT_ONCE = 3
PIECE_BYTES = 2**16


class Deferred(Exception):
    """Raised when a large image must not be fetched ahead of its turn, because enough large ones are in memory."""


class Ticket:
    """Permission to fetch an image ahead of its turn and keep it in memory; a large one takes one of few slots."""

    def __init__(self, room: threading.Semaphore) -> None:
        self._room = room
        self._large = False

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what this thread reads within the block against the limit of large images."""
        token = _TICKET.set(self)
        try:
            yield
        except BaseException:
            self.give_back()
            raise
        finally:
            _TICKET.reset(token)

    def take(self) -> None:
        """Take a slot for a large image, unless this ticket has one already.

        Raises:
            Deferred: If all slots are taken.
        """
        if not self._large:
            if not self._room.acquire(blocking=False):
                raise Deferred
            self._large = True

    def give_back(self) -> None:
        """Release the slot, if one was taken."""
        if self._large:
            self._room.release()
            self._large = False


_TICKET: ContextVar[Ticket | None] = ContextVar("ticket", default=None)


def take_room(size: int) -> None:
    """Take a slot for an image that is being fetched ahead of its turn, if it is large.

    Args:
        size: Size of the image in bytes, as far as it is known by now.

    Raises:
        Deferred: If the image is large, its turn has not come, and all slots for large images are taken.
    """
    ticket = _TICKET.get()
    if ticket is not None and size > LARGE_BYTES:
        ticket.take()


def read_body(response: urllib3.BaseHTTPResponse, *, max_bytes: int) -> bytes:
    """Read the body of an image's response piece by piece, within the memory limits.

    A server may compress the body although it was asked not to. It is unpacked piece by piece too, so that neither a
    small body that unpacks to a huge file nor one that asks for a huge window needs more memory than the limit.

    Args:
        response: Response whose body has not been read.
        max_bytes: Size limit in bytes, also of what is unpacked.

    Raises:
        Rejected: `too_large`, as soon as the announced, received or unpacked size exceeds the limit; `empty`; or
            `unreadable` if the body is not compressed as its header says.
        Deferred: If the image is large and must wait for its turn.
    """
    promised = promised_bytes(response.headers) or 0
    if promised > max_bytes:
        raise Rejected("too_large", f"the file has {promised:,} bytes, over the limit of {max_bytes:,}")
    compressions = compressions_of(response)
    if unknown := [name for name in compressions if name not in response.CONTENT_DECODERS]:
        raise Rejected("unreadable", f"the body is compressed as {unknown[0]}, which cannot be unpacked here")
    if len(compressions) > MOST_CHAINED:
        raise Rejected("unreadable", f"the body is compressed {len(compressions)} times, over {MOST_CHAINED}")
    take_room(promised)
    pieces, size = [], 0
    try:
        for piece in unpacked(_received(response), compressions):
            pieces.append(piece)
            size += len(piece)
            if size > max_bytes:
                raise Rejected("too_large", f"the body went on after the limit of {max_bytes:,} bytes")
            take_room(size)
    except urllib3.exceptions.DecodeError as error:
        named = response.headers.get("Content-Encoding", "")[:40]
        raise Rejected("unreadable", f"the body does not unpack as {named}, which its header names") from error
    if not size:
        raise Rejected("empty", "the file has no bytes")
    return b"".join(pieces)


def _received(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Yield a body as it comes, still compressed."""
    while piece := response.read1(PIECE_BYTES, decode_content=False):
        yield piece


def promised_bytes(headers: Mapping[str, str]) -> int | None:
    """Return the length in bytes that a response announces before its body is read; None if it announces none."""
    value = headers.get("Content-Length", "")
    return int(value) if value.isdecimal() and len(value) < 20 else None

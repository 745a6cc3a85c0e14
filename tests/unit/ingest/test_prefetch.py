"""Images that are fetched before their turn: small ones at will, large ones a few at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.ingest import prefetch
from jobs.ingest.config import HttpLimits
from jobs.ingest.prefetch import LARGE_AT_ONCE, PIECE_BYTES, Deferred, Ticket, take_room
from jobs.ingest.sources import THREADS, SourceReader
from tests.web import Answer, Handler, WebServer, image, status, unannounced, web_server

LIMITS = replace(HttpLimits(), allowed_networks=("127.0.0.0/8",))
LARGE = b"0123456789" * 1000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setattr(prefetch, "LARGE_BYTES", 5000)
    with web_server() as running:
        yield running


def rows(server: WebServer, names: list[str]) -> list[dict[str, str | None]]:
    return [{"image_uri": f"{server.url}/{name}", "known_source_version": None} for name in names]


def sizes(reader: SourceReader, server: WebServer, names: list[str]) -> dict[str, int]:
    """Read images and return their sizes in bytes, in the order in which they arrive."""
    found = {}
    for row, source in reader.read(rows(server, names)):
        assert source.data is not None, source.rejection
        found[str(row["image_uri"]).rpartition("/")[2]] = len(source.data)
    return found


def meeting(count: int) -> Answer:
    """Answer so many requests at once, when all of them have come."""
    all_here = threading.Barrier(count)

    def answer(handler: Handler) -> None:
        all_here.wait(30)
        handler.give(b"met")

    return answer


def is_large(name: str) -> bool:
    return name.startswith("large")


def fetched_once(reader: SourceReader, server: WebServer) -> list[str]:
    """Read five large and three small images after one that is not answered before all eight were tried.

    The last images of the window are answered together with the first one. So every thread has finished with the eight
    between them by then.

    Returns:
        Names of the images that were asked for once; the others were deferred and asked for again in their turn.
    """
    eight = ["large-0", "small-0", "large-1", "small-1", "large-2", "large-3", "small-2", "large-4"]
    last = [f"last-{number}" for number in range(THREADS - 1)]
    server.answers |= {f"/{name}": image(LARGE if is_large(name) else b"small") for name in eight}
    server.answers |= dict.fromkeys((f"/{name}" for name in ("first", *last)), meeting(THREADS))
    server.asked.clear()
    names = ["first", *eight, *last]
    found = sizes(reader, server, names)
    assert list(found) == names
    assert [found[name] for name in eight] == [len(LARGE) if is_large(name) else 5 for name in eight]
    assert set(server.asked.values()) <= {1, 2}
    return [name for name in eight if server.asked[f"/{name}"] == 1]


def test_while_a_slow_image_is_awaited_few_large_ones_are_kept(server: WebServer) -> None:
    """The others are fetched when their turn comes; all of them arrive, in order."""
    ahead = fetched_once(SourceReader(Path("/"), LIMITS), server)
    assert len(list(filter(is_large, ahead))) == LARGE_AT_ONCE
    assert len(ahead) == LARGE_AT_ONCE + 3, "small ones are fetched ahead all the same"


def test_room_comes_back_also_from_what_is_rejected(server: WebServer) -> None:
    """Bodies without an announced length take a place each before they are found to be too large."""
    reader = SourceReader(Path("/"), LIMITS, max_bytes=2 * PIECE_BYTES)
    server.answers |= {f"/{number}": unannounced(bytes(3 * PIECE_BYTES)) for number in range(8)}
    server.answers["/gone"] = status(404)
    names = [*(str(number) for number in range(8)), "gone"] * 2
    reasons = [source.rejection.reason for _, source in reader.read(rows(server, names)) if source.rejection]
    assert reasons == [*["too_large"] * 8, "missing"] * 2
    assert len(list(filter(is_large, fetched_once(reader, server)))) == LARGE_AT_ONCE


def test_room_is_taken_once_and_given_back_once() -> None:
    room = threading.BoundedSemaphore(1)
    one, other = Ticket(room), Ticket(room)
    with one.counted():
        take_room(prefetch.LARGE_BYTES)
        take_room(prefetch.LARGE_BYTES + 1)
        take_room(prefetch.LARGE_BYTES + 2)
    with pytest.raises(Deferred), other.counted():
        take_room(prefetch.LARGE_BYTES + 1)
    one.give_back()
    one.give_back()
    with pytest.raises(ValueError, match="fell over"), other.counted():
        take_room(prefetch.LARGE_BYTES + 1)
        raise ValueError("it fell over")
    assert room.acquire(blocking=False)
    take_room(10**9)  # outside, when it is its turn, nothing is counted

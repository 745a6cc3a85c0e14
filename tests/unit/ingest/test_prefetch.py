"""Images that are fetched before their turn: small ones at will, large ones a few at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.ingest import prefetch as bodies
from jobs.ingest import sources
from jobs.ingest import web as web_images
from jobs.ingest.config import HttpLimits
from jobs.ingest.prefetch import LARGE_AT_ONCE, Deferred, Ticket, take_room
from jobs.ingest.sources import SourceReader
from tests.web import WebServer, image, status, web_server

LIMITS = replace(HttpLimits(), allowed_networks=("127.0.0.0/8",))
LARGE = b"0123456789" * 1000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setattr(bodies, "LARGE_BYTES", 5000)
    with web_server() as running:
        yield running


def test_while_a_slow_image_is_awaited_few_large_ones_are_kept(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are fetched when their turn comes; all of them arrive, in order."""
    kept: list[int] = []
    read = bodies.read_body

    def watched(*arguments: Any, **options: Any) -> bytes:
        found = read(*arguments, **options)
        kept.append(len(found))
        return found

    monkeypatch.setattr(web_images, "read_body", watched)
    server.answers["/slow"] = image(b"slow", seconds=2.0)
    names = ["slow"]
    for number in range(12):
        server.answers[f"/{number}"] = image(LARGE + str(number).encode())
        server.answers[f"/small-{number}"] = image(b"small" + str(number).encode())
        names += [str(number), f"small-{number}"]
    rows = [{"image_uri": f"{server.url}/{name}", "known_source_version": None} for name in names]
    found: list[tuple[str, int]] = []
    for row, source in SourceReader(Path("/"), LIMITS).read(rows):
        if not found:
            before = [size for size in kept if size >= len(LARGE)]
            assert len(before) == LARGE_AT_ONCE
            assert len(kept) > len(before) + 1, "small ones are fetched ahead all the same"
        assert source.data is not None
        found.append((str(row["image_uri"]).rpartition("/")[2], len(source.data)))
    assert [name for name, _ in found] == names
    assert {size for _, size in found} == {4, 6, 7, len(LARGE) + 1, len(LARGE) + 2}


def test_room_comes_back_also_from_what_is_rejected(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_SOURCE_BYTES", 6000)
    server.answers["/gone"] = status(404)
    names = [*(str(number) for number in range(8)), "gone"] * 2
    for name in names[:8]:
        server.answers[f"/{name}"] = image(LARGE)
    reader = SourceReader(Path("/"), LIMITS)
    reader._web._max_bytes = 6000
    rows = [{"image_uri": f"{server.url}/{name}", "known_source_version": None} for name in names]
    reasons = [source.rejection.reason for _, source in reader.read(rows) if source.rejection]
    assert reasons == [*["too_large"] * 8, "missing"] * 2
    assert reader._room._value == LARGE_AT_ONCE


def test_room_is_taken_once_and_given_back_once() -> None:
    room = threading.BoundedSemaphore(1)
    one, other = Ticket(room), Ticket(room)
    with one.counted():
        take_room(bodies.LARGE_BYTES)
        take_room(bodies.LARGE_BYTES + 1)
        take_room(bodies.LARGE_BYTES + 2)
    with pytest.raises(Deferred), other.counted():
        take_room(bodies.LARGE_BYTES + 1)
    one.give_back()
    one.give_back()
    with pytest.raises(ValueError, match="fell over"), other.counted():
        take_room(bodies.LARGE_BYTES + 1)
        raise ValueError("it fell over")
    assert room.acquire(blocking=False)
    take_room(10**9)  # outside, when it is its turn, nothing is counted

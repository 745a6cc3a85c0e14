"""Hosts behind redirects: their links in other letters, and that they are left alone when they ask for it."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from jobs.images.normalise import Rejected
from jobs.ingest.web import WebImages
from tests.unit.ingest.test_web_images import HERE, RED
from tests.web import Answer, Handler, WebServer, image, status


def located(location: bytes) -> Answer:
    """Redirect to a Location of these very bytes."""

    def answer(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n")

    return answer


def rejection(web: WebImages, uri: str) -> Rejected:
    with pytest.raises(Rejected) as caught:
        web.fetch(uri)
    return caught.value


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        ("/café Å.jpg".encode(), "/caf%C3%A9%20%C3%85.jpg"),
        ("/シャツ.jpg".encode(), "/%E3%82%B7%E3%83%A3%E3%83%84.jpg"),
        (b"/caf%C3%A9.jpg", "/caf%C3%A9.jpg"),
        ("/caf%C3%A9-é.jpg".encode(), "/caf%C3%A9-%C3%A9.jpg"),
        ("/café.jpg".encode("latin-1"), "/caf%E9.jpg"),
    ],
)
def test_a_location_in_other_letters_is_percent_encoded_once(server: WebServer, location: bytes, asked: str) -> None:
    server.answers["/a.jpg"] = located(location)
    server.answers[asked] = image(RED)
    assert WebImages(HERE).fetch(f"{server.url}/a.jpg").data == RED


@pytest.mark.parametrize("code", [429, 503])
def test_a_host_behind_a_redirect_that_asks_for_an_hour_is_asked_once(
    server: WebServer, other: WebServer, code: int
) -> None:
    other.answers["/a.jpg"] = status(code, Retry_After="3600")
    server.answers["/a.jpg"] = status(302, Location=f"{other.url}/a.jpg")
    server.answers["/own.jpg"] = image(RED)
    web = WebImages(HERE)
    assert "left alone for 3600 s" in rejection(web, f"{server.url}/a.jpg").detail
    for _ in range(4):
        assert "is left alone for this run" in rejection(web, f"{server.url}/a.jpg").detail
    assert other.asked["/a.jpg"] == 1
    assert web.fetch(f"{server.url}/own.jpg").data == RED, "the host that redirects has not asked for anything"


def test_an_image_in_flight_does_not_undo_that_a_host_is_left_alone(server: WebServer) -> None:
    asked, answered = threading.Event(), threading.Event()

    def slow(handler: Handler) -> None:
        asked.set()
        answered.wait(30)
        image(RED)(handler)

    server.answers |= {"/slow.jpg": slow, "/a.jpg": status(503, Retry_After="3600"), "/b.jpg": image(RED)}
    web = WebImages(replace(HERE, read_seconds=60, total_seconds=60))
    found: list[bytes | None] = []
    flight = threading.Thread(target=lambda: found.append(web.fetch(f"{server.url}/slow.jpg").data))
    flight.start()
    assert asked.wait(30)
    rejection(web, f"{server.url}/a.jpg")
    answered.set()
    flight.join()
    assert found == [RED]
    assert "is left alone for this run" in rejection(web, f"{server.url}/b.jpg").detail
    assert server.asked["/b.jpg"] == 0


def test_a_request_that_waits_for_its_slot_is_not_sent_to_a_host_that_is_left_alone(server: WebServer) -> None:
    asked, answered = threading.Event(), threading.Event()

    def leave_me(handler: Handler) -> None:
        asked.set()
        answered.wait(30)
        status(429, Retry_After="3600")(handler)

    server.answers |= {"/a.jpg": leave_me, "/b.jpg": image(RED)}
    web = WebImages(replace(HERE, read_seconds=60, total_seconds=60), per_host=1)
    details: list[str] = []

    def fetch(name: str) -> None:
        details.append(rejection(web, f"{server.url}/{name}.jpg").detail)

    first = threading.Thread(target=fetch, args=("a",))
    first.start()
    assert asked.wait(30)
    second = threading.Thread(target=fetch, args=("b",))
    second.start()
    second.join(0.1)
    answered.set()
    first.join()
    second.join()
    assert len(details) == 2
    assert server.asked["/b.jpg"] == 0


def test_failures_count_against_the_host_that_fails(server: WebServer, other: WebServer) -> None:
    other.answers["/a.jpg"] = status(500)
    server.answers["/a.jpg"] = status(302, Location=f"{other.url}/a.jpg")
    server.answers["/own.jpg"] = image(RED)
    web = WebImages(replace(HERE, tries=1))
    for _ in range(8):
        rejection(web, f"{server.url}/a.jpg")
    assert other.asked["/a.jpg"] == 5
    assert web.fetch(f"{server.url}/own.jpg").data == RED


def test_a_host_that_redirects_to_itself_and_fails_there_is_given_up_too(server: WebServer) -> None:
    server.answers |= {"/a.jpg": status(302, Location="/moved.jpg"), "/moved.jpg": status(500)}
    web = WebImages(replace(HERE, tries=1))
    for _ in range(8):
        rejection(web, f"{server.url}/a.jpg")
    assert server.asked == {"/a.jpg": 5, "/moved.jpg": 5}

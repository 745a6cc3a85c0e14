"""Clients that open many connections, or send half a request, hold up nobody."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from jobs.review import connections
from tests.review_site import Client, Site

HALF_A_HEAD = b"GET /queue HTTP/1.1\r\nHost: 127.0.0.1"


def half_a_body(site: Site) -> bytes:
    """Return a login without the last byte of its form; nobody has to be logged in to send one."""
    host = f"127.0.0.1:{site.port}"
    return (
        f"POST /login HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nSec-Fetch-Site: same-origin\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\nname=m"
    ).encode()


@contextmanager
def opened(site: Site, sent: bytes, *, count: int) -> Iterator[list[socket.socket]]:
    """Open connections and send the same on each."""
    with ExitStack() as stack:
        links = []
        for _ in range(count):
            links.append(stack.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=30)))
            links[-1].sendall(sent)
        yield links


def closed(links: list[socket.socket]) -> int:
    """Return how many of the connections the server has closed."""
    count = 0
    for link in links:
        link.settimeout(0.01)
        try:
            count += link.recv(1) == b""
        except TimeoutError:
            pass
        except ConnectionError:
            count += 1
    return count


@pytest.mark.parametrize("what", ["nothing", "half a head", "half a body", "a whole request"])
def test_four_hundred_connections_of_one_client_hold_up_nobody(site: Site, ada: Client, what: str) -> None:
    whole = f"GET /static/review.css HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n\r\n".encode()
    sent = {"nothing": b"", "half a head": HALF_A_HEAD, "half a body": half_a_body(site), "a whole request": whole}
    with opened(site, sent[what], count=400) as links:
        for _ in range(3):
            started = time.monotonic()
            assert ada.get("/queue").status == 200
            assert time.monotonic() - started < 9
        if what != "a whole request":
            assert closed(links) >= 400 - connections.MOST_CONNECTIONS


def test_the_place_is_taken_of_who_has_most_connections(site: Site) -> None:
    first = socket.create_connection(("127.0.0.1", site.port), source_address=("127.0.0.2", 0), timeout=30)
    with first, opened(site, HALF_A_HEAD, count=400):
        time.sleep(0.3)  # until all are accepted
        first.sendall(f"GET /login HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n\r\n".encode())
        assert first.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("before", [b"", b"a whole request"])
def test_half_a_head_is_not_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch, before: bytes) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 1.0)
    whole = f"GET /static/review.css HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n\r\n".encode()
    with opened(site, whole if before else b"", count=1) as [link]:
        if before:
            assert link.recv(100).startswith(b"HTTP/1.1 200")
        link.sendall(HALF_A_HEAD)
        started = time.monotonic()
        while link.recv(1 << 16):
            pass
        assert time.monotonic() - started < 9, "it is ten in earnest"


def test_a_request_in_two_parts_is_answered(site: Site, ada: Client) -> None:
    head = f".1:{site.port}".join(("GET /login HTTP/1.1\r\nHost: 127.0.0", "\r\n\r\n")).encode()
    with opened(site, head[:30], count=1) as [link]:
        time.sleep(0.1)
        link.sendall(head[30:])
        assert link.recv(100).startswith(b"HTTP/1.1 200")

"""Web hosts that hold on to whoever asks them, and machines that ask without an installed package."""

from __future__ import annotations

import importlib.metadata
import socket
import time
from dataclasses import replace
from typing import Any

import pytest

from jobs.images.normalise import Rejected
from jobs.ingest.addresses import AddressGuard
from jobs.ingest.web import WebImages
from tests.unit.ingest.test_web_images import HERE, RED
from tests.web import dripping_headers, image, web_server


def test_images_are_fetched_without_an_installed_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    """An executor has the driver's archive of code, and no installed distribution that would tell a version."""

    def absent(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with web_server() as server:
        server.answers["/a.jpg"] = image(RED)
        assert WebImages(HERE).fetch(f"{server.url}/a.jpg").data == RED


def test_a_host_is_not_asked_again_after_five_slow_images() -> None:
    with web_server() as server:
        server.answers["/a.jpg"] = dripping_headers
        web = WebImages(replace(HERE, total_seconds=0.2))
        details: list[str] = []
        for _ in range(8):
            with pytest.raises(Rejected) as caught:
                web.fetch(f"{server.url}/a.jpg")
            details.append(caught.value.detail)
        assert all("had not sent all of it after 0.2 s" in detail for detail in details[:5])
        assert all("failed too often in a row and is left alone" in detail for detail in details[5:])
        assert server.asked["/a.jpg"] <= 5, "a request that is late itself does not reach it"


def test_many_addresses_that_do_not_answer_share_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as first, socket.socket() as second:
        where = full.getsockname()
        for taken in (first, second):  # now its queue is full, and it answers nobody
            taken.setblocking(False)
            taken.connect_ex(where)
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", where)] * 6
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            AddressGuard(HERE.guard.allowed).connect(
                "shop.example", where[1], timeout_seconds=1, deadline=time.monotonic() + 1.5
            )
        assert time.monotonic() - started < 5.5, "six addresses at a second each take longer"

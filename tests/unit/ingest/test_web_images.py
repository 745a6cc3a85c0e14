"""Images over HTTP from a real server on loopback that is slow, busy, broken or hostile."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from jobs.images.normalise import Rejected
from jobs.ingest.config import HttpLimits
from jobs.ingest.web import WebImages
from sql.records import REJECTION_REASONS
from tests.conftest import picture
from tests.web import (
    Answer,
    WebServer,
    cut_short,
    dripping_headers,
    endless,
    image,
    in_turn,
    promise,
    reset,
    silent,
    status,
    web_server,
)

HERE = HttpLimits(
    connect_seconds=20,
    read_seconds=20,
    total_seconds=40,
    tries=3,
    longest_wait_seconds=2,
    allowed_networks=("127.0.0.1",),
)
"""Times that no server of these tests takes on a busy machine; only one that never answers gets shorter ones."""
RED = picture(1)


def rejected(server: WebServer, answer: Answer, *, limits: HttpLimits = HERE, max_bytes: int = 10**6) -> Rejected:
    """Fetch what gives this answer, and return why it was rejected."""
    server.answers["/a.jpg"] = answer
    with pytest.raises(Rejected) as caught:
        WebImages(limits, max_bytes=max_bytes).fetch(f"{server.url}/a.jpg?signature=secret#part")
    assert caught.value.reason in REJECTION_REASONS
    assert "secret" not in caught.value.detail
    return caught.value


@pytest.fixture(autouse=True)
def _same_path_with_a_query(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.web import Handler

    original: Callable[[Handler], None] = Handler.do_GET

    def without_query(handler: Handler) -> None:
        handler.path = handler.path.partition("?")[0]
        original(handler)

    monkeypatch.setattr(Handler, "do_GET", without_query)


def test_an_image_comes_with_its_version(server: WebServer) -> None:
    server.answers["/a.jpg"] = image(RED, etag='"v1"', last_modified=formatdate(0, usegmt=True))
    found = WebImages(HERE).fetch(f"{server.url}/a.jpg")
    assert (found.data, found.source_version) == (RED, 'etag:"v1"')
    assert server.hosts == {f"127.0.0.1:{server.server_port}"}


def test_blanks_and_other_letters_in_a_path_are_percent_encoded(server: WebServer) -> None:
    server.answers["/red%20shirt%C2%A0caf%C3%A9%5B1%5D.jpg"] = image(RED)
    assert WebImages(HERE).fetch(f"{server.url}/red shirt\xa0caf\xe9[1].jpg?a=b c").data == RED


def test_the_host_header_names_the_host_and_not_the_address(server: WebServer) -> None:
    server.answers["/a.jpg"] = image(RED)
    limits = replace(HERE, allowed_networks=("127.0.0.0/8", "::1"))
    assert WebImages(limits).fetch(f"http://localhost:{server.server_port}/a.jpg").data == RED
    assert server.hosts == {f"localhost:{server.server_port}"}


@pytest.mark.parametrize("header", ["etag", "last_modified"])
def test_an_unchanged_image_is_not_sent_again(server: WebServer, header: str) -> None:
    first, second = {"etag": ('"v1"', '"v2"')}.get(header, (formatdate(0, usegmt=True), formatdate(9, usegmt=True)))
    server.answers["/a.jpg"] = image(RED, **{header: first})  # type: ignore[arg-type]
    web = WebImages(HERE)
    known = web.fetch(f"{server.url}/a.jpg").source_version
    assert web.fetch(f"{server.url}/a.jpg", known_version=known).data is None
    server.answers["/a.jpg"] = image(picture(2), **{header: second})  # type: ignore[arg-type]
    changed = web.fetch(f"{server.url}/a.jpg", known_version=known)
    assert changed.data == picture(2)
    assert changed.source_version != known


def test_an_unrequested_304_is_rejected(server: WebServer) -> None:
    assert rejected(server, lambda handler: handler.give(b"", 304)).reason == "unreadable"


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504, 520, 529])
def test_a_busy_server_is_asked_again(server: WebServer, code: int) -> None:
    server.answers["/a.jpg"] = in_turn(status(code), status(code), image(RED))
    assert WebImages(HERE).fetch(f"{server.url}/a.jpg").data == RED
    assert server.asked["/a.jpg"] == 3


@pytest.mark.parametrize("failure", [reset, cut_short(RED), silent], ids=["reset", "cut_short", "silent"])
def test_a_broken_connection_is_made_again(server: WebServer, failure: Answer) -> None:
    server.answers["/a.jpg"] = in_turn(failure, image(RED))
    limits = replace(HERE, read_seconds=2) if failure is silent else HERE
    assert WebImages(limits).fetch(f"{server.url}/a.jpg").data == RED
    assert server.asked["/a.jpg"] == 2
    refused = rejected(server, failure, limits=replace(HERE, read_seconds=0.5) if failure is silent else HERE)
    assert refused.reason == "unreadable"
    assert refused.detail.endswith("3 tries")


@pytest.mark.parametrize("asked", ["1", "date"])
def test_retry_after_is_waited_for_by_every_thread(server: WebServer, asked: str) -> None:
    refused, served = list[float](), list[float]()

    def refuse(handler: Any) -> None:
        refused.append(time.monotonic())
        status(429, Retry_After=formatdate(time.time() + 2, usegmt=True) if asked == "date" else asked)(handler)

    def note_and_serve(handler: Any) -> None:
        served.append(time.monotonic())
        image(RED)(handler)

    server.answers |= {"/a.jpg": in_turn(refuse, image(RED)), "/b.jpg": note_and_serve}
    web = WebImages(HERE)

    def fetch_the_other() -> None:
        while not any(host.not_before for host in web._hosts.values()):  # until the first thread knows of the pause
            time.sleep(0.01)
        web.fetch(f"{server.url}/b.jpg")

    other = threading.Thread(target=fetch_the_other, daemon=True)
    other.start()
    assert web.fetch(f"{server.url}/a.jpg").data == RED
    other.join(30)
    assert served[0] - refused[0] > 0.95, "the other thread waited too"
    assert server.asked == {"/a.jpg": 2, "/b.jpg": 1}


def test_a_retry_after_of_an_hour_is_not_waited_for(server: WebServer) -> None:
    server.answers["/b.jpg"] = image(RED)
    started = time.monotonic()
    assert "3600 s" in rejected(server, status(503, Retry_After="3600")).detail
    assert (server.asked["/a.jpg"], time.monotonic() - started < 20) == (1, True)


def test_a_host_that_fails_again_and_again_is_not_asked_for_the_rest(server: WebServer) -> None:
    web = WebImages(replace(HERE, tries=1))
    server.answers["/a.jpg"] = status(500)
    server.answers["/fine.jpg"] = image(RED)
    for _ in range(20):
        with pytest.raises(Rejected):
            web.fetch(f"{server.url}/a.jpg")
    assert server.asked["/a.jpg"] == 5


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(404), "missing"),
        (status(410), "missing"),
        (status(403), "unreadable"),
        (status(418), "unreadable"),
        (status(206), "unreadable"),
        (image(b""), "empty"),
        (image(bytes(2000)), "too_large"),
        (endless(), "too_large"),
        (promise(10**12), "too_large"),
    ],
)
def test_an_unusable_image_is_requested_once(server: WebServer, answer: Answer, reason: str) -> None:
    assert rejected(server, answer, max_bytes=1000).reason == reason
    assert server.asked["/a.jpg"] == 1


@pytest.mark.parametrize("answer", [endless(seconds=0.1, piece=b"x"), dripping_headers], ids=["body", "headers"])
def test_a_slow_response_is_aborted_at_the_deadline(server: WebServer, answer: Answer) -> None:
    started = time.monotonic()
    refused = rejected(server, answer, limits=replace(HERE, total_seconds=1.5))
    assert (refused.reason, refused.detail) == ("unreadable", "host 127.0.0.1 had not sent all of it after 1.5 s")
    assert time.monotonic() - started < 15
    assert server.asked["/a.jpg"] == 1


def test_redirects_are_followed_and_counted(server: WebServer) -> None:
    for number in range(6):
        server.answers[f"/{number}.jpg"] = status(302, Location=f"{number + 1}.jpg")
    server.answers["/6.jpg"] = image(RED)
    assert WebImages(HERE).fetch(f"{server.url}/1.jpg").data == RED
    with pytest.raises(Rejected, match="more than 5 redirects"):
        WebImages(HERE).fetch(f"{server.url}/0.jpg")


@pytest.mark.parametrize(
    ("target", "detail"),
    [
        ("http://127.0.0.2:{port}/secret.jpg", "127.0.0.2, which is not a public address"),
        ("//[::ffff:127.0.0.2]:{port}/secret.jpg", "not a public address"),
        ("http://2130706434:{port}/secret.jpg", "127.0.0.2, which is not a public address"),
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254, which is not a public address"),
        ("file:///etc/passwd", "the scheme 'file'"),
        ("ftp://shop.example/a.jpg", "the scheme 'ftp'"),
        ("http://ada:secret@127.0.0.1:{port}/4.jpg", "user name or password"),
        ("http://[::1", "not a URL"),
        ("https:///a.jpg", "no host"),
    ],
)
def test_a_redirect_to_a_forbidden_address_is_refused(server: WebServer, target: str, detail: str) -> None:
    with web_server("127.0.0.2", server.server_port) as secret:
        secret.answers["/secret.jpg"] = image(RED)
        refused = rejected(server, status(302, Location=target.format(port=server.server_port)))
        assert refused.reason == "uri_not_allowed"
        assert detail in refused.detail
        assert secret.connections == 0


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("http://ada:secret@127.0.0.1/a.jpg", "uri_not_allowed"),
        ("http:///a.jpg", "uri_not_allowed"),
        ("http://[::1", "uri_not_allowed"),
        ("http://127.0.0.1:99999/a.jpg", "uri_not_allowed"),
        ("http://localhost/a.jpg", "uri_not_allowed"),
        ("http://name.invalid/a.jpg", "unreadable"),
        (f"http://{'x' * 300}.example/a.jpg", "unreadable"),
    ],
)
def test_broken_links_are_rejected(uri: str, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        WebImages(replace(HttpLimits(), tries=1)).fetch(uri)
    assert caught.value.reason == reason
    assert "secret" not in caught.value.detail


def test_proxies_of_the_environment_are_not_used(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with web_server() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        server.answers["/a.jpg"] = image(RED)
        assert WebImages(HERE).fetch(f"{server.url}/a.jpg").data == RED
        assert proxy.connections == 0


def test_connections_are_reused_and_concurrent_requests_per_host_are_limited(server: WebServer) -> None:
    for number in range(40):
        server.answers[f"/{number}.jpg"] = image(RED, seconds=0.02)
    server.answers["/gone.jpg"] = status(404)
    web = WebImages(replace(HERE, per_host=3))

    def fetch(number: int) -> Any:
        if number % 4 == 0:
            with pytest.raises(Rejected):
                web.fetch(f"{server.url}/gone.jpg")
        return web.fetch(f"{server.url}/{number}.jpg").data

    with ThreadPoolExecutor(12) as threads:
        assert list(threads.map(fetch, range(40))) == [RED] * 40
    assert server.most_at_once == 3
    assert server.connections == 3


def test_an_https_link_to_a_server_without_tls_is_rejected(server: WebServer) -> None:
    with pytest.raises(Rejected) as caught:
        WebImages(replace(HERE, tries=1, read_seconds=0.5)).fetch(f"https://127.0.0.1:{server.server_port}/a.jpg")
    assert caught.value.reason == "unreadable"


def test_tls_asks_for_the_name_of_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes to a checked address, and the handshake still names the host."""
    names: list[str | None] = []
    real = ssl.SSLContext.wrap_socket

    def wrap(context: ssl.SSLContext, sock: socket.socket, *arguments: Any, **options: Any) -> Any:
        names.append(options.get("server_hostname"))
        return real(context, sock, *arguments, **options)

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", wrap)
    with web_server() as server, pytest.raises(Rejected, match="TLS with host localhost"):
        limits = replace(HERE, tries=1, allowed_networks=("127.0.0.0/8", "::1"))
        WebImages(limits).fetch(f"https://localhost:{server.server_port}/a.jpg")
    assert names == ["localhost"]

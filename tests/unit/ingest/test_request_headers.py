"""Headers that a person sets for a host, and cookies of redirects: each goes where it belongs and nowhere else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from urllib3.util import parse_url

from jobs.errors import UsageError
from jobs.ingest.config import HttpLimits
from jobs.ingest.request_headers import Chain
from jobs.ingest.web import WebImages
from jobs.settings import Settings
from tests.unit.ingest.test_web_images import HERE, RED
from tests.web import Answer, WebServer, image, status

TOKEN = {"X-Token": "s3cret", "user-agent": "Mozilla/5.0", "Referer": "https://shop.example/"}


def named(server: WebServer) -> str:
    return f"127.0.0.1:{server.server_port}"


def test_a_host_gets_its_headers_and_no_other_host_does(server: WebServer, other: WebServer) -> None:
    web = WebImages(replace(HERE, headers={named(server): TOKEN}))
    server.answers |= {"/a.jpg": status(302, Location=f"{other.url}/b.jpg"), "/c.jpg": image(RED)}
    other.answers |= {"/b.jpg": status(302, Location=f"{server.url}/c.jpg")}
    assert web.fetch(f"{server.url}/a.jpg").data == RED
    for path in ("/a.jpg", "/c.jpg"):
        sent = {name.lower(): value for name, value in server.headers[path].items()}
        assert (sent["x-token"], sent["user-agent"]) == ("s3cret", "Mozilla/5.0")
        assert sent["referer"] == "https://shop.example/"
    strange = other.headers["/b.jpg"]
    assert "s3cret" not in str(strange)
    assert strange["User-Agent"].startswith("shelfwise")
    assert "Referer" not in strange


@pytest.mark.parametrize(
    ("links", "sent"),
    [
        (["https://cdn.shop.example/a"], True),
        (["http://CDN.shop.example/a"], True),
        (["https://cdn.shop.example:443/a"], True),
        (["https://cdn.shop.example:8443/a"], False),
        (["https://shop.example/a"], False),
        (["https://a.cdn.shop.example/a"], False),
        (["http://cdn.shop.example/a", "https://cdn.shop.example/a"], True),
        (["https://cdn.shop.example/a", "http://cdn.shop.example/a"], False),
    ],
)
def test_headers_go_to_the_named_host_at_the_usual_ports_and_never_from_https_to_http(
    links: list[str], sent: bool
) -> None:
    chain = Chain({"cdn.shop.example": TOKEN})
    for link in links:
        url = parse_url(link)
        found = chain.headers(url, url.port or (443 if url.scheme == "https" else 80))
    assert found == (TOKEN if sent else {})


def cookie_then(location: str, *cookies: str) -> Answer:
    def answer(handler: object) -> None:
        handler.send_response(302)  # type: ignore[attr-defined]
        for cookie in cookies:
            handler.send_header("Set-Cookie", cookie)  # type: ignore[attr-defined]
        handler.send_header("Location", location)  # type: ignore[attr-defined]
        handler.send_header("Content-Length", "0")  # type: ignore[attr-defined]
        handler.end_headers()  # type: ignore[attr-defined]

    return answer


def test_cookies_live_as_long_as_one_chain_of_redirects(server: WebServer) -> None:
    server.answers |= {"/a.jpg": cookie_then("/b.jpg", "seen=1; Path=/", "lang=de"), "/b.jpg": image(RED)}
    web = WebImages(HERE)
    assert web.fetch(f"{server.url}/a.jpg").data == RED
    assert set(server.headers["/b.jpg"]["Cookie"].split("; ")) == {"seen=1", "lang=de"}
    assert web.fetch(f"{server.url}/b.jpg").data == RED
    assert "Cookie" not in server.headers["/b.jpg"]


def test_cookies_do_not_go_to_another_host() -> None:
    chain = Chain({})
    first, second = parse_url("https://shop.example/a"), parse_url("https://other.example/a")
    chain.keep_cookies(first, ["seen=1", "wide=1; Domain=other.example"])
    assert chain.headers(second, 443) == {}
    assert chain.headers(first, 443) == {"Cookie": "seen=1"}
    assert chain.headers(parse_url("http://shop.example/a"), 80) == {"Cookie": "seen=1"}


def test_a_cookie_of_a_redirect_joins_one_that_a_person_has_set() -> None:
    chain = Chain({"shop.example": {"cookie": "session=2"}})
    url = parse_url("https://shop.example/a")
    chain.keep_cookies(url, ["seen=1"])
    assert chain.headers(url, 443) == {"Cookie": "session=2; seen=1"}


@pytest.mark.parametrize("cookie", ["", ";", "=", "a", "a=b; Expires=never; Path", "\x00=\x01", "a=b; Max-Age=x"])
def test_an_odd_cookie_does_no_harm(cookie: str) -> None:
    chain = Chain({})
    url = parse_url("https://shop.example/a")
    chain.keep_cookies(url, [cookie, "seen=1"])
    assert "seen=1" in chain.headers(url, 443)["Cookie"]


def test_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFWISE_HTTP_HEADERS", json.dumps({"cdn.shop.example": TOKEN}))
    settings = Settings()
    assert settings.http.headers == {"cdn.shop.example": TOKEN}
    assert "s3cret" not in f"{settings!r} {settings.http!r}"


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"https://cdn.shop.example": TOKEN}, "no host in small letters"),
        ({"CDN": TOKEN}, "no host in small letters"),
        ({"": TOKEN}, "no host in small letters"),
        ({"cdn": "s3cret"}, "no object of headers"),
        ({"cdn": {}}, "no object of headers"),
        ({"cdn": {"Host": "s3cret"}}, "'Host', which cannot be set"),
        ({"cdn": {"if-none-match": "s3cret"}}, "which cannot be set"),
        ({"cdn": {"Accept-Encoding": "s3cret"}}, "which cannot be set"),
        ({"cdn": {"a b": "s3cret"}}, "which cannot be set"),
        ({"cdn": {"X": "s3cret\r\nY: 1"}}, "the value of X for 'cdn'"),
        ({"cdn": {"X": "s3cret\xe9"}}, "printable ASCII"),
        ({"cdn": {"X": 7}}, "printable ASCII"),
        ({"cdn": {"X": ""}}, "printable ASCII"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused_without_showing_them(headers: object, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        HttpLimits(headers=headers)  # type: ignore[arg-type]
    assert "SHELFWISE_HTTP_HEADERS" in str(caught.value)
    assert "s3cret" not in str(caught.value)

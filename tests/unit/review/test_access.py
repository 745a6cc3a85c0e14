"""Who may reach the review pages: every request that is refused, and what every response says to browsers."""

from __future__ import annotations

import re
import socket

import pytest
from fastapi.routing import APIRoute

from jobs.review import door, focus_pages, login_pages, product_pages, queue_pages
from jobs.review.door import LONGEST_BODY_BYTES
from jobs.review.sessions import BURST
from tests.review_site import Client, Site, page_id_of

GET_ROUTES = (
    "/", "/queue", "/queue?status=review", "/queue/again?page=x", "/focus", "/focus?product=article-00000", "/product",
    "/product?id=article-00000", "/progress", "/categories?q=a", "/report?run=x",
    "/thumbnail?product=article-00000&image=0&sha256=" + "0" * 64, "/picture?product=a&image=0&sha256=" + "0" * 64,
    "/docs", "/openapi.json", "/redoc", "/nothing",
)  # fmt: skip
POST_ROUTES = ("/page", "/back", "/focus", "/queue/skipped", "/product/clear", "/logout")


@pytest.fixture
def nobody(site: Site) -> Client:
    """A client without a session."""
    return site.client(logged_in_as="")


def all_routes() -> set[str]:
    """Return the paths of all routes of the application."""
    modules = (login_pages, queue_pages, focus_pages, product_pages)
    return {route.path for module in modules for route in module.routes.routes if isinstance(route, APIRoute)}


def test_every_route_is_in_the_lists_of_this_test() -> None:
    tried = {path.partition("?")[0] for path in (*GET_ROUTES, *POST_ROUTES)}
    assert all_routes() - tried == {"/login", "/open", "/static/{name}"}


@pytest.mark.parametrize("path", GET_ROUTES)
def test_a_page_without_a_session_gives_nothing(nobody: Client, path: str) -> None:
    answer = nobody.get(path)
    assert (answer.status, answer.headers["location"]) == (303, "/login")
    assert "article" not in answer.text
    asked_by_script = nobody.get(path, accept="application/json")
    assert asked_by_script.status == 401
    assert "session has ended" in asked_by_script.json["error"]


@pytest.mark.parametrize("path", POST_ROUTES)
def test_a_form_without_a_session_does_nothing(nobody: Client, path: str) -> None:
    assert nobody.form(path, product_id="article-00000").status == 401


@pytest.mark.parametrize("cookie", ["", "x", "a=b; shelfwise", "{name}=", "{name}=" + "A" * 43, "{name}=\udc80"])
def test_a_foreign_cookie_is_no_session(site: Site, cookie: str) -> None:
    client = Client(site.port)
    client.cookie = cookie.format(name=site.services.access.cookie).encode("utf-8", "surrogateescape").decode("latin-1")
    assert client.get("/queue").status == 303


def test_odd_cookies_of_other_servers_on_the_host_do_not_hide_the_session(ada: Client) -> None:
    ada.cookie = f'state={{"a": [1, "ü"]}}; =; ;x; {ada.cookie}; "'
    assert ada.get("/queue").status == 200


def test_there_is_no_page_of_api_documentation(ada: Client) -> None:
    assert [ada.get(path).status for path in ("/docs", "/redoc", "/openapi.json")] == [404, 404, 404]


def test_the_printed_address_works_once_and_becomes_a_session_of_twelve_hours(site: Site) -> None:
    [address] = site.announced
    path = address.removeprefix(site.address)
    assert path.startswith("/open?token=")
    browser = Client(site.port)
    first = browser.get(path)
    assert first.status == 200
    attributes = first.headers["set-cookie"].split("; ")[1:]
    assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} <= set(attributes)
    assert browser.get("/queue").status == 200
    token = browser.cookie.partition("=")[2]
    assert token not in repr(vars(site.services.guards.sessions)), "kept as a hash"
    assert "works once" in Client(site.port).get(path).text
    assert Client(site.port).get(path).status == 401
    site.clock.forward(hours=11.9)
    assert browser.get("/queue").status == 200
    site.clock.forward(hours=0.2)
    assert browser.get("/queue").status == 303


def test_a_person_whose_session_ended_gets_a_new_address_in_the_terminal_once_a_minute(site: Site) -> None:
    nobody = Client(site.port)
    for _ in range(3):
        assert nobody.get("/login").status == 200
    assert len(site.announced) == 1, "the first one still works"
    nobody.get(site.announced[0].removeprefix(site.address))
    other = Client(site.port)
    other.get("/login")
    assert len(site.announced) == 1
    site.clock.forward(seconds=61)
    other.get("/login")
    other.get("/login")
    assert len(site.announced) == 2


def test_the_printed_address_works_for_an_hour_and_the_terminal_shows_the_next(site: Site) -> None:
    path = site.announced[0].removeprefix(site.address)
    site.clock.forward(minutes=61)
    late = Client(site.port).get(path)
    assert (late.status, "works once, within an hour" in late.text, "set-cookie" in late.headers) == (401, True, False)
    [_, new] = site.announced
    site.clock.forward(minutes=59)
    assert Client(site.port).get(new.removeprefix(site.address)).status == 200


@pytest.mark.parametrize("token", ["", "x", "%00", "%ED%A0%80", "A" * 900])
def test_a_wrong_token_opens_nothing(site: Site, token: str) -> None:
    answer = Client(site.port).get(f"/open?token={token}")
    assert answer.status == 401
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("host", ["shop.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "[::1]", "0"])
def test_a_foreign_host_name_is_refused(ada: Client, host: str) -> None:
    answer = ada.get("/queue", host=host)
    assert answer.status == 421
    assert "not known by that host name" in answer.text


def test_localhost_is_our_host_too(site: Site, ada: Client) -> None:
    assert ada.get("/queue", host=f"LOCALHOST:{site.port}").status == 200
    assert ada("GET", "/queue", drop=["Host"]).status in (400, 421)


@pytest.mark.parametrize(
    ("drop", "headers"),
    [
        (["Sec-Fetch-Site", "Origin"], {}),
        (["Origin"], {"sec_fetch_site": "cross-site"}),
        (["Origin"], {"sec_fetch_site": "same-site"}),
        (["Origin"], {"sec_fetch_site": "none"}),
        ([], {"origin": "http://evil.example"}),
        ([], {"origin": "null", "sec_fetch_site": "cross-site"}),
        ([], {"origin": "null", "sec_fetch_site": "same-site"}),
        ([], {"origin": "null", "sec_fetch_site": "none"}),
        ([], {"sec_fetch_site": "cross-site"}),
        (["Sec-Fetch-Site"], {"origin": "null"}),
        (["Sec-Fetch-Site"], {"origin": "http://evil.example"}),
        (["Sec-Fetch-Site"], {"origin": "https://127.0.0.1:{port}"}),
        (["Sec-Fetch-Site"], {"origin": "http://127.0.0.1"}),
    ],
)
def test_a_request_of_another_site_writes_nothing(
    ada: Client, site: Site, drop: list[str], headers: dict[str, str]
) -> None:
    page_id = page_id_of(ada.get("/queue"))
    headers = {name: value.format(port=site.port) for name, value in headers.items()}
    body = f'{{"page_id": "{page_id}", "wrong": [], "leaves": {{"0": "apparel.tops.shirt"}}}}'
    answer = ada("POST", "/page", body, drop=drop, content_type="application/json", **headers)
    assert answer.status == 403
    assert site.services.desk("ada").last_sent() is None


def test_our_own_forms_are_accepted_although_browsers_hide_where_they_come_from(ada: Client) -> None:
    told = {"content_type": "application/x-www-form-urlencoded", "origin": "null"}
    assert ada("POST", "/queue/skipped", "", **told).status == 303
    assert ada("POST", "/logout", "", **told).status == 303


def test_our_origin_is_enough_for_browsers_without_fetch_metadata(ada: Client) -> None:
    answer = ada("POST", "/back", "{}", drop=["Sec-Fetch-Site"], accept="application/json")
    assert answer.status == 409
    assert "nothing to take back" in answer.json["error"]


def test_another_site_may_link_to_a_page_but_not_load_its_parts(ada: Client) -> None:
    assert ada.get("/queue", sec_fetch_site="cross-site", sec_fetch_mode="navigate").status == 200
    assert ada.get("/queue", sec_fetch_site="cross-site", sec_fetch_mode="no-cors").status == 403


@pytest.mark.parametrize("path", ["/queue", "/login", "/static/review.css", "/nothing", "/thumbnail", "/open?token=x"])
def test_every_response_tells_the_browser_to_be_strict(site: Site, ada: Client, path: str) -> None:
    for answer in (ada.get(path), site.client(logged_in_as="").get(path), ada.get(path, host="evil.example")):
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        own = {"script-src", "style-src", "img-src", "connect-src", "form-action"}
        assert policy == {"default-src": "'none'", "frame-ancestors": "'none'", "base-uri": "'none'"} | dict.fromkeys(
            own, "'self'"
        )
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] in ("no-store", "no-cache" if "static" in path else "")
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


def test_the_pages_have_no_style_or_script_in_them(ada: Client) -> None:
    for path in ("/queue", "/focus?product=article-00000", "/product?id=article-00000", "/progress", "/login"):
        text = ada.get(path).text
        assert not re.search(r"<style|<script(?! src=\"/static/)|\son\w+=|\sstyle=|javascript:|https?://", text), path


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(ada: Client, method: str) -> None:
    assert ada(method, "/queue").status == 405


@pytest.mark.parametrize(("method", "path"), [("GET", "/page"), ("GET", "/product/clear"), ("POST", "/queue")])
def test_an_address_that_is_used_otherwise_says_so(ada: Client, method: str, path: str) -> None:
    answer = ada(method, path, "" if method == "POST" else None)
    other = {"GET": "POST", "POST": "GET"}[method]
    assert (answer.status, answer.headers["allow"]) == (405, other)
    assert f"This address is used with {other}, not with {method}" in answer.text


def test_the_head_of_a_page_is_answered_without_it(ada: Client) -> None:
    answer = ada("HEAD", "/progress")
    assert (answer.status, answer.text, int(answer.headers["content-length"]) > 1000) == (200, "", True)


def test_a_body_that_comes_too_slowly_is_told_so(site: Site, ada: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "BODY_SECONDS", 0.2)
    answer = ada("POST", "/page", "{", content_length="2", accept="application/json", content_type="application/json")
    assert answer.status == 408
    assert "did not arrive within 20 seconds, so nothing was written" in answer.json["error"]
    assert answer.headers["connection"] == "close"


def test_a_body_of_a_gigabyte_is_not_read(site: Site, ada: Client) -> None:
    claimed = ada("POST", "/page", None, content_length=str(10**9), content_type="application/json")
    assert claimed.status == 413
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as link:
        head = (
            f"POST /page HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nCookie: {ada.cookie}\r\n"
            "Sec-Fetch-Site: same-origin\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        link.sendall(head.encode())
        block = b"40000\r\n" + b"x" * 0x40000 + b"\r\n"
        sent = 0
        try:
            while sent < 10**9:
                link.sendall(block)
                sent += 0x40000
        except OSError:  # the server has answered and closed the connection
            pass
        assert sent < 100 * LONGEST_BODY_BYTES
    assert ada.get("/queue").status == 200


def test_ten_thousand_requests_of_one_client_are_mostly_refused_and_others_are_answered(
    site: Site, ada: Client
) -> None:
    nobody = Client(site.port)
    request = f"GET /login HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n\r\n".encode()
    statuses: list[bytes] = []
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as link, link.makefile("rb") as answers:
        for _ in range(10_000 // 50):
            link.sendall(request * 50)
            for _ in range(50):
                statuses.append(answers.readline().split()[1])
                length = 0
                while (line := answers.readline().strip()) != b"":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                answers.read(length)
    assert statuses.count(b"200") == BURST
    assert statuses.count(b"429") == 10_000 - BURST
    assert nobody.get("/login").status == 429
    assert ada.get("/queue").status == 200, "who is logged in is counted alone"
    site.clock.forward(seconds=1)
    assert nobody.get("/login").status == 200

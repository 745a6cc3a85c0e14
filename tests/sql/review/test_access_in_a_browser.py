"""Who comes in, in a real browser on both databases: forms of our own pages, and what other sites try."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from jobs.review.people import People
from sql.overrides import Override, set_overrides
from sql.schema.tables import metadata
from sql.store import ProductDatabase
from tests.browser import find_chromium
from tests.review_pace import sends
from tests.review_site import BOOT, SHIRTS, TOPS, Site, like_the_demo, review_site

PASSWORD = "several words together"
EVIL = "http://evil.example"


@pytest.fixture
def site(database: ProductDatabase, tmp_path: Path) -> Iterator[Site]:
    """A server for ada on a database like the demo's."""
    like_the_demo(database, waiting=30, known=10)
    with review_site(database, tmp_path) as opened:
        yield opened


@contextmanager
def window(browser: Browser, site: Site, *, person: str = "") -> Iterator[Page]:
    """Open a browser window, with a session of a person or without one."""
    context = browser.new_context()
    if person:
        log_in(context, site, site.services.guards.sessions.start(person))
    page = context.new_page()
    page.set_default_timeout(20_000)
    try:
        yield page
    finally:
        context.close()


def log_in(context: BrowserContext, site: Site, token: str) -> None:
    """Give a browser the cookie of a session."""
    name, address = site.services.access.cookie, site.address
    context.add_cookies([{"name": name, "value": token, "url": address, "httpOnly": True, "sameSite": "Strict"}])


@pytest.fixture
def ada(browser: Browser, site: Site) -> Iterator[Page]:
    """The window of ada."""
    with window(browser, site, person="ada") as page:
        yield page


def actions(database: ProductDatabase) -> list[str]:
    """Return the action of each decision, in order."""
    table = metadata.tables["overrides"]
    with database.engine.connect() as connection:
        return list(connection.execute(sa.select(table.c.action).order_by(table.c.override_id)).scalars())


def test_a_named_person_logs_in_with_a_password_and_out(
    browser: Browser, database: ProductDatabase, tmp_path: Path
) -> None:
    like_the_demo(database, waiting=5, known=0)
    people = People(tmp_path / "people.json")
    people.add("maria", PASSWORD)
    with review_site(database, tmp_path, people=people) as site, window(browser, site) as page:
        page.goto(f"{site.address}/queue")
        page.get_by_label("Name").fill("maria")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/queue")
        expect(page.locator(".who")).to_contain_text("maria")
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url("**/login")
        page.goto(f"{site.address}/queue")
        expect(page.locator("h1")).to_have_text("Log in")


def test_a_decision_is_cleared_by_its_button(site: Site, ada: Page, database: ProductDatabase) -> None:
    set_overrides(database, [Override("article-00001", BOOT)], decided_by="ada")
    ada.goto(f"{site.address}/product?id=article-00001")
    ada.get_by_role("button", name="Clear the decision").click()
    expect(ada.locator("#notes")).to_contain_text("The decision was cleared")
    assert actions(database) == ["set", "clear"]


def test_what_was_skipped_is_shown_again_by_its_button(site: Site, ada: Page) -> None:
    ada.goto(f"{site.address}/queue?in={TOPS}")
    ada.keyboard.press("1")
    sends(ada, "Enter")
    skipped = ada.get_by_role("button", name="that you skipped")
    expect(skipped).to_be_visible()
    skipped.click()
    expect(ada.get_by_role("button", name="that you skipped")).to_have_count(0)
    ada.goto(f"{site.address}/queue?in={TOPS}")
    expect(ada.locator(".tile")).to_have_count(11)


@pytest.mark.parametrize("policy", ["no-referrer", "origin", "unsafe-url"])
def test_a_form_of_another_site_does_nothing(site: Site, ada: Page, database: ProductDatabase, policy: str) -> None:
    set_overrides(database, [Override("article-00001", BOOT)], decided_by="ada")

    def form(route: Route) -> None:
        path = urlsplit(route.request.url).path
        content = f"""<meta name="referrer" content="{policy}"><form method="post" action="{site.address}{path}">
            <input name="product_id" value="article-00001"></form><script>document.forms[0].submit()</script>"""
        route.fulfill(content_type="text/html", body=content)

    ada.route(f"{EVIL}/**", form)
    ada.goto(f"{site.address}/queue")
    for path in ("/product/clear", "/logout", "/queue/skipped", "/login"):
        with ada.expect_response(f"{site.address}{path}") as answered:
            ada.goto(f"{EVIL}{path}")
        assert answered.value.status == 403, path
    ada.goto(f"{site.address}/queue")
    expect(ada.locator(".who")).to_contain_text("ada")
    assert actions(database) == ["set"]


def test_a_foreign_host_name_shows_nothing_although_it_leads_here(browser: Browser, site: Site) -> None:
    chromium, environment = find_chromium()
    rules = ["--host-resolver-rules=MAP evil.example 127.0.0.1"]
    with browser.browser_type.launch(executable_path=chromium, args=rules, env={**os.environ, **environment}) as other:
        page = other.new_page()
        answer = page.goto(f"{EVIL}:{site.services.access.port}/queue")
        assert answer is not None
        assert answer.status == 421
        expect(page.locator("main")).to_contain_text("not known by that host name")


@pytest.mark.parametrize("token", ["x", "A" * 43])
def test_a_cookie_from_elsewhere_is_no_session(browser: Browser, site: Site, token: str) -> None:
    with window(browser, site) as page:
        log_in(page.context, site, token)
        page.goto(f"{site.address}{SHIRTS}")
        expect(page.locator("h1")).to_have_text("Not logged in")
        assert "article" not in page.content()


def test_a_cookie_of_another_server_of_the_same_host_is_no_session(
    browser: Browser, site: Site, database: ProductDatabase, tmp_path: Path
) -> None:
    with review_site(database, tmp_path) as other, window(browser, site, person="ada") as page:
        page.goto(f"{other.address}{SHIRTS}")
        expect(page.locator("h1")).to_have_text("Not logged in")
        page.goto(f"{site.address}{SHIRTS}")
        expect(page.locator(".tile").first).to_be_visible()


def test_a_page_that_the_browser_sends_twice_is_written_once(site: Site, ada: Page, database: ProductDatabase) -> None:
    ada.goto(f"{site.address}{SHIRTS}")
    with ada.expect_request("**/page") as request:
        sends(ada, "Enter")
    written = len(actions(database))
    assert written > 0
    again = "body => fetch('/page', {method: 'POST', body, headers: {'Content-Type': 'application/json'}})"
    replayed = ada.evaluate(f"{again}.then(answer => answer.status)", request.value.post_data)
    assert replayed == 200
    assert len(actions(database)) == written


@pytest.mark.parametrize("path", ["/queue", "/focus?product=article-00001", "/product?id=article-00001", "/progress"])
def test_pages_without_a_session_show_nothing(browser: Browser, site: Site, path: str) -> None:
    with window(browser, site) as page:
        page.goto(f"{site.address}{path}")
        expect(page.locator("h1")).to_have_text("Not logged in")
        assert "article" not in page.content()


def test_a_page_that_is_older_than_its_lease_is_sent_after_the_next_login(
    site: Site, ada: Page, database: ProductDatabase
) -> None:
    ada.goto(f"{site.address}/queue")
    ada.keyboard.press("1")
    site.services.guards.sessions.end(ada.context.cookies()[0]["value"])
    site.clock.forward(minutes=11)
    ada.keyboard.press("Enter")
    expect(ada.locator("#fault")).to_contain_text("Your session has ended: log in in another tab")
    with ada.context.expect_page() as opened:
        ada.evaluate("address => window.open(address)", site.announced[0])
    opened.value.wait_for_url("**/queue*")
    sends(ada, "Enter")
    assert actions(database) == ["set"]

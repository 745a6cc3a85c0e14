"""Who logs in to the review pages: passwords, waits after failed logins, and what a proxy says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest

from jobs.review.access import Access, Proxy
from jobs.review.people import People
from jobs.review.sessions import SHORT_WAIT, LoginLimit
from sql.store import ProductDatabase
from tests.review_site import Client, Clock, review_site

SECRET = "correct horse battery staple"


@pytest.fixture
def known(tmp_path: Path) -> People:
    """Maria, and a person whose name is HTML."""
    people = People(tmp_path / "people.json")
    people.add("maria", SECRET)
    people.add("<b>ada</b>", SECRET)
    return people


def test_named_people_log_in_with_their_password_and_leave(
    demo: ProductDatabase, tmp_path: Path, known: People
) -> None:
    with review_site(demo, tmp_path, people=known) as site:
        browser = Client(site.port)
        assert site.announced == []
        assert browser.get("/open?token=x").status == 303
        assert 'type="password"' in browser.get("/login").text
        wrong = browser.form("/login", name="maria", password="no")
        assert (wrong.status, "wrong" in wrong.text, browser.cookie) == (401, True, "")
        assert browser.form("/login", name="nobody", password=SECRET).status == 401
        entered = browser.form("/login", name="maria", password=SECRET)
        assert (entered.status, entered.headers["location"]) == (303, "/queue")
        assert browser.get("/queue").status == 200
        cookie = browser.cookie
        assert browser.form("/logout").status == 303
        browser.cookie = cookie
        assert browser.get("/queue").status == 303, "the session has ended, not only its cookie"


def test_a_person_whose_name_is_html_is_shown_as_text(demo: ProductDatabase, tmp_path: Path, known: People) -> None:
    with review_site(demo, tmp_path, people=known) as site:
        browser = Client(site.port)
        browser.form("/login", name="<b>ada</b>", password=SECRET)
        text = browser.get("/queue").text
        assert "&lt;b&gt;ada&lt;/b&gt;" in text
        assert "<b>ada</b>" not in text


def test_a_removed_person_is_logged_out_at_once(demo: ProductDatabase, tmp_path: Path, known: People) -> None:
    with review_site(demo, tmp_path, people=known) as site:
        browser = Client(site.port)
        browser.form("/login", name="maria", password=SECRET)
        assert browser.get("/queue").status == 200
        known.remove("maria")
        assert browser.get("/queue").status == 303


def test_a_new_password_ends_the_sessions_of_the_old_one(demo: ProductDatabase, tmp_path: Path, known: People) -> None:
    with review_site(demo, tmp_path, people=known) as site:
        browser = Client(site.port)
        browser.form("/login", name="maria", password=SECRET)
        People(known.path).add("<b>ada</b>", SECRET)
        assert browser.get("/queue").status == 200, "another person's"
        People(known.path).add("maria", SECRET)
        assert browser.get("/queue").status == 303


def test_a_person_who_was_removed_and_added_again_has_to_log_in(
    demo: ProductDatabase, tmp_path: Path, known: People
) -> None:
    with review_site(demo, tmp_path, people=known) as site:
        browser = Client(site.port)
        browser.form("/login", name="maria", password=SECRET)
        known.remove("maria")
        known.add("maria", SECRET)
        assert browser.get("/queue").status == 303


def test_failed_logins_have_to_wait_longer_each_time(demo: ProductDatabase, tmp_path: Path, known: People) -> None:
    with review_site(demo, tmp_path, people=known) as site:
        browser = Client(site.port)
        tried = [browser.form("/login", name="maria", password=f"guess {number}").status for number in range(7)]
        assert tried == [401] * 5 + [429] * 2
        refused = browser.form("/login", name="maria", password=SECRET)
        assert (refused.status, "try again in 2 seconds" in refused.text) == (429, True)
        assert browser.form("/login", name="<b>ada</b>", password=SECRET).status == 429, "this client guesses"
        site.clock.forward(seconds=3)
        assert browser.form("/login", name="maria", password=SECRET).status == 303


def guess(browser: Client, name: str, *, client: str, secret: str = "") -> int:
    """Try a wrong password, as a proxy passes it on, and return the status."""
    body = urlencode({"name": name, "password": "a guess"})
    told = {"content_type": "application/x-www-form-urlencoded", "x_forwarded_for": client, "x_secret": secret}
    return browser("POST", "/login", body, **told).status


def test_a_client_that_names_other_addresses_does_not_guess_faster(
    demo: ProductDatabase, tmp_path: Path, known: People
) -> None:
    for proxy in (None, Proxy("X-Secret", SECRET)):

        def behind(access: Access, proxy: Proxy | None = proxy) -> Access:
            return replace(access, behind=True, proxy=proxy)

        with review_site(demo, tmp_path, people=known, change=behind) as site:
            browser = Client(site.port)
            tried = [guess(browser, f"name {n}", client=f"192.0.2.{n}", secret="no") for n in range(7)]
            assert tried == [401] * 5 + [429] * 2


def test_behind_a_proxy_with_the_secret_each_client_is_counted_alone(
    demo: ProductDatabase, tmp_path: Path, known: People
) -> None:
    def behind(access: Access) -> Access:
        return replace(access, behind=True, proxy=Proxy("X-Secret", SECRET))

    with review_site(demo, tmp_path, people=known, change=behind) as site:
        browser = Client(site.port)
        tried = [guess(browser, f"name {n}", client="192.0.2.1", secret=SECRET) for n in range(6)]
        assert tried == [401] * 5 + [429]
        assert guess(browser, "somebody", client="192.0.2.2", secret=SECRET) == 401
        assert guess(browser, "somebody", client="192.0.2.1, 192.0.2.3", secret=SECRET) == 401, "the last one counts"
        tried = [guess(browser, "maria", client=f"192.0.2.{n}", secret=SECRET) for n in range(10, 17)]
        assert tried == [401] * 5 + [429] * 2, "many clients guess one person's password"
        assert browser.form("/login", name="maria", password=SECRET).status == 429
        site.clock.forward(seconds=3)
        assert browser.form("/login", name="maria", password=SECRET).status == 303


def test_nobody_can_lock_a_person_out_for_longer_than_a_minute() -> None:
    clock = Clock()
    limit = LoginLimit(clock)
    for _ in range(30):
        limit.count("name maria", failed=True)
    assert limit.try_again_seconds("name maria", longest=SHORT_WAIT) == 60
    assert limit.try_again_seconds("name maria") == 15 * 60


def test_a_proxy_s_user_header_is_believed_with_the_shared_secret_alone(demo: ProductDatabase, tmp_path: Path) -> None:
    def behind(access: Access) -> Access:
        proxy = Proxy("X-Secret", SECRET, "X-User")
        return replace(access, by="", proxy=proxy, behind=True)

    with review_site(demo, tmp_path, change=behind) as site:
        browser = Client(site.port)
        assert browser.get("/queue", x_user="maria").status == 303
        assert browser.get("/queue", x_user="maria", x_secret="guess").status == 303
        assert browser.get("/queue", x_secret=SECRET).status == 303
        assert browser.get("/queue", x_user="\t", x_secret=SECRET).status == 303
        named = browser.get("/queue", x_user="maría".encode().decode("latin-1"), x_secret=SECRET)
        assert named.status == 200
        assert "<bdi>mar" in named.text
        assert "Log out" not in named.text


def test_over_https_the_cookie_is_secure(demo: ProductDatabase, tmp_path: Path) -> None:
    origin = "https://review.shop.example"
    access = Access(frozenset({"review.shop.example"}), frozenset({origin}), origin, 443, secure=True)
    assert access.cookie_header("abc").startswith("__Host-shelfwise-443=abc; ")
    assert access.cookie_header("abc").endswith("; Secure")

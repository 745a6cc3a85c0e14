"""The review pages in a real browser, on both databases: by keyboard alone, with several people and nights at work."""

from __future__ import annotations

import time

import sqlalchemy as sa
from playwright.sync_api import Browser, Page, Route, expect

from sql.overrides import Override, set_overrides
from sql.store import ProductDatabase
from tests.review_pace import at_a_persons_pace, sends
from tests.review_site import (
    BOOT,
    PULLOVER,
    SHIRT,
    SHIRTS,
    SNEAKER,
    Answer,
    Site,
    publish,
)
from tests.sql.review.browsing import ada, browsing, decisions, press, site

__all__ = ["ada", "site"]


def waiting(database: ProductDatabase) -> int:
    """Return how many products wait for a person."""
    with database.engine.connect() as connection:
        return int(
            connection.execute(sa.text("SELECT count(*) FROM product_categories WHERE status = 'review'")).scalar_one()
        )


def test_the_whole_queue_is_decided_by_keyboard(site: Site, ada: Page, database: ProductDatabase) -> None:
    ada.goto(site.announced[0])
    ada.wait_for_url("**/queue*")
    expect(ada.locator("h1")).to_contain_text("Tops")
    press(ada, "ArrowRight", "ArrowDown", "Home")
    press(ada, "2", "1", "x")
    expect(ada.locator(".choice:visible")).to_have_text(["Shirt", "Pullover"])
    expect(ada.locator("#count")).to_contain_text("2 chosen")
    press(ada, "Shift+Digit3")
    expect(ada.locator("#count")).to_contain_text("0 still open · 1 marked")
    sends(ada, "Enter")
    for _ in range(12):
        if ada.locator(".tile").count() == 0:
            break
        group = ada.locator("[data-leaf]").count()
        press(ada, "Shift+KeyA") if group else press(ada, "x")
        sends(ada, "Enter")
    expect(ada.locator("h1")).to_have_text("Nothing waits here")
    ada.goto(f"{site.address}/focus")
    marked = int(ada.locator("nav .badge").inner_text())
    assert marked == 4, "one of the first page, and one of each category"
    for key in ("1", "u"):
        sends(ada, key)
    ada.keyboard.press("/")
    ada.keyboard.type("closed sneak")
    expect(ada.locator("#found li")).to_have_text(["Footwear > Closed > Sneaker"])
    sends(ada, "Enter")
    press(ada, "r")
    ada.keyboard.type("a boot, see the sole")
    press(ada, "Enter", "/")
    ada.keyboard.type("boo")
    expect(ada.locator("#found li")).to_have_text(["Footwear > Closed > Boot"])
    sends(ada, "Enter")
    assert waiting(database) == 0
    made = decisions(database)
    assert len(made) == 130
    assert {row["came_by"] for row in made} == {"page", "focus"}
    assert [(row["action"], row["category_id"], row["why"]) for row in made[-3:]] == [
        ("none", None, None),
        ("set", SNEAKER, None),
        ("set", BOOT, "a boot, see the sole"),
    ]


def test_a_hundred_products_are_decided_in_under_three_minutes_at_a_person_s_pace(
    site: Site, ada: Page, database: ProductDatabase
) -> None:
    waited: list[float] = []  # instead of waiting, what a person takes is added up
    started = time.monotonic()
    ada.goto(f"{site.address}/queue")
    at_a_persons_pace(ada, products=100, wait=waited.append)
    seconds = sum(waited) + time.monotonic() - started
    decided = len(decisions(database))
    assert decided >= 100
    assert seconds < 180, f"{decided} products in {seconds:.0f} s"


def test_z_takes_the_last_page_back(site: Site, ada: Page, database: ProductDatabase) -> None:
    ada.goto(f"{site.address}{SHIRTS}")
    first = ada.locator(".tile").first.get_attribute("data-product")
    press(ada, "ArrowRight", "x")
    sends(ada, "Enter")
    assert waiting(database) < 130
    sends(ada, "z")
    assert waiting(database) == 130
    assert ada.locator(".tile").first.get_attribute("data-product") == first
    expect(ada.locator('.tile[aria-pressed="true"]')).to_have_count(1)
    expect(ada.locator("#notes")).to_contain_text("Taken back: 25 decisions.")
    press(ada, "z")
    expect(ada.locator("#fault")).to_contain_text("There is nothing to take back")


def test_what_was_chosen_below_a_group_is_there_again_after_z(site: Site, ada: Page) -> None:
    ada.goto(f"{site.address}/queue")
    press(ada, "1", "x", "2", "3")
    sends(ada, "Enter")
    sends(ada, "z")
    expect(ada.locator(".choice:visible")).to_have_text(["Pullover", "Shirt", "T-shirt"])
    expect(ada.locator('.tile[aria-pressed="true"]')).to_have_count(1)
    expect(ada.locator("#count")).to_contain_text("3 chosen")


def test_a_mouse_marks_too_and_marks_outlive_a_reload(site: Site, ada: Page) -> None:
    ada.goto(f"{site.address}{SHIRTS}")
    ada.locator(".tile").nth(4).click()
    ada.locator(".tile").nth(5).click()
    ada.locator(".tile").nth(5).click()
    expect(ada.locator("#count")).to_contain_text("25 of 26 count as right · 1 marked")
    ada.reload()
    expect(ada.locator("#count")).to_contain_text("25 of 26 count as right · 1 marked")
    ada.locator("#send").click()
    ada.wait_for_url("**/queue?*apparel.tops")
    expect(ada.locator("nav .badge").first).to_have_text("1")


def test_a_click_on_a_page_of_a_group_selects_a_product(site: Site, ada: Page, database: ProductDatabase) -> None:
    ada.goto(f"{site.address}/queue")
    ada.locator(".tile").nth(2).click()
    expect(ada.locator("#count")).to_contain_text("0 chosen")
    expect(ada.locator("#count")).to_contain_text("0 marked")
    ada.get_by_role("button", name="2 Shirt").click()
    ada.locator(".tile").nth(5).click()
    ada.locator("[data-mark]").click()
    expect(ada.locator("#count")).to_contain_text("1 chosen")
    expect(ada.locator("#count")).to_contain_text("1 marked")
    names = ada.locator(".tile").evaluate_all("tiles => tiles.map(tile => tile.dataset.product)")
    press(ada, "?")
    expect(ada.locator("#keys")).to_contain_text("select a product; then click its category, or wrong")
    press(ada, "Escape")
    sends(ada, "Enter")
    assert [(row["product_id"], row["category_id"]) for row in decisions(database)] == [(names[2], SHIRT)]
    ada.goto(f"{site.address}{SHIRTS}")
    press(ada, "?")
    expect(ada.locator("#keys")).to_contain_text("a click does the same")


def test_z_warns_before_marks_of_the_open_page_are_lost(site: Site, ada: Page, database: ProductDatabase) -> None:
    ada.goto(f"{site.address}{SHIRTS}&size=24")
    sends(ada, "Enter")
    assert len(decisions(database)) == 24
    press(ada, "x", "z")
    expect(ada.locator("#fault")).to_contain_text("What you marked on this page would be lost: press z again")
    expect(ada.locator('.tile[aria-pressed="true"]')).to_have_count(1)
    assert len(decisions(database)) == 24
    sends(ada, "z")
    expect(ada.locator("#notes")).to_contain_text("Taken back: 24 decisions.")


def test_enter_never_chooses_what_was_found_for_an_earlier_text(
    site: Site, ada: Page, database: ProductDatabase
) -> None:
    def late(route: Route) -> None:
        if "sneaker" in route.request.url:
            time.sleep(0.5)
        route.continue_()

    ada.route("**/categories?*", late)
    ada.goto(f"{site.address}/focus?product=article-00002")
    press(ada, "/")
    ada.keyboard.type("boot")
    expect(ada.locator("#found li")).to_have_text(["Footwear > Closed > Boot"])
    ada.locator("#find").fill("sneaker")
    press(ada, "Enter")
    expect(ada.locator("#found li")).to_have_text(["Footwear > Closed > Sneaker"])
    assert decisions(database) == []
    sends(ada, "Enter")
    assert [row["category_id"] for row in decisions(database)] == [SNEAKER]


def test_two_browsers_at_once_leave_one_decision_a_product(
    browser: Browser, site: Site, ada: Page, database: ProductDatabase
) -> None:
    with browsing(browser, site, "maria") as maria:
        ada.goto(f"{site.address}{SHIRTS}")
        maria.goto(f"{site.address}{SHIRTS}")
        products = "tiles => tiles.map(tile => tile.dataset.product)"
        mine = ada.locator(".tile").evaluate_all(products)
        hers = maria.locator(".tile").evaluate_all(products)
        assert not set(mine) & set(hers), "a page is leased to one person"
        site.clock.forward(minutes=11)
        maria.goto(f"{site.address}{SHIRTS}")
        assert maria.locator(".tile").evaluate_all(products) == mine, "the lease is over"
        press(maria, "x")
        sends(maria, "Enter")
        sends(ada, "Enter")
        expect(ada.locator("h1")).to_have_text("Somebody was faster")
        expect(ada.locator(".tile")).to_have_count(len(mine) - 1)
        expect(ada.locator("#count")).to_contain_text(f"0 of {len(mine) - 1} count as right · {len(mine) - 1} decided")
        expect(ada.locator(".tile").first).to_contain_text("A person decided meanwhile: Apparel > Tops > Shirt.")
        sends(ada, "Enter")
    made = decisions(database)
    assert len(made) == len({row["product_id"] for row in made}) == len(mine)
    assert [row["decided_by"] for row in made].count("ada") == 1


def test_a_night_that_publishes_meanwhile_brings_back_just_what_it_changed(
    site: Site, ada: Page, database: ProductDatabase
) -> None:
    ada.goto(f"{site.address}{SHIRTS}")
    names = ada.locator(".tile").evaluate_all("tiles => tiles.map(tile => tile.dataset.product)")
    publish(
        database, [Answer(names[2], PULLOVER, 0.55, content="B"), Answer(names[3], BOOT, 0.5, content="B")], night=1
    )
    sends(ada, "Enter")
    expect(ada.locator("h1")).to_have_text("Somebody was faster")
    expect(ada.locator(".tile")).to_have_count(2)
    expect(ada.locator(".tile").first).to_contain_text("It got a new answer meanwhile.")
    assert len(decisions(database)) == len(names) - 2
    press(ada, "x")
    sends(ada, "Enter")
    last = decisions(database)[-1]
    assert (last["product_id"], last["category_id"]) == (names[3], BOOT)
    ada.goto(f"{site.address}/focus")
    expect(ada.locator(".facts")).to_contain_text(names[2])


def test_another_site_cannot_use_the_session(browser: Browser, site: Site, database: ProductDatabase) -> None:
    set_overrides(database, [Override("article-00001", BOOT)], decided_by="ada")
    evil = "http://evil.example/"
    form = f"""<form method="post" action="{site.address}/product/clear"><input name="product_id" value="article-00001">
        </form><script>document.forms[0].submit()</script>"""
    with browsing(browser, site, "ada", beside=evil) as page:
        page.route(f"{evil}**", lambda route: route.fulfill(content_type="text/html", body=form))
        page.goto(f"{site.address}/queue")
        with page.expect_response("**/product/clear") as cleared:
            page.goto(evil)
        assert cleared.value.status == 403
    assert len(decisions(database)) == 1, "nothing was cleared"


def test_a_server_that_is_away_leaves_the_marks_on_the_page(site: Site, ada: Page, database: ProductDatabase) -> None:
    answers = [
        lambda route: route.abort(),
        lambda route: route.fulfill(status=503, json={"error": "The database is away."}),
        lambda route: route.continue_(),
    ]
    # Before the page is opened: a window that begins to intercept later may let the first request pass.
    ada.route("**/page", lambda route: answers.pop(0)(route))
    ada.goto(f"{site.address}{SHIRTS}")
    press(ada, "x", "Enter")
    expect(ada.locator("#fault")).to_contain_text("What you marked is still here")
    press(ada, "Enter")
    expect(ada.locator("#fault")).to_have_text("The database is away.")
    expect(ada.locator('.tile[aria-pressed="true"]')).to_have_count(1)
    sends(ada, "Enter")
    assert len(decisions(database)) == 25


def test_an_expired_session_loses_no_mark(site: Site, ada: Page, database: ProductDatabase) -> None:
    ada.goto(f"{site.address}{SHIRTS}")
    press(ada, "x")
    site.services.guards.sessions.end(ada.context.cookies()[0]["value"])
    press(ada, "Enter")
    expect(ada.locator("#fault")).to_contain_text("Your session has ended: log in in another tab")
    with ada.context.expect_page() as opened:
        ada.evaluate("address => window.open(address)", site.announced[0])
    opened.value.wait_for_url("**/queue*")
    sends(ada, "Enter")
    assert len(decisions(database)) == 25

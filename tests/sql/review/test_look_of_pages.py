"""How the review pages look in a real browser: in wide and narrow windows, with hostile texts, without pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from sql.store import ProductDatabase
from tests.review_pace import sends
from tests.review_site import (
    SHIRT,
    SHIRTS,
    TAXONOMY,
    Answer,
    Site,
    publish,
)
from tests.sql.review.browsing import ada, browsing, decisions, press, site

__all__ = ["ada", "site"]

HOSTILE = (
    "<script>document.title = 'it ran'</script>\"><img src=x onerror=\"document.title = 'it ran'\">{{ 7919 * 6007 }}"
)

_UNNAMED = """all => all.filter(one => one.checkVisibility()
    && !(one.textContent.trim() || one.ariaLabel || one.querySelector('img[alt]:not([alt=""])') || one.labels?.length))
    .map(one => one.outerHTML)"""
"""Script that returns what can be reached and has no name for a screen reader."""

_BEYOND = """all => all.filter(one => one.checkVisibility() && !one.closest('.wide, .reader, .skip')
    && one.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(one => one.outerHTML)"""
"""Script that returns what ends beyond the right side of the window; wide tables have a scroll bar of their own."""


def test_another_picture_is_shown_where_the_first_is_gone(site: Site, ada: Page, database: ProductDatabase) -> None:
    publish(database, [Answer("two", SHIRT, 0.5), Answer("two", SHIRT, 0.5, content="B", image_no=1)], night=1)
    site.pictures.gone_large.add(("two", 0))
    ada.goto(f"{site.address}/focus?product=two")
    expect(ada.locator("#large .no-picture")).to_have_text("no picture at hand")
    ada.locator("[data-large]").nth(1).click()
    ada.wait_for_function("document.querySelector('#large img')?.naturalWidth > 0")
    assert ada.locator("#large img").get_attribute("alt") == "two"
    ada.locator("[data-large]").nth(0).click()
    expect(ada.locator("#large .no-picture")).to_have_text("no picture at hand")


def test_hostile_titles_run_nothing(site: Site, ada: Page, database: ProductDatabase) -> None:
    taxonomy = {**TAXONOMY, "zz": HOSTILE, "zz.y": f"{HOSTILE} > {HOSTILE}"}
    product_id = f"'\"/../{HOSTILE}"
    publish(database, [Answer(product_id, "zz.y", 0.5, title=HOSTILE)], night=1, taxonomy=taxonomy)
    ada.goto(f"{site.address}/queue?in=zz.y")
    expect(ada.locator(".tile")).to_contain_text("<script>document.title")
    press(ada, "x")
    sends(ada, "Enter")
    ada.goto(f"{site.address}/focus")
    expect(ada.locator("h1")).to_contain_text("<script>document.title")
    ada.keyboard.press("/")
    ada.keyboard.type("script")
    expect(ada.locator("#found li").first).to_contain_text("<script>document.title")
    ada.locator(".facts a").first.click()
    ada.wait_for_url("**/product?*")  # its heading is the same
    expect(ada.locator("h1")).to_contain_text("<script>document.title")
    ada.goto(f"{site.address}/progress")
    expect(ada.locator("main")).to_contain_text("<script>document.title")
    assert "it ran" not in ada.title()


def looked_at(page: Page, width_px: int) -> None:
    """Check a page as a picture: all of it is as wide as the window, and something is on it."""
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0, page.url
    content = np.frombuffer(page.screenshot(full_page=True), np.uint8)
    pixels = np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR))
    assert pixels.shape[1] == width_px, page.url
    colours = pixels[::2, ::2].astype(np.uint32) @ np.array([1, 2**8, 2**16], np.uint32)
    assert len(np.unique(colours)) > 20, "letters and pictures have many colours"
    beyond = page.locator("h1, h2, p, a, button, input, select, img, .note, .card").evaluate_all(_BEYOND)
    assert beyond == [], page.url


@pytest.mark.parametrize("width_px", [320, 1280])
def test_pages_fit_their_window_and_name_their_parts(
    browser: Browser, site: Site, database: ProductDatabase, width_px: int
) -> None:
    long = "An-unbroken-title-" + "x" * 300
    publish(
        database, [Answer("y" * 300, SHIRT, 0.95, title=long), Answer("z", SHIRT, 0.94, title="短袖衬衫" * 30)], night=1
    )
    with browsing(browser, site, "ada", width_px=width_px) as page:
        for path in (
            SHIRTS,
            "/queue",
            f"/focus?product={'y' * 300}",
            f"/product?id={'y' * 300}",
            "/product?q=article",
            "/progress",
            "/queue?below=footwear",
        ):
            page.goto(f"{site.address}{path}")
            looked_at(page, width_px)
            assert page.locator("main").count() == 1, path
            assert page.locator("h1").count() == 1, path
            assert page.locator("header nav[aria-label]").count() == 1, path
            assert page.locator("img:not([alt])").count() == 0, path
            unnamed = page.locator("button, a[href], input:not([type=hidden]), select").evaluate_all(_UNNAMED)
            assert unnamed == [], path
        page.context.clear_cookies()
        page.goto(f"{site.address}/login")
        assert page.locator("h1").count() == 1
        looked_at(page, width_px)


def test_the_focus_is_always_visible_and_the_keys_are_listed(site: Site, ada: Page) -> None:
    ada.goto(f"{site.address}{SHIRTS}")
    for _ in range(12):
        outline = ada.evaluate(
            "document.activeElement === document.body ? 'solid' : getComputedStyle(document.activeElement).outlineStyle"
        )
        assert outline == "solid", ada.evaluate("document.activeElement.outerHTML")
        ada.keyboard.press("Tab")
    ada.reload()
    press(ada, "?")
    expect(ada.locator("dialog[open]")).to_contain_text("take the last page back")
    press(ada, "Escape")
    expect(ada.locator("dialog[open]")).to_have_count(0)


def test_a_picture_that_was_pruned_says_so_and_the_page_works_on(
    site: Site, ada: Page, database: ProductDatabase
) -> None:
    site.pictures.gone |= {f"article-{number:05d}" for number in range(130)}
    ada.goto(f"{site.address}{SHIRTS}")
    expect(ada.locator(".tile .no-picture").first).to_have_text("no picture at hand")
    sends(ada, "Enter")
    assert len(decisions(database)) == 26

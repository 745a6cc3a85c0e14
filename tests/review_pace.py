"""Decide a hundred products that wait on the review pages, at a person's pace, in a real browser.

    shelfwise review serve
    python -m tests.review_pace 'http://127.0.0.1:8484/open?token=...'

Takes the address that the server printed. Prints how many products were decided, and in how many seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from playwright.sync_api import Page

from tests.browser import open_browser

LOOK_AT_PRODUCT_SECONDS = 0.7
"""For one product of a group: to see which of few categories it is, and to press its key."""

LOOK_AT_TILE_SECONDS = 0.25
"""For one product of a page whose category is named: to see whether it is wrong."""

MARK_SECONDS = 0.8
"""To move to a product and to mark it."""

LOOK_AT_FOCUS_SECONDS = 2.0
"""For a product that is looked at alone."""


def sends(page: Page, key: str) -> None:
    """Press a key that sends the page, and wait until the next one is open."""
    before = page.evaluate("performance.timeOrigin")
    page.keyboard.press(key)
    page.wait_for_function(
        "before => performance.timeOrigin !== before && document.readyState === 'complete'", arg=before
    )


def at_a_persons_pace(page: Page, *, products: int, wait: Callable[[float], object]) -> int:
    """Decide products, page after page: categories by key, one mark a page, and what is marked in Focus.

    Args:
        page: The queue.
        products: Fewest products to decide.
        wait: Is called with the seconds that a person would take.

    Returns:
        Number of products decided; planted ones are among them.
    """
    decided = 0
    while decided < products and (tiles := page.locator(".tile").count()):
        groups = page.locator("[data-leaf]:not([data-leaf=''])").count()
        if groups:
            for number in range(tiles):
                wait(LOOK_AT_PRODUCT_SECONDS)
                page.keyboard.press(str(1 + number % min(groups, 9)))
        else:
            wait(tiles * LOOK_AT_TILE_SECONDS)
        if not groups and tiles > 1:
            wait(MARK_SECONDS)
            page.keyboard.press("ArrowRight")
            page.keyboard.press("x")
        sends(page, "Enter")
        decided += tiles - (not groups and tiles > 1)
    if page.locator("nav .badge").count():
        page.keyboard.press("f") if page.locator(".tile").count() else page.goto(page.url.split("/queue")[0] + "/focus")
        page.wait_for_url("**/focus")
    while page.locator("[data-choose]").count():
        wait(LOOK_AT_FOCUS_SECONDS)
        decided += 1
        sends(page, "1")
        if not page.url.endswith("/focus"):
            break
    return decided


def main(address: str) -> None:
    """Decide a hundred products, and print how long it took."""
    with open_browser() as browser, browser.new_page() as page:
        page.goto(address)
        page.wait_for_url("**/queue*")
        page.wait_for_load_state()
        started = time.monotonic()
        decided = at_a_persons_pace(page, products=100, wait=time.sleep)
        print(f"{decided} products in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1])

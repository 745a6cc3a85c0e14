"""Windows of a real browser on the review pages, for tests on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page

from sql.schema.tables import metadata
from sql.store import ProductDatabase
from tests.review_site import (
    Site,
    like_the_demo,
    review_site,
)


@pytest.fixture
def site(database: ProductDatabase, tmp_path: Path) -> Iterator[Site]:
    """A server on a database like the demo's."""
    like_the_demo(database)
    with review_site(database, tmp_path) as opened:
        yield opened


@contextmanager
def browsing(browser: Browser, site: Site, person: str, *, width_px: int = 1280, beside: str = "") -> Iterator[Page]:
    """Open a browser window in which a person is logged in; errors of its script fail.

    So do requests to other addresses than the server's, and the one that is named as `beside`.
    """
    ours = (site.address, beside or site.address)
    context = browser.new_context(viewport={"width": width_px, "height": 900})
    context.add_cookies(
        [
            {
                "name": site.services.access.cookie,
                "value": site.services.guards.sessions.start(person),
                "url": site.address,
                "httpOnly": True,
                "sameSite": "Strict",
            }
        ]
    )
    page = context.new_page()
    page.set_default_timeout(20_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: faults.append(request.url) if not request.url.startswith(ours) else None)
    page.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
    try:
        yield page
    finally:
        context.close()
    assert faults == []


@pytest.fixture
def ada(browser: Browser, site: Site) -> Iterator[Page]:
    """The window of ada."""
    with browsing(browser, site, "ada") as page:
        yield page


def decisions(database: ProductDatabase) -> list[dict[str, object]]:
    """Return all decisions, in order."""
    table = metadata.tables["overrides"]
    with database.engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.select(table).order_by(table.c.override_id)).mappings()]


def press(page: Page, *keys: str) -> None:
    """Press keys, one after another."""
    for key in keys:
        page.keyboard.press(key)

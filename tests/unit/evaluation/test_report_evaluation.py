"""The page of an evaluation in a browser: it shares the report's style and is held to the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from jobs.evaluation.config import EvaluateConfig
from jobs.evaluation.evaluate import run
from jobs.evaluation.page import write
from jobs.storage.places import Places
from models.release import Release
from tests.browser import NARROW_PX, WIDE_PX, Sight, open_page
from tests.labelled import BLUE, COLOURS, GREEN, RED, ColourPredictor, write_labelled
from tests.report_nights import HOSTILE


def load(directory: Path) -> tuple[ColourPredictor, Release, float]:
    return ColourPredictor(), replace(COLOURS, release_id=directory.name), 0.0


@pytest.mark.parametrize("releases", [("one",), ("one", "two")])
def test_the_page_of_an_evaluation_has_no_errors_in_the_browser(
    tmp_path: Path, browser: Browser, releases: tuple[str, ...]
) -> None:
    places = Places(tmp_path / "home")
    products: list[tuple[str, str | None, list[int]]] = [
        ("p1", RED, [0]),
        ("p2", GREEN, [1]),
        ("p3", BLUE, [1]),
        (HOSTILE, BLUE, [0]),
    ]
    write_labelled(places, products)
    document, measured, release = run([Path(name) for name in releases], EvaluateConfig(places), load)
    _, page = write(tmp_path / "out", document, measured, release, places)
    for width_px, dark in ((WIDE_PX, False), (NARROW_PX, False), (WIDE_PX, True)):
        with open_page(browser, page.as_uri(), width_px=width_px, dark=dark) as (shown, seen):
            assert seen == Sight(), (width_px, dark)
            text = shown.locator("body").inner_text()
            heads = shown.evaluate(
                "[...document.querySelectorAll('table:not(.confusion) th')].map(one => one.offsetHeight)"
            )
            assert max(heads) < 150, "a table's head is broken letter by letter"
            assert shown.locator(".products img").count() == 2
            assert shown.locator("svg").count() == 4
            assert HOSTILE[:40] in text
            assert ("McNemar" in text) == (len(releases) == 2)
            assert shown.locator("h1").inner_text() == " against ".join(releases)
            if len(releases) == 2:
                assert text.index("McNemar") < text.index("one in detail") < text.index("Right at first answer")

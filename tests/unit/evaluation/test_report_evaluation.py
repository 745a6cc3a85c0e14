"""The page of an evaluation in a browser: it shares the report's style and is held to the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import pytest
from playwright.sync_api import Browser

from jobs.evaluation.config import EvaluateConfig
from jobs.evaluation.evaluate import run
from jobs.evaluation.page import write
from jobs.storage.places import Places
from models.answers.promises import CURVE, CURVE_TARGETS, CategoryPromise
from models.release import Release
from tests.browser import NARROW_PX, WIDE_PX, Sight, open_page
from tests.labelled import BLUE, COLOURS, GREEN, RED, ColourPredictor, write_labelled
from tests.report_nights import HOSTILE


def load(directory: Path) -> tuple[ColourPredictor, Release, None]:
    return ColourPredictor(), replace(COLOURS, release_id=directory.name), None


def test_the_page_shows_the_promises_and_the_curve(tmp_path: Path, browser: Browser) -> None:
    places = Places(tmp_path / "home")
    write_labelled(places, [("p1", RED, [0]), ("p2", GREEN, [1]), ("p3", BLUE, [1]), ("p4", BLUE, [0])])
    curve = [
        {"target_precision": target, "category": 1.6 - target, "catalog": 1.7 - target} for target in CURVE_TARGETS
    ]
    release = replace(
        COLOURS,
        thresholds={RED: None, GREEN: 0.4, BLUE: 0.4},
        promises={
            RED: CategoryPromise("closed", examples=2_000, reason="own"),
            GREEN: CategoryPromise("pool", "cold", examples=40, above=40, right=39),
            BLUE: CategoryPromise("pool", "cold", examples=30, above=25, right=25),
        },
        training={"target_precision": 0.95, CURVE: curve},
    )
    document, measured, _ = run([Path("one")], EvaluateConfig(places), lambda place: (ColourPredictor(), release, None))
    written, page = write(tmp_path / "out", document, measured, release, places)
    assert json.loads(written.read_text(encoding="utf-8"))["promises"] == document["promises"]
    pooled = (
        "0.95 on average over these 2 categories below cold, in the shares seen in calibration "
        "(64 of 65 calibrating answers were right)"
    )
    for width_px in (WIDE_PX, NARROW_PX):
        with open_page(browser, page.as_uri(), width_px=width_px) as (shown, seen):
            assert seen == Sight(), width_px
            rows = shown.locator("h2:text-is('What is promised') ~ .wide").first.locator("tbody tr").all()
            assert [row.locator("td").all_inner_texts() for row in rows] == [
                [RED, "never", ANY, "0", ""],
                [GREEN, "0.4000", pooled, "2", "0.5000"],
                [BLUE, "0.4000", pooled, "0", ""],
            ]
            rows = shown.locator("table", has_text="--target-precision").locator("tbody tr").all()
            assert [row.locator("td").all_inner_texts() for row in rows][4] == [
                "0.95 (this release)",
                "0.6500",
                "0.7500",
            ]
            assert len(rows) == len(CURVE_TARGETS)
            chart = shown.locator("svg[aria-label='share published over target precision']")
            assert chart.locator("circle[r='3']").count() == 2 * len(CURVE_TARGETS)


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

"""The report of a run as a person sees it: in a browser, wide, narrow and in the dark, whatever a catalog says."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from jobs.report.facts import load_facts
from jobs.report.gallery import build_gallery
from jobs.report.job import write
from jobs.report.page import inside, render
from jobs.storage.places import Places
from sql.store import open_database
from tests.browser import NARROW_PX, WIDE_PX, Sight, open_page
from tests.report_nights import FIRST_NIGHT, HOSTILE, Answer, Nights
from tests.sql.runs import fail

PATHS = {
    "apparel.tops.shirt": "Apparel > Tops > Shirt",
    "apparel.tops.pullover": "Apparel > Tops > Pullover",
    "footwear.sneaker": "Footwear > Sneaker",
}
SHIRT, PULLOVER, SNEAKER = PATHS


def nights_in(directory: Path, paths: dict[str, str] = PATHS) -> Nights:
    database = open_database(f"sqlite:///{directory}/shelfwise.db")
    database.upgrade()
    return Nights(database, Places(directory / "home"), paths)


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    """A first night of a hundred products."""
    made = nights_in(tmp_path)
    made.night([Answer(f"p{n:03d}", (SHIRT, PULLOVER, SNEAKER)[n % 3], 0.8 + n / 1000) for n in range(100)])
    return made


def page_of(nights: Nights, run_id: str) -> Path:
    return Path(write(nights.database, nights.places, run_id)["report"])


def looked_at(browser: Browser, page: Path) -> str:
    """Look at a page in every way; return its text."""
    text = ""
    for width_px, dark in ((WIDE_PX, False), (NARROW_PX, False), (WIDE_PX, True)):
        with open_page(browser, page.as_uri(), width_px=width_px, dark=dark) as (shown, seen):
            assert seen == Sight(), (width_px, dark)
            assert shown.locator("img:not([alt]), img[alt='']").count() == 0
            assert [heading.inner_text() for heading in shown.locator("h1").all()] != [""]
            levels = shown.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(one => +one.tagName[1])")
            assert levels[0] == 1
            assert all(after - before <= 1 for before, after in pairwise(levels))
            assert (
                shown.evaluate("document.scripts.length + document.querySelectorAll('iframe,object,embed').length") == 0
            )
            text = shown.locator("body").inner_text()
    return text


def test_a_good_night_says_so_first_and_shows_its_products(nights: Nights, browser: Browser) -> None:
    doubts = [Answer(f"p{n:03d}", SHIRT, 0.4 + n / 100, "review", title=f"Shirt {n}") for n in (3, 6)]
    run_id = nights.night([Answer("new-1", SNEAKER, 0.97), Answer("p001", SHIRT, 0.9), *doubts], number=1)
    page = page_of(nights, run_id)
    text = looked_at(browser, page)
    assert "A good night" in text[:200]
    assert "2 of 4 products were tagged without a person (50%); 2 wait for one." in text[:400]
    assert "shelfwise review accept p003 --by NAME" in text
    assert "Nothing." not in text
    with open_page(browser, page.as_uri()) as (shown, _):
        assert shown.locator("#moved ~ .products li").count() == 1
        assert shown.locator("#moved ~ .products .was").inner_text() == "Pullover"
        assert shown.locator("#moved ~ .products strong").inner_text() == "Shirt"
        assert [one.get_attribute("alt") for one in shown.locator("#uncertain ~ .products img").all()] == [
            "Shirt 3",
            "Shirt 6",
        ]
        assert shown.locator(".categories li").count() == 2
        assert shown.locator(".categories img").count() == 4


def links_of(source: str) -> list[str]:
    """Return what a page's elements would fetch or lead to."""
    links: list[str] = []

    class Elements(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            links.extend(value or "" for name, value in attrs if name in ("src", "srcset", "href", "action", "data"))

    Elements().feed(source)
    return links


@pytest.mark.parametrize("place", ["product_id", "title", "path", "rejection", "error"])
def test_text_from_a_catalog_is_escaped(tmp_path: Path, browser: Browser, place: str) -> None:
    says = {"product_id": "p", "title": "t", "path": "A > B", "rejection": "d", "error": "e", place: HOSTILE}
    nights = nights_in(tmp_path, {SHIRT: says["path"], SNEAKER: "C > D"})
    nights.night([Answer(says["product_id"], SNEAKER)])
    run_id = nights.night(
        [Answer(says["product_id"], SHIRT, 0.5, "review", title=says["title"])],
        number=1,
        rejections=[(says["product_id"] + "r", "truncated", says["rejection"])],
    )
    if place == "error":
        run_id = nights.run_of(2).run_id
        fail(nights.database, nights.run_of(2), says["error"])
    page = page_of(nights, run_id)
    text = looked_at(browser, page)
    if place == "title":
        with open_page(browser, page.as_uri()) as (shown, _):
            text = " ".join(one.get_attribute("alt") or "" for one in shown.locator("img").all())
    assert HOSTILE[:40] in text
    source = page.read_text(encoding="utf-8")
    assert "<script" not in source
    assert [link for link in links_of(source) if re.match(r"\s*(https?:)?//", link)] == []
    assert f"{7919 * 6007}" not in text, "a catalog's text was taken for a template"


def test_a_night_with_rejections_and_shifts_needs_a_look(nights: Nights, browser: Browser) -> None:
    answers = [Answer(f"q{n:03d}", SNEAKER, 0.7) for n in range(60)]
    rejections = [(f"x{n}", "missing" if n % 3 else "truncated", "there is no such file") for n in range(9)]
    run_id = nights.night(answers, number=1, rejections=rejections)
    text = looked_at(browser, page_of(nights, run_id))
    assert "Published, but this night needs a look" in text[:200]
    assert "9 of 69 new images (13%) could not be used." in text
    assert "“Footwear > Sneaker” has 100% of the images; in the nights before it had 33%." in text
    assert "less certain than before: mean confidence 0.70 instead of 0.85" in text
    assert "--param reference_run_id=nightly-2026-11-01" in text


def test_nights_without_images_failed_unfinished_and_backfills(nights: Nights, browser: Browser) -> None:
    assert "A quiet night" in looked_at(browser, page_of(nights, nights.night([], number=1)))
    fail(nights.database, nights.run_of(2), "RunFailed: 9 of 10 new images (90%) were rejected")
    failed = looked_at(browser, page_of(nights, nights.run_of(2).run_id))
    assert "The night failed" in failed[:200]
    assert "9 of 10 new images (90%) were rejected" in failed
    assert "shelfwise nightly --catalog CATALOG --run-date 2026-11-03" in failed
    nights.database.claim(replace(nights.run_of(3), finished_at_utc=None))
    assert "The night is not finished" in looked_at(browser, page_of(nights, nights.run_of(3).run_id))[:200]
    backfill = nights.night([Answer("p001", SHIRT, 0.95)], number=4, kind="backfill")
    assert "A good backfill" in looked_at(browser, page_of(nights, backfill))[:200]


def test_images_that_are_gone_or_broken_leave_a_page_that_says_so(nights: Nights, browser: Browser) -> None:
    answers = [Answer(f"b{n}", SHIRT, 0.5, "review", jpeg=b"no picture" if n else None) for n in range(3)]
    run_id = nights.night(answers, number=1)
    done = write(nights.database, nights.places, run_id)
    assert done["pictures"] == 1
    assert "no picture at hand" in looked_at(browser, Path(done["report"]))
    (shard,) = nights.places.partition(nights.places.images, FIRST_NIGHT).glob("part-*.parquet")
    shard.write_bytes(shard.read_bytes()[:-100])
    done = write(nights.database, nights.places, "nightly-2026-11-01")
    assert (done["pictures"], list(done["pictures_missing"])) == (0, [f"ingest_date={FIRST_NIGHT}/{shard.name}"])
    page = looked_at(browser, Path(done["report"]))
    assert "Pictures are missing, because these files could not be read" in page
    assert shard.name in page
    shutil.rmtree(nights.places.local_home / "images")
    done = write(nights.database, nights.places, run_id)
    assert done["pictures"] == 0
    assert "no longer in the dataset" in looked_at(browser, Path(done["report"]))


def test_a_report_without_categories_did_not_say_that_a_store_was_away(nights: Nights) -> None:
    facts = load_facts(nights.database, "nightly-2026-11-01")
    gallery = build_gallery(nights.database, nights.places, facts)
    reasons = {f"ingest_date={FIRST_NIGHT}/part-{number}.parquet": "no route to host" for number in range(7)}

    def text(*, away: bool) -> str:
        search = replace(gallery.search, unreadable=reasons, away=away)
        page = render(facts, replace(gallery, shares=[], search=search), made_at_utc=datetime.now(UTC))
        return " ".join(re.sub(r"<[^>]+>", "", page).split())

    assert "part-4.parquet (no route to host) and 2 more." in text(away=False)
    assert "did not answer" not in text(away=False)
    assert "and 2 more. Their store did not answer, so no further file was tried." in text(away=True)


def test_thousands_of_categories_and_endless_texts_stay_under_three_megabytes(tmp_path: Path, browser: Browser) -> None:
    import cv2

    paths = {f"c{n:04d}": f"Group {n % 50} > {'Very long ' * 200}{n}" for n in range(3000)}
    nights = nights_in(tmp_path, paths)
    coarse = np.random.default_rng(5).integers(0, 256, (144, 144, 3), np.uint8)
    noise = cv2.resize(coarse, (320, 320), interpolation=cv2.INTER_NEAREST)
    heavy = bytes(cv2.imencode(".jpg", noise)[1].tobytes())
    answers = [
        Answer(
            f"{n:05d}{'x' * 2000}",
            f"c{n % (40 if n < 400 else 3000):04d}",
            n / 9000,
            "review",
            title="T" * 100_000 if n < 30 else "",
        )
        for n in range(6000)
    ]
    few = [replace(answer, jpeg=heavy) for answer in answers[:400]]
    nights.store(few, FIRST_NIGHT)
    nights.night([replace(answer, category_id="c0000") for answer in answers], images=False)
    nights.store(few, nights.run_of(1).run_date)
    run_id = nights.night(answers, number=1, images=False, rejections=[("r" * 9000, "corrupt", "d" * 100_000)])
    done = write(nights.database, nights.places, run_id)
    assert 1_500_000 < done["report_bytes"] < 3_000_000
    assert done["pictures"] > 100
    text = looked_at(browser, Path(done["report"]))
    assert "2,960 more are in" in text


def test_the_page_says_what_computed_the_run_also_if_nothing_was_left_to_compute() -> None:
    how = {"precisions": ["float32"], "engines": ["openvino"], "devices": ["CPU, new"]}
    now = {"predicting_seconds": 2.0, "images_per_second": 40.0, **how}
    assert inside(now).startswith(
        "40.0 images a second, in float32 by OpenVINO on CPU, new. Inside the networks' tasks"
    )
    before = {"predicting_seconds": 0.0, "images_per_second": 0.0, "shards_skipped": 3, **how}
    assert inside(before) == "All images were predicted before this attempt, in float32 by OpenVINO on CPU, new."
    former = {"predicting_seconds": 2.0, "images_per_second": 40.0, "precisions": ["float32"], "devices": ["CPU"]}
    assert inside(former).startswith("40.0 images a second, in float32 on CPU. ")
    assert inside({}) == inside({"shards_skipped": 3}) == ""

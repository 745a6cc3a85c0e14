"""`shelfwise report` after real nights."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser import Sight, open_page
from tests.conftest import SmallShop
from tests.end_to_end.conftest import Shelfwise

pytestmark = pytest.mark.usefixtures("one_spark")

NIGHT_1, NIGHT_2 = "2026-11-01", "2026-11-02"


def test_a_night_s_report_and_that_of_one_that_failed(
    shelfwise: Shelfwise, shop: SmallShop, home: Path, tmp_path: Path, browser: Browser
) -> None:
    early = shelfwise("report", "--run-id", "nightly-2026-11-01")
    assert (early.code, "there is no run at all yet" in early.err) == (2, True)

    shop.add_many([f"p{number}" for number in range(20)])
    (shop.directory / "broken.jpg").write_text("<html>", encoding="utf-8")
    shop.rows |= {(f"broken-{number}", 0): "broken.jpg" for number in range(3)}
    shelfwise.night(shop.catalog, NIGHT_1)
    done = shelfwise("report", "--run-id", f"nightly-{NIGHT_1}", "--json")
    assert done.code == 0, done.err
    assert (done.json["images"], done.json["rejected_by_reason"]) == (20, {"not_an_image": 3})
    assert done.json["counts"]["first_answered"] == 20
    assert done.json["report"] == str(home / "reports" / f"nightly-{NIGHT_1}.html")
    with open_page(browser, Path(done.json["report"]).as_uri()) as (page, seen):
        assert seen == Sight()
        assert "23 in the catalog" in page.locator("body").inner_text()
        assert page.locator("img").count() >= 8

    shop.rows |= {(f"more-{number}", 0): "broken.jpg" for number in range(3)}
    assert shelfwise("nightly", "--catalog", shop.catalog, "--run-date", NIGHT_2).code == 1
    failed = shelfwise("report", "--run-id", f"nightly-{NIGHT_2}", "--output", tmp_path / "one" / "page.html")
    assert "headline: The night failed" in failed.out
    assert f"report: {tmp_path}/one/page.html" in failed.out
    text = (tmp_path / "one" / "page.html").read_text(encoding="utf-8")
    assert "that --max-rejected allows: 3 not_an_image" in text
    assert f"shelfwise runs resume nightly-{NIGHT_2}" in text

    wrong = shelfwise("report", "--run-id", "nightly-2026-01-01")
    assert (wrong.code, wrong.out) == (2, "")
    assert f"the latest are nightly-{NIGHT_2}, nightly-{NIGHT_1}" in wrong.err

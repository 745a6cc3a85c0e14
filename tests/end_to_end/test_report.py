"""`shelfwise report` after real nights."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser

from tests.browser import Sight, open_page
from tests.conftest import SmallShop
from tests.end_to_end.conftest import Shelfwise

NIGHT_1, NIGHT_2 = "2026-11-01", "2026-11-02"


def test_a_night_s_report(shelfwise: Shelfwise, shop: SmallShop, home: Path, tmp_path: Path, browser: Browser) -> None:
    shop.add_many([f"p{number}" for number in range(12)])
    assert shelfwise("nightly", "--catalog", shop.catalog, "--run-date", NIGHT_1).code == 0
    shop.add("p3", seed=77)
    (shop.directory / "broken.jpg").write_text("<html>", encoding="utf-8")
    for number in range(3):
        shop.rows[f"broken-{number}", 0] = "broken.jpg"
    shop.add_many([f"q{number}" for number in range(20)])
    assert shelfwise("nightly", "--catalog", shop.catalog, "--run-date", NIGHT_2).code == 0
    done = shelfwise("report", "--run-id", f"nightly-{NIGHT_2}", "--json")
    assert done.code == 0, done.err
    assert (done.json["images"], done.json["rejected_by_reason"]) == (21, {"not_an_image": 3})
    assert done.json["counts"]["first_answered"] == 20
    assert done.json["report"] == str(home / "reports" / f"nightly-{NIGHT_2}.html")
    with open_page(browser, Path(done.json["report"]).as_uri()) as (page, seen):
        assert seen == Sight()
        assert "35 in the catalog, 11 unchanged" in page.locator("body").inner_text()
        assert page.locator("img").count() >= 10
    shown = shelfwise("report", "--run-id", f"nightly-{NIGHT_1}", "--output", tmp_path / "one" / "page.html")
    assert f"report: {tmp_path}/one/page.html" in shown.out
    assert "headline: A good night" in shown.out


def test_a_failed_night_and_a_wrong_call(shelfwise: Shelfwise, shop: SmallShop, home: Path) -> None:
    early = shelfwise("report", "--run-id", "nightly-2026-11-01")
    assert (early.code, "there is no run at all yet" in early.err) == (2, True)
    shop.add("a")
    (shop.directory / "broken.jpg").write_text("<html>", encoding="utf-8")
    shop.rows["b", 0] = "broken.jpg"
    assert shelfwise("nightly", "--catalog", shop.catalog, "--run-date", NIGHT_1).code == 1
    done = shelfwise("report", "--run-id", f"nightly-{NIGHT_1}", "--json").json
    assert (done["verdict"], "--max-rejected" in done["error"]) == ("failed", True)
    assert "The night failed" in Path(done["report"]).read_text(encoding="utf-8")
    wrong = shelfwise("report", "--run-id", "nightly-2026-01-01")
    assert (wrong.code, wrong.out) == (2, "")
    assert f"the latest are nightly-{NIGHT_1}" in wrong.err
    assert [path.name for path in (home / "reports").iterdir()] == [f"nightly-{NIGHT_1}.html"]

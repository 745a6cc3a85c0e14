"""Pictures unlike those that the release in use knows, through whole runs with the shipped release."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from models.release import SHIPPED, load_release
from tests.conftest import SmallShop
from tests.end_to_end.conftest import Shelfwise, ask, dump

pytestmark = pytest.mark.usefixtures("one_spark")

DAY = "2026-11-01"
STATUSES = "SELECT status, review_reason, count(*) FROM product_categories GROUP BY 1, 2 ORDER BY 1, 2"


@pytest.fixture
def with_the_shipped_release(monkeypatch: pytest.MonkeyPatch, shelfwise: Shelfwise) -> None:
    """Predict by the release of the clone, which knows articles on black."""
    monkeypatch.delenv("SHELFWISE_RELEASE_DIR")


@pytest.mark.usefixtures("with_the_shipped_release")
def test_nothing_of_a_foreign_night_is_published_without_a_person(
    shelfwise: Shelfwise, shop: SmallShop, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Coloured patterns are no articles on black: not one may be tagged, whatever the confidence."""
    shop.add_many([f"p{number:02d}" for number in range(40)])
    shop.add("p00", image_no=1)
    done = shelfwise("nightly", "--catalog", shop.catalog, "--run-date", DAY, "--json")
    assert done.code == 0, done.err
    release_id = load_release(SHIPPED).release_id
    gates = json.loads(done.out)["gates"]
    assert (gates["state"], gates["images"], gates["foreign"], gates["not_computed"]) == ("computed", 41, 41, 0)
    assert gates["sentence"].startswith(f"these images are unlike those that release {release_id} was calibrated on")
    assert "(41 of 41 beyond its limit); fine-tune on your own, or pass --allow-shift" in caplog.text
    assert {(status, reason) for status, reason, _ in ask(home, STATUSES)} <= {
        ("review", "foreign_night"),
        ("unknown", "foreign_night"),
    }
    without = "SELECT count(*) FROM category_predictions WHERE picture_at IS NULL"
    assert ask(home, without) == [(0,)], "each picture is found on the pages where people decide"
    (least,) = ask(home, "SELECT min(foreign_score) FROM category_predictions")
    assert least[0] > 1

    before = dump(home)
    shelfwise.night(shop.catalog, DAY)
    assert dump(home) == before, "the same night again changes no row"

    refused = shelfwise("backfill", "--from", DAY, "--to", DAY)
    assert refused.code == 1
    assert "nothing of run" in refused.err
    assert "pass --allow-shift" in refused.err
    assert {reason for _, reason, _ in ask(home, STATUSES)} == {"foreign_night"}

    assert shelfwise("report", "--run-id", f"nightly-{DAY}").code == 0
    (page,) = (home / "reports").glob("*.html")
    assert "unlike those that release" in page.read_text(encoding="utf-8")

    allowed = shelfwise.night(shop.catalog, DAY, "--allow-shift")
    assert allowed["gates"]["allow_shift"]
    assert {reason for _, reason, _ in ask(home, STATUSES)} == {"foreign_image"}, "each image is still foreign"
    assert shelfwise("backfill", "--from", DAY, "--to", DAY, "--allow-shift").code == 0


def test_a_release_without_a_description_says_that_its_gate_is_open(
    shelfwise: Shelfwise, shop: SmallShop, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    shop.add_many(["a", "b"])
    done = shelfwise("nightly", "--catalog", shop.catalog, "--run-date", DAY, "--json")
    assert json.loads(done.out)["gates"]["state"] == "open"
    assert re.search(r"`shelfwise release calibrate \S+ --release-id NEW` makes a release that has one", caplog.text)
    assert ask(home, "SELECT DISTINCT foreign_score FROM category_predictions") == [(None,)]
    assert "every image for one that it knows" in shelfwise("release", "show").out


def test_a_picture_that_says_no_image_waits_until_a_person_allows_it(
    shelfwise: Shelfwise, shop: SmallShop, home: Path
) -> None:
    """The same file under 25 products with titles of their own; the two others are not held back."""
    for number in range(25):
        shop.add(f"p{number:02d}", seed=1)
        shop.titles[f"p{number:02d}"] = f"thing number {number} in our shop"
    shop.titles |= {"a": "one more", "b": "and another"}
    shop.add_many(["a", "b"])
    shelfwise.night(shop.catalog, DAY)
    held = "SELECT DISTINCT product_id FROM category_predictions WHERE held_by = 'shared_picture' ORDER BY 1"
    assert [name for (name,) in ask(home, held)] == [f"p{number:02d}" for number in range(25)]
    (sha,) = ask(home, "SELECT DISTINCT image_sha256 FROM category_predictions WHERE product_id = 'p00'")
    answer = ask(home, "SELECT status, review_reason FROM product_categories WHERE product_id = 'p00'")
    assert answer in ([("review", "shared_picture")], [("unknown", "shared_picture")])
    done = shelfwise("review", "allow-picture", sha[0], "--by", "ada")
    assert done.code == 0, done.err
    assert ask(home, held) == []
    shelfwise.night(shop.catalog, DAY)
    assert ask(home, held) == [], "the night again holds nothing back that a person allowed"

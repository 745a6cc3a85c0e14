"""Backfills of a part of the catalog: a category, or what a release has not answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import SmallShop, make_release
from tests.end_to_end.conftest import Shelfwise, ask, dump

pytestmark = pytest.mark.usefixtures("one_spark")

NIGHT_1, NIGHT_2 = "2026-11-01", "2026-11-02"
OVER_BOTH = ("backfill", "--from", NIGHT_1, "--to", NIGHT_2, "--json")


def test_a_backfill_of_a_part(shelfwise: Shelfwise, shop: SmallShop, home: Path, tmp_path: Path) -> None:
    newer = make_release(tmp_path / "newer", architectures={"efficientnetb0": 32}, release_id="tiny-2")
    shop.add_many([f"p{number}" for number in range(6)])
    shelfwise.night(shop.catalog, NIGHT_1)
    shop.add_many(["late-1", "late-2"])
    shelfwise.night(shop.catalog, NIGHT_2)
    for product_id in ("p1", "late-1"):
        done = shelfwise("override", "set", product_id, "footwear.closed.sneaker", "--by", "a test")
        assert done.code == 0, done.err

    within = (*OVER_BOTH, "--category", "footwear", "--release", newer)
    sneakers = ask(home, "SELECT product_id FROM product_categories WHERE category_id LIKE 'footwear%' ORDER BY 1")
    plan = shelfwise(*within, "--dry-run").json
    assert plan["images_to_predict"] == len(sneakers)
    assert plan["estimated_seconds"] is None, "this release has never run"
    done = shelfwise(*within)
    assert done.code == 0, done.err
    assert done.json["run_id"] == f"backfill-{NIGHT_1}-{NIGHT_2}-tiny-2-footwear"
    assert done.json["predict"]["images"] == len(sneakers)
    by_newer = "SELECT product_id FROM category_predictions WHERE release_id = 'tiny-2' ORDER BY 1"
    assert ask(home, by_newer) == sneakers
    again = (*OVER_BOTH, "--category", "footwear", "--release", plan["release"])
    assert shelfwise(*again, "--dry-run").json["images_to_predict"] == 0

    missing = (*OVER_BOTH, "--only-missing", "--release", newer)
    plan = shelfwise(*missing, "--dry-run").json
    assert plan["images_to_predict"] == 8 - len(sneakers)
    assert plan["estimated_seconds"] > 0
    assert set(plan["images_by_date"]) <= {NIGHT_1, NIGHT_2}
    assert shelfwise(*missing).json["predict"]["images"] == 8 - len(sneakers)
    assert len(ask(home, by_newer)) == 8
    before = dump(home)
    nothing_left = shelfwise(*missing)
    assert nothing_left.code == 0, nothing_left.err
    assert nothing_left.json["predict"]["images"] == 0
    assert dump(home) == before, "asking for what is missing again changes no row"


def test_a_photo_replaced_on_the_same_date_answers_and_is_not_missing(
    shelfwise: Shelfwise, shop: SmallShop, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whichever content has the smaller hash: half of these eight products kept their old answer."""
    names = [f"p{number}" for number in range(8)]
    night = ("nightly", "--run-date", NIGHT_1, "--catalog")
    shop.add_many(names)
    assert shelfwise(*night, shop.catalog).code == 0
    for seed, name in enumerate(names):
        shop.add(name, seed=seed)
    assert shelfwise(*night, shop.catalog).code == 0
    answers = "SELECT product_id, category_id, confidence, image_count FROM product_categories ORDER BY 1"
    left = ask(home, answers)
    plan = shelfwise("backfill", "--from", NIGHT_1, "--to", NIGHT_1, "--only-missing", "--dry-run", "--json").json
    assert plan["images_to_predict"] == 0
    assert len(ask(home, "SELECT * FROM category_predictions")) == 16, "what was answered before is history"

    fresh = tmp_path / "fresh"
    monkeypatch.setenv("SHELFWISE_HOME", str(fresh))
    assert shelfwise(*night, shop.catalog).code == 0
    assert left == ask(fresh, answers)


def test_an_unknown_category_stops_before_anything(shelfwise: Shelfwise, shop: SmallShop, home: Path) -> None:
    shop.add_many(["a"])
    shelfwise.night(shop.catalog, NIGHT_1)
    before = dump(home)
    done = shelfwise("backfill", "--from", NIGHT_1, "--to", NIGHT_1, "--category", "footwear.closed.sneakers")
    assert done.code == 2
    assert "nearest are 'footwear.closed.sneaker'" in done.err
    assert dump(home) == before

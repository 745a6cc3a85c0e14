"""Nights from catalog to rows, of which each step starts and ends Spark, and Spark plans, as a user's do."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.conftest import SmallShop
from tests.end_to_end.conftest import Shelfwise, ask, dump
from tests.standalone import USUAL_SPARK

NIGHT_1, NIGHT_2 = "2026-11-01", "2026-11-02"


@pytest.fixture(autouse=True)
def _usual_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFWISE_SPARK_CONF", json.dumps(USUAL_SPARK))


def test_two_nights(shelfwise: Shelfwise, shop: SmallShop, home: Path) -> None:
    shop.add_many([f"p{number}" for number in range(10)])
    shop.add("pair", image_no=0)
    shop.add("pair", image_no=1)
    first = shelfwise("nightly", "--catalog", shop.catalog, "--run-date", NIGHT_1, "--json")
    assert first.code == 0, first.err
    assert first.json["state"] == "published"
    assert first.json["ingest"]["images_stored"] == 12
    assert first.json["publish"]["products_changed"] == 11
    assert ask(home, "SELECT count(*) FROM category_predictions") == [(12,)]
    assert ask(home, "SELECT image_count FROM product_categories WHERE product_id = 'pair'") == [(2,)]

    shop.add("p3", seed=1234)
    shop.add("new")
    second = shelfwise.night(shop.catalog, NIGHT_2)
    assert (second["ingest"]["images_unchanged"], second["ingest"]["images_stored"]) == (11, 2)
    assert second["predict"]["images"] == 2
    touched = ask(home, "SELECT product_id FROM product_categories WHERE run_id = 'nightly-2026-11-02' ORDER BY 1")
    assert touched == [("new",), ("p3",)]
    assert ask(home, "SELECT count(*) FROM category_predictions WHERE product_id = 'p3'") == [(2,)]

    before = dump(home)
    again = shelfwise.night(shop.catalog, NIGHT_2)
    assert again["predict"]["shards_skipped"] == again["predict"]["shards"] > 0
    assert dump(home) == before, "the same night again changes no row"

    counts = shelfwise("query", "category_counts", "--format", "json").json
    assert sum(row["product_count"] for row in counts) == 12


def test_the_steps_one_by_one_are_the_same_as_a_night(shelfwise: Shelfwise, shop: SmallShop, home: Path) -> None:
    shop.add_many(["a", "b", "c"])
    of_run = {"run_id": f"nightly-{NIGHT_1}", "release_id": "tiny-1"}
    for command, named in (("ingest", {"ingest_date": NIGHT_1}), ("predict", of_run), ("publish", of_run)):
        catalog = ("--catalog", shop.catalog) if command == "ingest" else ()
        done = shelfwise(command, *catalog, "--run-date", NIGHT_1, "--json")
        assert done.code == 0, done.err
        assert named.items() <= done.json.items()
    run = shelfwise("runs", "show", f"nightly-{NIGHT_1}", "--json").json
    assert (run["summary"]["ingest"]["images_stored"], run["summary"]["predict"]["images"]) == (3, 3)
    assert run["seconds"].keys() == {"ingest", "predict"}
    assert run["seconds"]["ingest"] > 0
    assert run["started_at_utc"] == run["summary"]["ingest"]["started_at_utc"], "it began when its images were read"
    plan = shelfwise("backfill", "--from", NIGHT_1, "--to", NIGHT_1, "--force", "--dry-run", "--json").json
    assert plan["estimated_seconds"] is not None
    page = shelfwise("report", "--run-id", f"nightly-{NIGHT_1}", "--json").json["report"]
    assert "Asking the networks" in Path(page).read_text(encoding="utf-8")
    private = (Path(page), home / "shelfwise.db")
    assert [stat.S_IMODE(path.stat().st_mode) for path in private] == [0o600, 0o600], "for their user alone"
    before = dump(home)
    assert len(before["product_categories"]) == 3
    assert shelfwise("nightly", "--catalog", shop.catalog, "--run-date", NIGHT_1, "--json").code == 0
    assert dump(home) == before


def test_a_night_killed_before_publish_goes_on_from_its_shards(
    shelfwise: Shelfwise, shop: SmallShop, home: Path
) -> None:
    shop.add_many(["a", "b", "c"])
    shelfwise.killed_at("publish_step", "nightly", "--catalog", shop.catalog, "--run-date", NIGHT_1)
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in [home, *home.rglob("*")]}
    assert any("ingest_date=" in str(path) for path in modes)
    assert {path: mode for path, mode in modes.items() if mode not in (0o600, 0o700)} == {}, "for their user alone"
    assert ask(home, "SELECT count(*) FROM product_categories") == [(0,)]
    done = shelfwise.night(shop.catalog, NIGHT_1)
    assert (done["ingest"]["images_stored"], done["predict"]["images"]) == (0, 0)
    assert ask(home, "SELECT count(*) FROM product_categories") == [(3,)]

"""Nights from catalog to rows: what the user of the command line relies on, whatever Spark they run in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import SmallShop
from tests.end_to_end.conftest import Shelfwise, ask, dump
from tests.extent import ALL

pytestmark = pytest.mark.usefixtures("one_spark")

NIGHT_1, NIGHT_2 = "2026-11-01", "2026-11-02"
PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data" / "clothing" / "validation"


def test_too_many_rejections_stop_the_night_and_yesterday_stands(
    shelfwise: Shelfwise, shop: SmallShop, home: Path
) -> None:
    shop.add_many(["a", "b", "c"])
    shelfwise.night(shop.catalog, NIGHT_1)
    yesterday = dump(home)
    shop.add("a", seed=77)
    for number in range(2):
        shop.rows[f"broken-{number}", 0] = "nowhere.jpg"
    failed = shelfwise("nightly", "--catalog", shop.catalog, "--run-date", NIGHT_2, "--json")
    assert failed.code == 1
    assert failed.out == ""
    assert "2 of 3 new images (67%)" in failed.err
    assert "2 missing" in failed.err
    after = dump(home)
    assert ask(home, "SELECT state FROM runs ORDER BY run_date") == [("published",), ("failed",)]
    assert {name: rows for name, rows in after.items() if name not in ("runs", "releases")} == {
        name: rows for name, rows in yesterday.items() if name not in ("runs", "releases")
    }
    options = ("--max-rejected", "0.7", "--json")
    done = shelfwise("nightly", "--catalog", shop.catalog, "--run-date", NIGHT_2, *options).json
    assert done["ingest"]["rejected_by_reason"] == {"missing": 2}
    assert ask(home, "SELECT product_id, reason FROM rejected_images ORDER BY 1") == [
        ("broken-0", "missing"),
        ("broken-1", "missing"),
    ]


def test_a_backfill_with_another_release_reads_no_source_image(
    shelfwise: Shelfwise, shop: SmallShop, home: Path, tiny_pair: Path
) -> None:
    shop.add_many(["a", "b"])
    shelfwise.night(shop.catalog, NIGHT_1)
    shop.add("c")
    shelfwise.night(shop.catalog, NIGHT_2)
    shutil.rmtree(shop.directory)
    options = ("--from", NIGHT_1, "--to", NIGHT_2, "--release", tiny_pair, "--json")
    plan = shelfwise("backfill", *options, "--dry-run").json
    assert (plan["dates"], plan["images_to_predict"], plan["dry_run"]) == ([NIGHT_1, NIGHT_2], 3, True)
    assert ask(home, "SELECT count(*) FROM runs") == [(2,)]
    decided = shelfwise(
        "override", "set", "b", "footwear.closed.sneaker", "--by", "ada", "--why", "it is one", "--json"
    )
    assert decided.json["changed"] == 1, decided.err
    done = shelfwise("backfill", *options).json
    assert done["publish"]["products_changed"] == 2
    rows = ask(home, "SELECT product_id, status = 'manual', release_id FROM product_categories ORDER BY 1")
    assert rows == [("a", 0, "pair-1"), ("b", 1, None), ("c", 0, "pair-1")]
    history = shelfwise("query", "product_decisions", "--param", "product_id=b", "--format", "json").json
    assert [(row["decided_by"], row["why"]) for row in history] == [("ada", "it is one")]
    assert shelfwise("override", "clear", "b", "--by", "ada").code == 0
    assert ask(home, "SELECT release_id FROM product_categories WHERE product_id = 'b'") == [("pair-1",)]
    assert shelfwise("review", "accept", "a", "c", "--by", "ada", "--json").json["changed"] == 2
    networks = ask(home, "SELECT by_network FROM category_predictions WHERE release_id = 'pair-1' LIMIT 1")[0][0]
    assert "efficientnetb0" in networks
    assert "xception" in networks


def test_the_products_table_is_a_catalog(shelfwise: Shelfwise, shop: SmallShop, home: Path) -> None:
    shop.add_many(["a", "b"])
    shelfwise.night(shop.catalog, NIGHT_1)
    absolute = f"'{shop.directory}/' || image_uri"
    ask(home, f"UPDATE products SET image_uri = {absolute}")
    done = shelfwise("nightly", "--catalog", "products", "--run-date", NIGHT_2, "--json")
    assert done.code == 0, done.err
    assert done.json["ingest"]["images_unchanged"] == 2


if ALL and PHOTOGRAPHS.is_dir():  # photographs of clothes, which no clone brings along

    def test_real_photographs_are_all_tagged_or_rejected(shelfwise: Shelfwise, home: Path) -> None:
        done = shelfwise.night(PHOTOGRAPHS, NIGHT_1)
        files = sum(path.is_file() for path in PHOTOGRAPHS.rglob("*.*"))
        assert done["ingest"]["catalog_rows"] == files
        tagged = ask(home, "SELECT count(*) FROM product_categories")[0][0]
        rejected = ask(home, "SELECT count(*) FROM rejected_images")[0][0]
        assert tagged + rejected == files


def test_a_renamed_product_shows_its_new_title_the_next_night(
    shelfwise: Shelfwise, shop: SmallShop, home: Path
) -> None:
    shop.add_many(["same", "renamed"])
    shop.titles = {"same": "Hat", "renamed": "Sneekers"}
    shelfwise.night(shop.catalog, "2026-11-01")
    answers = ask(home, "SELECT * FROM product_categories")
    shop.titles["renamed"] = "Sneakers"
    for changed in (1, 0):
        done = shelfwise("nightly", "--catalog", shop.catalog, "--run-date", "2026-11-02", "--json")
        assert done.code == 0, done.err
        assert (done.json["predict"]["images"], done.json["publish"]["catalog_rows_changed"]) == (0, changed)
        titles = ask(home, "SELECT product_id, title, ingest_date FROM products ORDER BY product_id")
        assert titles == [("renamed", "Sneakers", "2026-11-02"), ("same", "Hat", "2026-11-01")]
    assert ask(home, "SELECT * FROM product_categories") == answers

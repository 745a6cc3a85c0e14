"""The life of a product from catalog to answer: it loses images, leaves, returns; a night is taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import SmallShop
from tests.end_to_end.conftest import Shelfwise, ask, dump

pytestmark = pytest.mark.usefixtures("one_spark")

NIGHTS = [f"2026-11-{day:02d}" for day in range(1, 8)]
ANSWERS = (
    "SELECT product_id, category_id, confidence, image_count FROM product_categories WHERE left_at IS NULL ORDER BY 1"
)
PRODUCTS = "SELECT product_id, image_no, reason FROM products ORDER BY 1, 2"


def rows_of(shelfwise: Shelfwise, *query: str) -> list[dict[str, object]]:
    """Run a named query that must succeed, and return its rows."""
    done = shelfwise("query", *query, "--format", "json")
    assert done.code == 0, done.err
    rows: list[dict[str, object]] = done.json
    return rows


def test_what_leaves_the_catalog_leaves_the_answers(
    shelfwise: Shelfwise, shop: SmallShop, home: Path, tmp_path: Path
) -> None:
    """Twelve products with two images, then eight with the first one only: as if only those had ever been there."""
    names = [f"p{number:02d}" for number in range(12)]
    for name in names:
        shop.add(name, image_no=0)
        shop.add(name, image_no=1)
    shop.rows["broken", 0] = "nowhere.jpg"
    first = shelfwise.night(shop.catalog, NIGHTS[0])
    assert first["ingest"]["catalog_name"] == "catalog"
    assert [row["product_id"] for row in rows_of(shelfwise, "without_answer")] == ["broken"]
    assert ("broken", 0, "missing") in ask(home, PRODUCTS)
    assert shelfwise("override", "set", "p11", "footwear.closed.sneaker", "--by", "ada").code == 0
    every = dict(shop.rows)
    kept = {key: uri for key, uri in every.items() if key[0] in names[:8] and key[1] == 0}

    shop.rows = dict(kept)
    second = shelfwise.night(shop.catalog, NIGHTS[1])
    assert (second["ingest"]["images_stored"], second["predict"]["images"]) == (0, 0)
    assert (second["publish"]["products_left"], second["ingest"]["images_left"]) == (4, 17)
    assert sum(int(str(row["product_count"])) for row in rows_of(shelfwise, "products_by_status")) == 8
    assert len(ask(home, PRODUCTS)) == 8
    assert {row["product_id"] for row in rows_of(shelfwise, "left_products")} == set(names[8:])
    assert len(rows_of(shelfwise, "current_categories")) == 8
    assert len(rows_of(shelfwise, "current_categories", "--include-left")) == 12
    shrunk = ask(home, ANSWERS)
    before = dump(home)
    shelfwise.night(shop.catalog, NIGHTS[1])
    assert dump(home) == before, "the same night again changes no row"

    fresh = tmp_path / "fresh"
    shelfwise.at(fresh)
    shelfwise.night(shop.catalog, NIGHTS[0])
    assert ask(fresh, ANSWERS) == shrunk, "the same answers as in a home that never had more"
    shelfwise.at(home)

    shop.rows = {key: uri for key, uri in every.items() if key[0] != "broken"}
    third = shelfwise.night(shop.catalog, NIGHTS[2])
    assert (third["ingest"]["images_stored"], third["predict"]["images"]) == (0, 0)
    assert third["publish"]["products_returned"] == 4
    assert len(ask(home, PRODUCTS)) == 24
    assert ask(home, "SELECT status, left_at FROM product_categories WHERE product_id = 'p11'") == [("manual", None)]
    assert {count for (*_, count) in ask(home, ANSWERS)} == {2}


def test_a_new_order_of_the_same_images_is_no_new_content(shelfwise: Shelfwise, shop: SmallShop, home: Path) -> None:
    for number in range(3):
        shop.add("p", image_no=number)
    shelfwise.night(shop.catalog, NIGHTS[0])
    answer = ask(home, ANSWERS)
    uris = [shop.rows["p", number] for number in range(3)]
    shop.rows = {("p", number): uris[(number + 1) % 3] for number in range(3)}
    done = shelfwise.night(shop.catalog, NIGHTS[1])
    assert (done["ingest"]["images_stored"], done["predict"]["images"]) == (0, 0)
    assert ask(home, ANSWERS) == answer
    assert [uri for (uri,) in ask(home, "SELECT image_uri FROM products ORDER BY image_no")] == [*uris[1:], uris[0]]


def test_a_missed_night_removes_nothing_that_a_later_night_names(
    shelfwise: Shelfwise, shop: SmallShop, home: Path
) -> None:
    shop.add_many(["a", "b", "c"])
    every = dict(shop.rows)
    shelfwise.night(shop.catalog, NIGHTS[0])
    shelfwise.night(shop.catalog, NIGHTS[2])
    shop.rows = {key: uri for key, uri in every.items() if key[0] != "b"}
    late = shelfwise.night(shop.catalog, NIGHTS[1])
    assert late["publish"]["products_left"] == 0
    assert len(ask(home, ANSWERS)) == 3


def test_a_delta_removes_nothing_and_a_catalog_that_lacks_most_is_refused(
    shelfwise: Shelfwise, shop: SmallShop, home: Path
) -> None:
    shop.add_many([f"p{number:03d}" for number in range(60)])
    every = dict(shop.rows)
    shelfwise.night(shop.catalog, NIGHTS[0])
    before = dump(home)
    shop.rows = {key: uri for key, uri in every.items() if key[0] < "p005"}
    refused = shelfwise("nightly", "--catalog", shop.catalog, "--run-date", NIGHTS[1])
    assert refused.code == 1
    assert "named 60 products and now lacks 55 of them (92%)" in refused.err
    assert "--max-left" in refused.err
    assert dump(home)["product_categories"] == before["product_categories"]
    shelfwise.night(shop.catalog, NIGHTS[1], "--partial")
    assert len(ask(home, ANSWERS)) == 60
    shelfwise.night(shop.catalog, NIGHTS[2], "--max-left", "1")
    assert len(ask(home, ANSWERS)) == 5


def test_a_night_that_is_taken_back_leaves_the_answers_before_it(
    shelfwise: Shelfwise, shop: SmallShop, home: Path, tiny_pair: Path
) -> None:
    shop.add_many(["a", "b"])
    shelfwise.night(shop.catalog, NIGHTS[0])
    before = ask(home, ANSWERS)
    dates = ("--from", NIGHTS[0], "--to", NIGHTS[0])
    done = shelfwise.done("backfill", *dates, "--release", tiny_pair)
    assert ask(home, ANSWERS) != before
    taken = shelfwise("runs", "retract", done["run_id"], "--by", "ada", "--why", "the wrong release")
    assert taken.code == 0, taken.err
    assert ask(home, ANSWERS) == before
    again = shelfwise("runs", "retract", done["run_id"], "--by", "ada")
    assert (again.code, "retracted" in again.err) == (2, True)

"""Planted products have a known category, and are shown rightly or wrongly."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection

import pytest
import sqlalchemy as sa

from sql.overrides import Override, clear_overrides, set_overrides
from sql.review.planted import planted
from sql.review.records import Planted
from sql.review.writing import write_page
from sql.schema.tables import metadata
from sql.store import ProductDatabase
from tests.sql.review.waiting import HOSTILE, change, choose, fill, shown
from tests.sql.runs import BOOT, OUTLET, SHIRT, T_SHIRT, combine_by, image_change, prediction, publish


@pytest.fixture
def shop(database: ProductDatabase) -> ProductDatabase:
    fill(database)
    return database


def many(
    database: ProductDatabase,
    category_id: str = SHIRT,
    times: int = 24,
    without: Collection[str] = (),
    viewer: str = "",
) -> list[Planted]:
    rng = random.Random(1)
    return [
        each
        for _ in range(times)
        for each in planted(database, category_id, count=1, rng=rng, without=without, viewer=viewer)
    ]


def products(found: list[Planted]) -> set[tuple[str, str]]:
    return {(each.item.product_id, each.known_category_id) for each in found}


def test_known_products_are_returned_with_the_category_of_the_page(shop: ProductDatabase) -> None:
    found = many(shop)
    assert products(found) == {("sure", SHIRT), ("boot", BOOT)}
    for each in found:
        item = each.item
        assert (item.category_id, item.category_path) == (SHIRT, "Apparel > Tops > Shirt")
        assert item.picture is not None


def test_half_of_them_are_shown_wrongly(shop: ProductDatabase) -> None:
    publish(shop, [prediction(f"k{n}", [SHIRT, BOOT][n % 2], 0.999, night=1) for n in range(40)], night=1)
    rng = random.Random(2)
    kinds = [each.known_category_id == SHIRT for each in planted(shop, SHIRT, count=10, rng=rng)]
    assert Counter(kinds) == {True: 5, False: 5}
    singly = Counter(each.known_category_id for each in many(shop, times=60))
    assert 15 < singly[BOOT] < 45


def test_what_a_person_decided_is_known_and_others_decisions_come_first(shop: ProductDatabase) -> None:
    set_overrides(shop, [Override("s0", SHIRT), Override("o", OUTLET)], decided_by="maria")
    set_overrides(shop, [Override("s1", SHIRT)], decided_by="ada")
    assert products(many(shop, viewer="ada")) == {("s0", SHIRT), ("o", OUTLET)}
    assert products(many(shop, without={"s0", "o", "boot"}, viewer="ada")) == {("sure", SHIRT)}
    assert products(many(shop, without={"s0", "o", "boot", "sure"}, viewer="ada")) == {("s1", SHIRT)}


def test_a_near_category_is_shown_wrongly_before_a_far_one(shop: ProductDatabase) -> None:
    set_overrides(shop, [Override("s0", T_SHIRT), Override("s1", OUTLET)], decided_by="maria")
    assert {known for _, known in products(many(shop))} == {SHIRT, T_SHIRT}


def test_what_is_not_settled_is_not_known(shop: ProductDatabase) -> None:
    none = choose(shown(shop)[0], "none")
    write_page(shop, [none], decided_by="maria", came_by="focus", page_id="1")
    set_overrides(shop, [Override("s0", SHIRT), Override("s1", SHIRT), Override("s2", SHIRT)], decided_by="maria")
    clear_overrides(shop, ["s0"], decided_by="maria", combine_by=combine_by)
    change(shop, "s1", review_reason="changed_picture")
    publish(shop, image_changes=[image_change("s2", "left", night=1), image_change("sure", "left", night=1)], night=1)
    publish(shop, [prediction("unsure", SHIRT, 0.98, night=2)], night=2)
    assert products(many(shop)) == {("boot", BOOT)}


def test_on_a_page_of_a_group_what_is_below_is_right_and_neither_above_nor_below_is_wrong(
    shop: ProductDatabase,
) -> None:
    with shop.engine.begin() as connection:
        values = {"category_id": "apparel.tops", "category_path": "Apparel > Tops", "taxonomy_version": "taxonomy-1"}
        connection.execute(metadata.tables["categories"].insert().values(**values))
    assert products(many(shop, "apparel.tops")) == {("boot", BOOT), ("sure", SHIRT)}
    set_overrides(shop, [Override("s0", "apparel.tops")], decided_by="maria")
    assert products(many(shop, SHIRT, without={"boot", "sure"})) == set()


def test_planting_writes_nothing_and_refuses_nothing(shop: ProductDatabase) -> None:
    assert planted(shop, SHIRT, count=0, rng=random.Random(1)) == []
    assert many(shop, without={"sure", "boot"}) == []
    for name in (HOSTILE, "a\x00", "\ud800"):
        assert many(shop, name) == []
    with shop.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM planted_answers")).scalar_one() == 0

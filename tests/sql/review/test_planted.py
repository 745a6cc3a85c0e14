"""Planted products have a known category, and are shown rightly or wrongly."""

from __future__ import annotations

import random

import pytest

from sql.review.planted import planted
from sql.store import ProductDatabase
from tests.sql.review.waiting import fill
from tests.sql.runs import BOOT, SHIRT


@pytest.fixture
def shop(database: ProductDatabase) -> ProductDatabase:
    fill(database)
    return database


def test_known_products_are_shown_as_the_page_s_category(shop: ProductDatabase) -> None:
    rng = random.Random(1)
    shown = [each for _ in range(20) for each in planted(shop, SHIRT, count=1, rng=rng)]
    assert {each.item.category_id for each in shown} == {SHIRT}
    assert {(each.item.product_id, each.known_category_id) for each in shown} == {("sure", SHIRT), ("boot", BOOT)}
    assert planted(shop, SHIRT, count=5, rng=rng, without={"sure", "boot"}) == []

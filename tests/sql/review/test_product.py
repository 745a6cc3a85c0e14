"""The page of a product shows everything about it, and products are found by id and title."""

from __future__ import annotations

import pytest

from sql.errors import UnknownNameError
from sql.overrides import Override, set_overrides
from sql.review.product import find_products, product
from sql.review.records import Leaf
from sql.store import ProductDatabase
from tests.sql.review.waiting import HOSTILE, fill, ids
from tests.sql.runs import BOOT, NEWER_RELEASE, SHIRT, T_SHIRT, prediction, publish


@pytest.fixture
def shop(database: ProductDatabase) -> ProductDatabase:
    fill(database)
    return database


def test_a_product_is_shown_with_answers_pictures_and_decisions(shop: ProductDatabase) -> None:
    publish(shop, [prediction("s0", T_SHIRT, 0.7, content="B", image_no=1, night=1, status="review")], night=1)
    publish(shop, [prediction("s0", BOOT, 0.6, night=2)], night=2, release=NEWER_RELEASE)
    set_overrides(shop, [Override("s0", BOOT, "laces")], decided_by="maria")
    found = product(shop, "s0")
    assert (found.item.title, found.shop_category, found.decided, found.decided_category_id) == (
        "Grünes Hemd 0",
        "Tops",
        True,
        BOOT,
    )
    assert [picture.image_no for picture in found.pictures] == [0, 1]
    assert [(each.release_id, each.category_id, each.is_current) for each in found.answers] == [
        ("release-2", BOOT, True),
        ("release-1", T_SHIRT, True),
        ("release-1", SHIRT, True),
    ]
    assert found.answers[0].by_network["xception"] == [BOOT, 0.6]
    assert [(each.action, each.decided_by, each.why) for each in found.decisions] == [("set", "maria", "laces")]
    assert found.left_at is None


def test_a_stored_answer_shows_the_first_of_its_own_reason_and_its_run_s(database: ProductDatabase) -> None:
    publish(
        database,
        [
            prediction("unsure", confidence=0.5, status="review", held_by="foreign_night"),
            prediction("closed", confidence=0.5, status="review", reason="gate_closed", held_by="foreign_night"),
            prediction("held", held_by="shared_picture"),
            prediction("free"),
        ],
    )
    assert {
        name: product(database, name).answers[0].review_reason for name in ("unsure", "closed", "held", "free")
    } == {
        "unsure": "foreign_night",
        "closed": "gate_closed",
        "held": "shared_picture",
        "free": "",
    }


def test_the_likely_categories_are_the_mean_over_the_pictures(shop: ProductDatabase) -> None:
    publish(shop, [prediction("s0", T_SHIRT, 0.7, content="B", image_no=1, night=1, status="review")], night=1)
    likely = product(shop, "s0").likely
    assert [(leaf.category_id, round(score, 6)) for leaf, score in likely] == [
        (T_SHIRT, 0.35),
        (SHIRT, 0.25),
        (BOOT, 0.2),
    ]
    assert likely[0][0] == Leaf(T_SHIRT, "Apparel > Tops > T-shirt")


def test_a_product_without_an_answer_is_shown_and_a_foreign_one_refused(shop: ProductDatabase) -> None:
    found = product(shop, "bare")
    assert (found.item.title, found.item.category_id, found.likely, found.decided) == ("never read", None, (), False)
    for name in ("nobody", "a\x00b", "\ud800", ""):
        with pytest.raises(UnknownNameError, match="does not know product"):
            product(shop, name)
    assert product(shop, HOSTILE).item.title == HOSTILE


def test_products_are_found_by_id_and_by_words_of_the_title(shop: ProductDatabase) -> None:
    assert ids(find_products(shop, "s2")) == ["s2"]
    assert ids(find_products(shop, "hemd GRÜNES")) == ["s0", "s1", "s2", "s3"]
    assert ids(find_products(shop, "hemd", limit=2)) == ["s0", "s1"]
    assert ids(find_products(shop, HOSTILE)) == [HOSTILE]
    assert find_products(shop, "%") == find_products(shop, HOSTILE)
    assert find_products(shop, "a\x00") == find_products(shop, "  ") == []
    (found,) = find_products(shop, "s2")
    assert (found.title, found.category_path, found.status) == ("Grünes Hemd 2", "Apparel > Tops > Shirt", "review")

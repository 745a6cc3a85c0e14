"""The taxonomy is searched by any part of a path, at once."""

from __future__ import annotations

import time

import pytest

from sql.review.categories import Categories, load_categories
from sql.review.records import Leaf
from sql.store import ProductDatabase
from tests.sql.runs import BOOT, OUTLET, SHIRT, T_SHIRT, publish


def found(categories: Categories, text: str, limit: int = 10) -> list[str]:
    return [leaf.category_id for leaf in categories.search(text, limit)]


@pytest.fixture
def some() -> Categories:
    paths = {
        "apparel": "Apparel",
        "apparel.tops": "Apparel > Tops",
        "apparel.tops.shirt": "Apparel > Tops > Shirt",
        "apparel.tops.sweatshirt": "Apparel > Tops > Sweatshirt",
        "apparel.tops-outlet": "Apparel > Tops outlet",
        "kueche.muehle": "Küche > Café-Mühle",
        "strasse": "Straße",
    }
    return Categories([Leaf(*each) for each in paths.items()])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shirt", ["apparel.tops.shirt", "apparel.tops.sweatshirt"]),
        ("SHI", ["apparel.tops.shirt", "apparel.tops.sweatshirt"]),
        ("shirt app", ["apparel.tops.shirt", "apparel.tops.sweatshirt"]),
        ("kuche", ["kueche.muehle"]),
        ("CAFÉ mühle", ["kueche.muehle"]),
        ("cafe-muhle", ["kueche.muehle"]),
        ("strasse", ["strasse"]),
        ("tops", ["apparel.tops", "apparel.tops.shirt", "apparel.tops-outlet", "apparel.tops.sweatshirt"]),
        ("shirt boot", []),
        ("", []),
        (" > % _ ' ", []),
    ],
)
def test_all_words_are_parts_of_the_path_and_the_nearest_come_first(
    some: Categories, text: str, expected: list[str]
) -> None:
    assert found(some, text) == expected


def test_a_limit_keeps_the_first(some: Categories) -> None:
    assert found(some, "tops", 1) == ["apparel.tops"]


def test_leaves_below_an_inner_node_are_listed(some: Categories) -> None:
    assert [leaf.category_id for leaf in some.leaves_below("apparel.tops")] == [
        "apparel.tops.shirt",
        "apparel.tops.sweatshirt",
    ]
    assert some.leaves_below("apparel")[0].category_id == "apparel.tops.shirt"
    assert some.leaves_below("strasse") == some.leaves_below("nowhere") == []
    assert [name for name in (leaf.category_id for leaf in some.all) if not some.is_leaf(name)] == [
        "apparel",
        "apparel.tops",
    ]
    assert not some.is_leaf("nowhere")


def test_the_taxonomy_of_the_database_is_loaded(database: ProductDatabase) -> None:
    publish(database)
    categories = load_categories(database)
    assert [leaf.category_id for leaf in categories.all] == [OUTLET, SHIRT, T_SHIRT, BOOT]
    assert categories.path(BOOT) == "Shoes > Boot"
    assert (categories.path(None), categories.path("gone")) == ("", "gone")


def test_ten_thousand_categories_are_searched_in_milliseconds() -> None:
    many = Categories([Leaf(f"a.b{n}.c{n}", f"Möbel {n % 7} > Group {n // 100} > Kind of {n}") for n in range(10_000)])
    took = []
    for text in ("mob kind 99", "o", "group 1 9999", "nothing at all"):
        start = time.thread_time()  # not of the other tests that run meanwhile
        many.search(text, 50)
        took.append(time.thread_time() - start)
    assert min(took) < 0.05
    assert max(took) < 0.5

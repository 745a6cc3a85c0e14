"""What a backfill asks before it predicts, on both engines."""

from __future__ import annotations

from datetime import date

import pytest
import sqlalchemy as sa

from sql.errors import UnknownNameError
from sql.schema.products import product_images
from sql.selection import (
    answered_images,
    present_pictures,
    products_under,
    products_with_answer,
    refuse_unknown_category,
    replaced_images,
)
from sql.store import ProductDatabase
from tests.sql.runs import (
    BOOT,
    NEWER_RELEASE,
    OUTLET,
    RELEASE,
    SHIRT,
    T_SHIRT,
    image_change,
    prediction,
    publish,
    sha,
)

HOSTILE = "x'; DROP TABLE runs; --"


@pytest.fixture
def tagged(database: ProductDatabase) -> ProductDatabase:
    """A product in each category, and one whose name is hostile."""
    rows = [("shirt", SHIRT), ("t-shirt", T_SHIRT), ("outlet", OUTLET), ("boot", BOOT), (HOSTILE, SHIRT)]
    publish(database, [prediction(product_id, category_id) for product_id, category_id in rows])
    return database


@pytest.mark.parametrize(
    ("category_id", "expected"),
    [
        ("apparel.tops", {"shirt", "t-shirt", HOSTILE}),
        (SHIRT, {"shirt", HOSTILE}),
        ("apparel", {"shirt", "t-shirt", "outlet", HOSTILE}),
        ("apparel.top", set()),
        ("apparel._ops", set()),
        ("%", set()),
    ],
)
def test_a_category_includes_everything_below_it(tagged: ProductDatabase, category_id: str, expected: set[str]) -> None:
    asked = ["shirt", "t-shirt", "outlet", "boot", HOSTILE, "unheard of"]
    assert products_under(tagged, category_id, asked) == expected


def test_only_requested_products_are_returned(tagged: ProductDatabase) -> None:
    assert products_under(tagged, "apparel", ["boot", "outlet"]) == {"outlet"}
    assert products_under(tagged, "apparel", []) == set()


def test_a_product_that_has_left_is_in_no_category(tagged: ProductDatabase) -> None:
    publish(tagged, image_changes=[image_change("shirt", "left", night=1)], night=1)
    assert products_under(tagged, SHIRT, ["shirt", HOSTILE]) == {HOSTILE}


def test_forty_thousand_products_fit_into_one_query(tagged: ProductDatabase) -> None:
    assert products_under(tagged, SHIRT, (f"p{n}" for n in range(40_000))) == set()


def test_answered_images_are_those_of_the_given_release(tagged: ProductDatabase) -> None:
    publish(tagged, [prediction("shirt", SHIRT, content="new", night=1)], night=1, release=NEWER_RELEASE)
    assert answered_images(tagged, RELEASE.release_id, ["shirt", "boot"]) == {
        ("shirt", sha("shirt/A")),
        ("boot", sha("boot/A")),
    }
    assert answered_images(tagged, NEWER_RELEASE.release_id, ["shirt", "boot"]) == {("shirt", sha("shirt/new"))}


def test_an_unknown_category_names_its_neighbours(tagged: ProductDatabase) -> None:
    refuse_unknown_category(tagged, SHIRT)
    with pytest.raises(UnknownNameError, match=r"'apparel\.tops\.shirts'; the nearest are 'apparel\.tops\.shirt'"):
        refuse_unknown_category(tagged, "apparel.tops.shirts")


def test_before_the_first_run_there_is_no_category(database: ProductDatabase) -> None:
    with pytest.raises(UnknownNameError, match="none before the first run"):
        refuse_unknown_category(database, SHIRT)


def test_pictures_that_were_replaced_or_have_left_need_no_prediction(database: ProductDatabase) -> None:
    """`old` is of an earlier ingest than the database's row, `new` of a later one that is not published yet."""
    day, later = date(2026, 11, 2), date(2026, 11, 5)
    rows = [
        {"product_id": "here", "image_no": 0, "image_sha256": "a", "left_at": None},
        {"product_id": "here", "image_no": 1, "image_sha256": "b", "left_at": None},
        {"product_id": "gone", "image_no": 0, "image_sha256": "a", "left_at": later},
    ]
    rows = [{**row, "catalog_name": "shop", "ingest_date": day, "ingest_no": 2} for row in rows]
    with database.engine.begin() as connection:
        connection.execute(sa.insert(product_images), rows)
    old, new, back = (day, 1), (day, 3), (later, 1)
    images = [
        ("here", 0, "a", *old),
        ("here", 0, "replaced", *old),
        ("here", 0, "unpublished", *new),
        ("here", 0, "b", *old),  # moved to position 1
        ("here", 2, "first at its position", *old),
        ("gone", 0, "a", *old),
        ("gone", 0, "a", *new),
        ("gone", 0, "c", *back),
        ("unheard of", 0, "a", *old),
    ]
    assert replaced_images(database, images) == {("here", 0, "replaced"), ("gone", 0, "a")}
    assert replaced_images(database, []) == set()
    assert present_pictures(database, ["here", "gone", "unheard of"]) == {"here": ["a", "b"], "gone": []}
    assert products_with_answer(database, ["here"]) == set()

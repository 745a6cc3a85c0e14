"""What a backfill asks before it predicts, on both engines."""

from __future__ import annotations

import pytest

from sql.errors import UnknownNameError
from sql.selection import answered_images, products_under, refuse_unknown_category
from sql.store import ProductDatabase
from tests.sql.runs import (
    BOOT,
    NEWER_RELEASE,
    OUTLET,
    RELEASE,
    SHIRT,
    T_SHIRT,
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

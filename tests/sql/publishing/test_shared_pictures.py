"""Pictures of many products that hold back answers of other runs, of a challenger, and of shops with an own table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from sql.aliases import set_alias
from sql.overrides import Override, clear_override, set_overrides
from sql.pictures import allow_picture
from sql.records import SharedPictures
from sql.retract import retract_run
from sql.shadow import publish_shadow
from sql.store import ProductDatabase
from tests.sql.runs import BOOT, CATEGORIES, NEWER_RELEASE, answer, combine_by, dump, prediction, publish
from tests.sql.same_pictures import NO_IMAGE, SHARED, held_pictures, shared_of, shop, status_of


def test_a_product_answered_again_waits_for_the_shared_picture_that_it_has_had_for_longer(
    database: ProductDatabase,
) -> None:
    """The older picture was published before enough products had it, and no row of this run is about it."""
    earlier, three = shop(3), SharedPictures(groups=3, categories=1)
    publish(database, earlier["predictions"][:2], products=earlier["products"][:2], pictures=three)
    first = dump(database)
    second = prediction("p0", content="own", image_no=1, night=1)
    night = [second, prediction("p2", content="shared", night=1), prediction("x", night=1)]
    publish(database, night, night=1, pictures=three)
    assert {name: status_of(database, name) for name in ("p0", "p1", "p2", "x")} == {
        "p0": ("review", "shared_picture"),
        "p1": ("auto", None),
        "p2": ("review", "shared_picture"),
        "x": ("auto", None),
    }
    assert status_of(database, "p0")[1] == held_pictures(database)["p0", SHARED] == "shared_picture"
    before = dump(database)
    noted = shared_of(database, "nightly-2026-11-02")["contents"]
    for pictures in (three, SharedPictures(3, 1, noted=noted)):
        assert not publish(database, night, night=1, pictures=pictures).changed
    again = SharedPictures(3, 1, noted=[])
    assert not publish(database, earlier["predictions"][:2], products=earlier["products"][:2], pictures=again).changed
    assert dump(database) == before
    publish(database, [prediction("p1", content="own", image_no=1, night=2)], night=2, pictures=three)
    assert status_of(database, "p1") == ("review", "shared_picture"), "no picture of this run is shared"
    assert shared_of(database, "nightly-2026-11-03")["contents"] == [SHARED]
    for run_id in ("nightly-2026-11-03", "nightly-2026-11-02"):
        retract_run(database, run_id, by="maria", combine_by=combine_by)
    assert dump(database)["category_predictions"] == first["category_predictions"]
    assert dump(database)["replaced_predictions"] == []
    assert (status_of(database, "p0"), status_of(database, "p1")) == (("auto", None), ("auto", None))


def test_an_allowed_picture_frees_the_products_that_have_had_it_for_longer(database: ProductDatabase) -> None:
    three = SharedPictures(groups=3, categories=1)
    publish(database, shop(3)["predictions"][:2], pictures=three)
    second = prediction("p0", content="own", image_no=1, night=1)
    publish(database, [second, prediction("p2", content="shared", night=1)], night=1, pictures=three)
    assert allow_picture(database, SHARED, by="maria", combine_by=combine_by) == 2
    assert set(held_pictures(database).values()) == {None}
    assert (status_of(database, "p0"), status_of(database, "p2")) == (("auto", None), ("auto", None))
    publish(database, [prediction("p1", content="own", image_no=1, night=2)], night=2, pictures=three)
    assert status_of(database, "p1") == ("auto", None)


def test_a_challenger_that_is_promoted_publishes_no_shared_picture_when_a_decision_is_cleared(
    database: ProductDatabase,
) -> None:
    """Neither one of the night itself, nor one that a product of the night has had for longer."""
    three = SharedPictures(groups=3, categories=1)
    earlier, night = shop(2)["predictions"], [prediction("p2", content="shared", night=1)]
    night += [prediction("p0", content="own", image_no=1, night=1), prediction("x", night=1)]
    shadow: dict[str, Any] = {"categories": CATEGORIES, "release": NEWER_RELEASE}
    publish(database, earlier, pictures=three)
    publish_shadow(database, "nightly-2026-11-01", predictions=[earlier], **shadow)
    publish(database, night, night=1, pictures=three)
    publish_shadow(database, "nightly-2026-11-02", predictions=[night], **shadow)
    before = dump(database)
    assert publish_shadow(database, "nightly-2026-11-02", predictions=[night], **shadow) == 0
    assert publish_shadow(database, "nightly-2026-11-01", predictions=[earlier], **shadow) == 0
    assert dump(database) == before
    names = ("p0", "p1", "p2", "x")
    set_overrides(database, [Override(name, BOOT) for name in names], decided_by="maria")
    set_alias(database, "champion", NEWER_RELEASE, changed_by="maria", at_utc=datetime(2026, 11, 20, tzinfo=UTC))
    for name in names:
        clear_override(database, name, decided_by="maria", combine_by=combine_by)
    assert {name: (*status_of(database, name), answer(database, name)["release_id"]) for name in names} == {
        "p0": ("review", "shared_picture", "release-2"),
        "p1": ("auto", None, "release-2"),
        "p2": ("review", "shared_picture", "release-2"),
        "x": ("auto", None, "release-2"),
    }


def test_a_shadow_holds_nothing_back_for_a_picture_that_people_allowed(database: ProductDatabase) -> None:
    night = shop(3)
    publish(database, **night, pictures=NO_IMAGE)
    allow_picture(database, SHARED, by="maria", combine_by=combine_by)
    publish_shadow(
        database,
        "nightly-2026-11-01",
        predictions=[night["predictions"]],
        categories=CATEGORIES,
        release=NEWER_RELEASE,
    )
    with database.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT DISTINCT release_id, held_by FROM category_predictions")).all()
    assert sorted(map(tuple, rows)) == [("release-1", None), ("release-2", None)]


OWN_TABLE = SharedPictures(groups=3, categories=2, in_table=False)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, True),
        ({"category": "one kind"}, False),
        ({"category": None}, True),
        ({"group_id": "one article"}, False),
    ],
    ids=["kinds", "one category", "no categories", "variants"],
)
def test_rows_of_a_shop_with_a_table_of_its_own_tell_variants_and_are_not_kept(
    database: ProductDatabase, more: dict[str, Any], expected: bool
) -> None:
    night = shop(4, **more)
    publish(database, **night, pictures=OWN_TABLE)
    assert (status_of(database, "p0") == ("review", "shared_picture")) is expected
    assert dump(database)["products"] == []


def test_titles_of_a_shop_with_a_table_of_its_own_tell_variants(database: ProductDatabase) -> None:
    night = shop(4)
    night["products"] = [
        (*row[:3], f"Wool coat blue {size}", None, *row[5:]) for size, row in enumerate(night["products"])
    ]
    publish(database, **night, pictures=OWN_TABLE)
    assert status_of(database, "p0") == ("auto", None)


def test_without_a_row_each_product_counts_as_a_group_and_as_a_category(database: ProductDatabase) -> None:
    """A night of a shop with a table of its own knows only the rows that it has read itself."""
    publish(database, shop(3)["predictions"][:2], pictures=OWN_TABLE)
    night = [prediction("p2", content="shared", night=1)]
    publish(database, night, products=shop(3)["products"][2:], night=1, pictures=OWN_TABLE)
    assert (status_of(database, "p0"), status_of(database, "p2")) == (("auto", None), ("review", "shared_picture"))
    shown = {"image_sha256": SHARED, "products": 3, "categories": 1, "example": "p0"}
    assert shared_of(database, "nightly-2026-11-02")["shown"] == [shown]

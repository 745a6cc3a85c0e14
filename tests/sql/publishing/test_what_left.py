"""What leaves the catalog leaves the answers, and what returns has them again: one promise a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sql.schema.tables import metadata
from sql.store import ProductDatabase, open_database
from tests.sql import runs
from tests.sql.ingested import BROKEN
from tests.sql.lives import Lives, expected, found, predict

TWO_PHOTOGRAPHS = {(f"p{n}", image_no): f"A{image_no}" for n in range(12) for image_no in range(2)}
FIRST_OF_EIGHT = {(f"p{n}", 0): "A0" for n in range(8)}


@pytest.fixture
def lives(database: ProductDatabase) -> Lives:
    """An empty database and its model."""
    return Lives(database)


def answers(lives: Lives) -> dict[str, Any]:
    """Return the answers of a database, after a comparison of all that it has with the model."""
    result = found(lives.database)
    assert result == expected(lives.model)
    return dict(result["answers"])


def test_a_night_with_fewer_products_and_photographs_counts_as_in_a_new_home(
    lives: Lives, database: ProductDatabase, new_url: Callable[[], str]
) -> None:
    lives.read("shop", 0, TWO_PHOTOGRAPHS)
    assert {answer[2] for answer in answers(lives).values()} == {2}
    lives.read("shop", 1, FIRST_OF_EIGHT)
    now = found(database)
    assert (len(now["current"]), sum(total[0] for total in now["totals"].values()), len(now["shown"])) == (8, 8, 8)
    alone = {product: answer[:3] for product, answer in answers(lives).items() if answer[4] is None}
    assert {answer[2] for answer in alone.values()} == {1}
    assert {answer[4] for answer in answers(lives).values()} == {None, 1}

    fresh = Lives(open_database(new_url()))
    fresh.read("shop", 0, FIRST_OF_EIGHT)
    assert {product: answer[:3] for product, answer in answers(fresh).items()} == alone
    assert found(fresh.database)["totals"] == now["totals"]
    assert found(fresh.database)["queue"] == now["queue"]


@pytest.mark.parametrize("published", [(1, 2), (2, 1)])
def test_a_missed_night_removes_nothing_that_a_later_night_names(lives: Lives, published: tuple[int, int]) -> None:
    lives.read("shop", 0, {("p", 0): "A"})
    lives.read("shop", 2, {("p", 0): "A", ("q", 0): "A"}, publish=0)
    lives.read("shop", 1, {("r", 0): "A"}, publish=0)
    for night in published:
        lives.publish(night)
    assert {product: answer[4] for product, answer in answers(lives).items() if answer[4] is None} == {
        "p": None,
        "q": None,
    }


def test_a_delta_is_not_undone_by_the_full_catalog_of_an_earlier_night(lives: Lives) -> None:
    lives.read("shop", 0, {("p", 0): "A", ("q", 0): "A"})
    lives.read("shop", 2, {("p", 0): "A"}, partial=True)
    lives.read("shop", 1, {})
    assert {product: answer[4] for product, answer in answers(lives).items()} == {"p": None, "q": 1}


def test_a_product_that_returns_has_its_answer_and_the_decision_of_a_person(lives: Lives) -> None:
    both = {("p", 0): "A", ("q", 0): "A"}
    lives.read("shop", 0, both)
    lives.decide("q", runs.BOOT)
    before = answers(lives)
    lives.read("shop", 1, {("other", 0): "A"})
    assert [answers(lives)[product][4] for product in ("p", "q")] == [1, 1]
    lives.read("shop", 2, {**both, ("other", 0): "A"})
    after = answers(lives)
    assert {product: after[product] for product in ("p", "q")} == before
    assert after["q"][0] == (runs.BOOT, None, "manual", None)


def test_an_image_that_left_has_no_say(lives: Lives) -> None:
    lives.read("shop", 0, {("p", 0): "A", ("p", 1): "B"})
    lives.read("shop", 1, {("p", 1): "B"})
    assert answers(lives)["p"][:3] == (predict("release-1", "p", "B"), "release-1", 1)
    lives.backfill(runs.NEWER_RELEASE, [0])
    lives.promote(runs.NEWER_RELEASE)
    lives.backfill(runs.NEWER_RELEASE, [0], force=True)
    assert answers(lives)["p"][:3] == (predict("release-2", "p", "B"), "release-2", 1)


def test_a_picture_that_was_replaced_has_no_say_in_a_backfill(lives: Lives) -> None:
    """Though its prediction is newer than that of the picture that replaced it, which the product had before."""
    lives.read("shop", 0, {("p", 0): "B"})
    lives.read("shop", 1, {("p", 0): "A"})
    lives.read("shop", 2, {("p", 0): "B"})
    before = answers(lives)
    lives.backfill(runs.NEWER_RELEASE, [1], force=True)
    assert answers(lives) == before


def test_a_product_whose_images_have_no_prediction_has_no_answer(lives: Lives) -> None:
    lives.read("shop", 0, {("p", 0): "A"})
    lives.read("shop", 1, {("p", 1): BROKEN})
    assert answers(lives) == {}
    lives.read("shop", 2, {("p", 0): "A", ("p", 1): BROKEN})
    assert answers(lives)["p"][:3] == (predict("release-1", "p", "A"), "release-1", 1)


def test_a_new_order_of_the_same_images_changes_no_answer(lives: Lives) -> None:
    lives.read("shop", 0, {("p", 0): "A", ("p", 1): "B", ("p", 2): "C"})
    kept = ("product_categories", "category_predictions", "category_totals")
    before = runs.dump(lives.database)
    lives.read("shop", 1, {("p", 0): "C", ("p", 1): "A", ("p", 2): "B"})
    after = runs.dump(lives.database)
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    answers(lives)


def test_a_former_image_at_a_new_position_has_a_say_again(lives: Lives) -> None:
    lives.read("shop", 0, {("p", 0): "A"})
    lives.read("shop", 1, {("p", 0): "B"})
    lives.read("shop", 2, {("p", 0): "B", ("p", 1): "A"})
    assert answers(lives)["p"][2] == 2


def test_a_product_stays_as_long_as_another_catalog_names_it(lives: Lives) -> None:
    lives.read("shop", 0, {("p", 0): "A", ("q", 0): "A"})
    lives.read("outlet", 1, {("p", 0): "A"})
    lives.read("shop", 2, {("q", 0): "A"})
    assert answers(lives)["p"][4] is None
    lives.read("outlet", 3, {("r", 0): "A"})
    assert answers(lives)["p"][4] == 3


def test_a_catalog_with_a_name_stands_for_the_files_from_before_catalogs_had_names(lives: Lives) -> None:
    lives.read("", 0, {("p", 0): "A", ("q", 0): "A"})
    lives.read("shop", 1, {("p", 0): "A"})
    assert {product: answer[4] for product, answer in answers(lives).items()} == {"p": None, "q": 1}
    lives.read("shop", 2, {("r", 0): "A"})
    assert answers(lives)["p"][4] == 2


@pytest.mark.parametrize("night", [0, 1, 2])
def test_the_same_publish_again_changes_no_row(lives: Lives, night: int) -> None:
    lives.read("shop", 0, TWO_PHOTOGRAPHS)
    lives.read("shop", 1, FIRST_OF_EIGHT)
    lives.read("shop", 2, {**TWO_PHOTOGRAPHS, ("p3", 0): BROKEN})
    before = runs.dump(lives.database)
    lives.publish(night)
    assert runs.dump(lives.database) == before


def test_a_row_that_a_shop_wrote_in_products_stays_as_it_is(lives: Lives) -> None:
    table = metadata.tables["products"]
    with lives.database.engine.begin() as connection:
        own = {"product_id": "p", "image_no": 0, "image_uri": "file:///own.jpg", "title": "of the shop"}
        connection.execute(table.insert(), [own, {**own, "image_no": 1}])
    before = runs.dump(lives.database)["products"]
    lives.read("shop", 0, {("p", 0): "A", ("p", 1): BROKEN})
    lives.read("shop", 1, {("p", 0): BROKEN}, title="another title")
    lives.read("shop", 2, {("q", 0): "A"})
    assert [row for row in runs.dump(lives.database)["products"] if row[0] == "p"] == before


def test_rejected_images_are_in_products_with_the_reason(lives: Lives) -> None:
    lives.read("shop", 0, {("p", 0): "A", ("q", 0): BROKEN})
    assert reasons(lives) == {("p", 0): None, ("q", 0): "truncated"}
    lives.read("shop", 1, {("p", 0): BROKEN, ("q", 0): "A"})
    assert reasons(lives) == {("p", 0): "truncated", ("q", 0): None}
    assert answers(lives)["p"][2] == 1, "the last usable picture stays"


def test_a_picture_that_is_published_late_ends_an_earlier_rejection(lives: Lives) -> None:
    lives.read("shop", 3, {("p", 0): "A"}, publish=0)
    lives.read("shop", 4, {("p", 0): "A"}, partial=True)
    lives.read("shop", 2, {("p", 0): BROKEN}, title="an older title")
    assert reasons(lives) == {("p", 0): "truncated"}
    lives.publish(3)
    assert reasons(lives) == {("p", 0): None}


def reasons(lives: Lives) -> dict[tuple[str, int], str | None]:
    """Return `products.reason` by position."""
    answers(lives)
    return {(row[0], row[1]): row[9] for row in runs.dump(lives.database)["products"]}


def test_totals_are_those_of_the_products_that_are_there(lives: Lives) -> None:
    lives.read("shop", 0, TWO_PHOTOGRAPHS)
    lives.decide("p9", runs.SHIRT)
    lives.read("shop", 1, FIRST_OF_EIGHT)
    lives.decide("p10", runs.SHIRT)
    assert answers(lives)["p10"][4] == 1, "a decision on a product that has left does not bring it back"
    lives.clear("p9")
    assert "p9" not in answers(lives)
    lives.read("shop", 2, TWO_PHOTOGRAPHS)
    assert answers(lives)["p9"][1] == "release-1"


def test_an_image_that_one_run_reads_after_an_earlier_night_has_left_it_is_named_again(
    database: ProductDatabase,
) -> None:
    """All that the run has read is new, and what an earlier night said of it is overcome nevertheless."""
    left = [runs.image_change("p", "left", night=1)]
    runs.publish(database, [runs.prediction("p", night=2)], image_changes=left, night=2)
    assert found(database)["current"] == ["p"]

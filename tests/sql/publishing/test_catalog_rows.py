"""The catalog's own rows: the newest night's words stand, and of one night those that were heard last."""

from __future__ import annotations

import pytest

from sql.store import ProductDatabase
from tests.sql.runs import dump, prediction, product, publish


def titles(database: ProductDatabase) -> dict[str, str]:
    return {row[0]: row[3] for row in dump(database)["products"]}


@pytest.mark.parametrize("turn", [1, -1])
def test_the_row_with_the_highest_ingest_no_wins_in_any_order(database: ProductDatabase, turn: int) -> None:
    heard = [
        product("p", "read with its image"),
        product("p", "renamed", ingest_no=2),
        product("p", "the last name", ingest_no=3),
    ]
    publish(database, [prediction("p")], products=heard[::turn])
    assert titles(database) == {"p": "the last name"}
    counts = publish(database, [prediction("p")], products=heard[::-turn])
    assert not counts.changed
    assert titles(database) == {"p": "the last name"}


def test_a_new_title_needs_no_new_prediction_and_rewrites_nothing_else(database: ProductDatabase) -> None:
    publish(database, [prediction("p"), prediction("q")], products=[product("p"), product("q")])
    before = dump(database)
    counts = publish(database, night=1, products=[product("p", "renamed", night=1)])
    assert (counts.catalog_rows_changed, counts.images_changed, counts.products_changed) == (1, 0, 0)
    assert titles(database) == {"p": "renamed", "q": "a title"}
    after = dump(database)
    for name in ("category_predictions", "product_categories", "category_totals", "rejected_images"):
        assert after[name] == before[name]


def test_a_backfill_of_an_older_night_does_not_restore_the_old_title(database: ProductDatabase) -> None:
    publish(database, night=1, products=[product("p", "renamed", night=1)])
    publish(database, [prediction("p")], run_id="backfill", night=2, products=[product("p", "as it was read")])
    assert titles(database) == {"p": "renamed"}


def test_a_backfill_of_an_earlier_ingest_of_the_date_does_not_restore_the_old_title(
    database: ProductDatabase,
) -> None:
    publish(database, products=[product("p", "as it was read"), product("p", "renamed", ingest_no=2)])
    publish(database, [prediction("p")], run_id="backfill", products=[product("p", "as it was read")])
    assert titles(database) == {"p": "renamed"}


def test_a_group_is_published_and_changed_as_a_title_is(database: ProductDatabase) -> None:
    def groups() -> dict[str, str]:
        return {row[0]: row[6] for row in dump(database)["products"]}

    heard = [product("p", group_id="g"), product("q")]
    publish(database, [prediction("p"), prediction("q")], products=heard)
    assert groups() == {"p": "g", "q": None}
    assert not publish(database, [prediction("p"), prediction("q")], products=heard).changed
    counts = publish(database, products=[product("q", group_id="g")])
    assert (counts.catalog_rows_changed, groups()) == (1, {"p": "g", "q": "g"}), "the same ingest, read again"
    publish(database, night=1, products=[product("p", night=1)])
    assert groups() == {"p": None, "q": "g"}

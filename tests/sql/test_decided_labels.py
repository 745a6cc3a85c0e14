"""Which decisions stand, on which pictures they were made, and how many a champion has not learned."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from jobs.training.decisions import decisions_in
from sql.aliases import set_alias
from sql.decided_labels import StandingDecision, standing_decisions
from sql.errors import DatabaseError
from sql.overrides import Override, accept_suggestions, clear_overrides, record_overrides, set_overrides
from sql.store import ProductDatabase, open_database
from tests.sql.runs import BOOT, RELEASE, SHIRT, T_SHIRT, combine_by, image_change, picture_of, prediction, publish
from tests.sql.test_queries import rows_of

NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)


def decide(database: ProductDatabase, product_id: str, category_id: str) -> None:
    set_overrides(database, [Override(product_id, category_id)], decided_by="ada")


def of_earlier_version(database: ProductDatabase, product_id: str) -> None:
    """Make a product's decisions as versions wrote them that noted neither how they came nor their pictures."""
    with database.engine.begin() as connection:
        numbers = "(SELECT override_id FROM overrides WHERE product_id = :name)"
        for statement in (
            f"DELETE FROM override_pictures WHERE override_id IN {numbers}",
            "UPDATE overrides SET came_by = NULL WHERE product_id = :name",
        ):
            connection.execute(sa.text(statement), {"name": product_id})


@pytest.fixture
def shop(database: ProductDatabase) -> ProductDatabase:
    publish(database, [prediction(name, SHIRT) for name in "pqrst"])
    return database


def test_the_latest_decision_on_a_product_stands_with_the_pictures_that_it_was_made_on(shop: ProductDatabase) -> None:
    decide(shop, "p", BOOT)
    decide(shop, "p", T_SHIRT)
    decide(shop, "q", BOOT)
    clear_overrides(shop, ["q"], decided_by="ada", combine_by=combine_by)
    accept_suggestions(shop, ["r"], decided_by="maria")
    publish(shop, [prediction("r", SHIRT, content="B", night=1)], night=1)
    decide(shop, "s", BOOT)
    of_earlier_version(shop, "s")
    found = standing_decisions(shop)
    assert found.decisions == [
        StandingDecision("p", T_SHIRT, frozenset({picture_of("p", "A")})),
        StandingDecision("r", SHIRT, frozenset({picture_of("r", "A")})),
        StandingDecision("s", BOOT, None),
    ], "`q` was given back, and the picture of `r` has changed since"
    assert found.category_paths[T_SHIRT] == "Apparel > Tops > T-shirt"
    assert found.until == 6


def test_a_decision_on_a_product_without_a_picture_was_made_on_none(database: ProductDatabase) -> None:
    """It is not one of an earlier version, which held for all pictures because nobody noted them."""
    publish(database, [prediction("p", SHIRT)])
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE product_images SET image_sha256 = NULL"))
    decide(database, "p", BOOT)
    [found] = standing_decisions(database).decisions
    assert found.contents == frozenset()


def test_a_product_that_is_none_of_the_categories_has_a_decision_without_one(shop: ProductDatabase) -> None:
    from sql.decided import record
    from sql.engine import writing

    with writing(shop.engine) as connection:
        record(connection, [("p", None, None, "ada", NOON, "none")], moment=NOON, came_by="focus")
    assert decisions_in(shop).decisions["p"].category_id is None


def test_a_training_that_goes_on_reads_the_decisions_that_it_was_begun_with(shop: ProductDatabase) -> None:
    decide(shop, "p", BOOT)
    decide(shop, "q", BOOT)
    begun = standing_decisions(shop)
    decide(shop, "p", T_SHIRT)
    clear_overrides(shop, ["q"], decided_by="ada", combine_by=combine_by)
    decide(shop, "r", BOOT)
    again = standing_decisions(shop, until=begun.until)
    assert (again.decisions, again.until) == (begun.decisions, begun.until)
    assert standing_decisions(shop, until=0).decisions == []
    assert standing_decisions(shop).until == begun.until + 3


def test_a_database_that_is_not_migrated_gives_one_sentence(empty_url: str) -> None:
    with pytest.raises(DatabaseError, match="shelfwise db upgrade"):
        decisions_in(open_database(empty_url))


def test_decisions_since_the_training_of_the_champion(shop: ProductDatabase) -> None:
    def since(**params: int) -> tuple[str | None, int, int, int]:
        [row] = rows_of(shop, "decisions_since_training", params)
        return row["release_id"], row["learned_until"], row["decided_count"], row["last_override_id"]

    assert since() == (None, 0, 0, 0)
    record_overrides(shop, [Override(name, BOOT) for name in "pqr"], decided_by="ada")
    assert since() == (None, 0, 3, 3), "there is no champion that has learned one"
    for manifest, until in (({}, 0), ({"training": {}}, 0), ({"training": {"decisions_until": 3}}, 3)):
        release = replace(RELEASE, release_id=f"shop-{len(str(manifest))}", manifest=manifest)
        set_alias(shop, "champion", release, changed_by="ada", at_utc=NOON)
        assert since() == (release.release_id, until, 3 - until, 3)
    decide(shop, "p", T_SHIRT)
    decide(shop, "p", SHIRT)
    decide(shop, "s", BOOT)
    clear_overrides(shop, ["s"], decided_by="ada", combine_by=combine_by)
    decide(shop, "t", BOOT)
    assert since()[1:] == (3, 2, 8), "each product counts once, and not if its decision was cleared"
    assert since(after=5)[2] == 1
    assert since(after=8)[2] == 0
    publish(shop, image_changes=[image_change(name, "left", night=1) for name in "pq"], night=1)
    assert since()[1:] == (3, 1, 8), "a product that has left teaches nothing, and starts no training"
    publish(shop, image_changes=[image_change("p", "named", night=2)], night=2)
    assert since()[2] == 2

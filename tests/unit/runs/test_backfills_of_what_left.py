"""Backfills while products leave the catalog and return to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobs.predict import job as predict
from jobs.runs import backfill as backfills
from jobs.runs.config import RunConfig, RunContext
from sql.store import ProductDatabase
from tests.sql.runs import image_change, publish
from tests.unit.predict.test_predict_loop import DAY, RELEASE
from tests.unit.predict.test_predict_task import fake_networks
from tests.unit.runs.test_gated_nights import FAMILIAR, World
from tests.unit.runs.test_gated_nights import world as world

RUN = RunConfig("again", "backfill", DAY, dates=(DAY,))
BY = "SELECT product_id, release_id FROM product_categories ORDER BY product_id"
PREDICTED = "SELECT product_id FROM category_predictions WHERE release_id = 'colours-2' ORDER BY product_id"


@pytest.fixture
def newer(world: World, monkeypatch: pytest.MonkeyPatch) -> RunContext:
    """A published night of a red and a blue product, and a newer release."""
    world.publish(FAMILIAR)
    context = replace(world.context, release=replace(RELEASE, release_id="colours-2"))
    monkeypatch.setattr(predict, "loaded_networks", lambda *_: replace(fake_networks(), release=context.release))
    return context


def tell(database: ProductDatabase, night: int, **outcomes: str) -> None:
    """Publish a night in which the catalog ceases to name products, or names them again."""
    changes = [image_change(name, outcome, night=night) for name, outcome in outcomes.items()]
    publish(database, night=night, image_changes=changes)


def test_a_product_that_has_left_is_not_predicted_and_keeps_its_answer_when_it_returns(
    world: World, newer: RunContext
) -> None:
    database = world.database
    tell(database, 1, blue="left")
    assert backfills.backfill_plan(newer, database, RUN)["images_to_predict"] == 1
    done = backfills.backfill(newer, database, RUN)
    assert (done["predict"]["images"], done["publish"]["images"]) == (1, 1)
    assert world.rows(PREDICTED) == [("red",)]
    tell(database, 2, blue="named")
    assert world.rows(BY) == [("blue", "colours-1"), ("red", "colours-2")]
    assert backfills.backfill_plan(newer, database, RUN)["images_to_predict"] == 2
    backfills.backfill(newer, database, RUN)
    assert world.rows(BY) == [("blue", "colours-2"), ("red", "colours-2")]


def test_what_a_backfill_has_predicted_is_not_predicted_again_because_products_have_left_since(
    world: World, newer: RunContext
) -> None:
    def images() -> tuple[Any, Any]:
        done = backfills.backfill(newer, world.database, RUN)
        return done["predict"]["images"], done["publish"]["images_changed"]

    assert images() == (2, 2)
    tell(world.database, 1, blue="left")
    assert backfills.backfill_plan(newer, world.database, RUN)["images_to_predict"] == 0
    assert images() == (0, 0)


def test_a_backfill_whose_products_have_all_left_predicts_none(world: World, newer: RunContext) -> None:
    tell(world.database, 1, blue="left", red="left")
    done = backfills.backfill(newer, world.database, RUN)
    assert (done["predict"]["shards"], done["publish"]["images"]) == (0, 0)
    both = replace(RUN, run_id="both", include_left=True)
    assert backfills.backfill(newer, world.database, both)["predict"]["images"] == 2
    assert world.rows(PREDICTED) == [("blue",), ("red",)]
    assert world.rows(BY) == [("blue", "colours-1"), ("red", "colours-1")]

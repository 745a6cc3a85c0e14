"""Old history goes in parts; nothing that anybody sees or decided goes with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sql.overrides import Override, clear_override, set_overrides
from sql.prune import PruneCounts, prune
from sql.retract import retract_run
from sql.schema.products import category_predictions
from sql.store import ProductDatabase
from tests.sql.runs import (
    BOOT,
    NEWER_RELEASE,
    SHIRT,
    T_SHIRT,
    answer,
    combine_by,
    dump,
    image_change,
    prediction,
    publish,
    rejection,
    sha,
)

RUN_ID = list(category_predictions.columns.keys()).index("run_id")


@pytest.fixture
def nights(database: ProductDatabase) -> ProductDatabase:
    """Four nights over ten products: `steady` never changes, the others change every night."""
    for night in range(4):
        changed = [prediction(f"p{n}", SHIRT, content=f"night {night}", night=night) for n in range(9)]
        steady = [prediction("steady", T_SHIRT)] if night == 0 else []
        publish(database, [*changed, *steady], rejections=[rejection("bad", night=night)], night=night)
    return database


def test_only_current_images_of_old_runs_stay(nights: ProductDatabase) -> None:
    before = dump(nights)
    counts = prune(nights, keep_runs=2, products_per_transaction=3)
    after = dump(nights)
    assert counts.kept_runs == ("nightly-2026-11-04", "nightly-2026-11-03")
    assert (counts.predictions, counts.rejections) == (18, 2)
    assert counts.transactions == 5
    assert {row[RUN_ID] for row in after["category_predictions"] if row[0] != "steady"} == set(counts.kept_runs)
    assert [row[RUN_ID] for row in after["category_predictions"] if row[0] == "steady"] == ["nightly-2026-11-01"]
    for name in ("product_categories", "category_totals", "runs", "overrides", "run_category_counts"):
        assert after[name] == before[name]


def test_a_dry_run_counts_what_would_be_deleted_and_deletes_nothing(nights: ProductDatabase) -> None:
    publish(nights, [prediction("steady", SHIRT)], run_id="backfill-1")
    publish(nights, [prediction("steady", BOOT)], night=1, run_id="backfill-2")
    before = dump(nights)
    counted = prune(nights, keep_runs=2, dry_run=True)
    assert (counted.predictions, counted.replaced_predictions, counted.rejections) == (18, 2, 2)
    assert dump(nights) == before
    assert replace(prune(nights, keep_runs=2), transactions=0) == counted


def test_what_pruned_runs_had_overwritten_goes_and_what_a_kept_run_has_overwritten_stays(
    database: ProductDatabase,
) -> None:
    """Otherwise replaced_predictions grew with every backfill, and no prune ever made it smaller."""
    for night, confidence in enumerate([0.81, 0.82, 0.83, 0.84]):
        publish(database, [prediction("p", SHIRT, confidence)], night=night)
    overwritten = [(row[0], row[-1]) for row in dump(database)["replaced_predictions"]]
    runs = [f"nightly-2026-11-0{number}" for number in (1, 2, 3, 4)]
    assert overwritten == list(zip(runs[1:], runs[:-1], strict=True))
    counts = prune(database, keep_runs=1)
    assert (counts.kept_runs, counts.replaced_predictions) == ((runs[3],), 2)
    assert [(row[0], row[-1]) for row in dump(database)["replaced_predictions"]] == [(runs[3], runs[2])]
    assert prune(database, keep_runs=1).replaced_predictions == 0
    retract_run(database, runs[3], by="ada", combine_by=combine_by)
    assert (answer(database, "p")["confidence"], answer(database, "p")["run_id"]) == (0.83, runs[2])
    retract_run(database, runs[2], by="ada", combine_by=combine_by)
    assert dump(database)["product_categories"] == []


def test_pruning_again_drops_nothing(nights: ProductDatabase) -> None:
    prune(nights, keep_runs=1)
    before = dump(nights)
    again = prune(nights, keep_runs=1)
    assert (again.predictions, again.rejections) == (0, 0)
    assert dump(nights) == before


@pytest.mark.parametrize(("first", "second"), [("A", "B"), ("B", "A")])
def test_of_two_contents_of_a_date_the_one_ingested_later_stays(
    database: ProductDatabase, first: str, second: str
) -> None:
    publish(database, [prediction("p", SHIRT, content=first)])
    publish(database, [prediction("p", SHIRT, content=first), prediction("p", BOOT, content=second, ingest_no=2)])
    publish(database, [prediction("q", night=1)], night=1)
    prune(database, keep_runs=1)
    assert [row[:3] for row in dump(database)["category_predictions"] if row[0] == "p"] == [
        ("p", "release-1", sha(f"p/{second}"))
    ]
    assert answer(database, "p")["category_id"] == BOOT


def test_answers_of_a_replaced_release_are_deleted_and_those_of_its_successor_stay(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT)])
    publish(database, [prediction("p", BOOT)], night=1, release=NEWER_RELEASE, run_id="backfill")
    publish(database, [prediction("q", BOOT, night=2)], night=2, release=NEWER_RELEASE)
    prune(database, keep_runs=1)
    assert [row[:2] for row in dump(database)["category_predictions"]] == [("p", "release-2"), ("q", "release-2")]
    assert answer(database, "p")["category_id"] == BOOT


def test_a_manual_answer_stays_and_can_still_be_cleared(nights: ProductDatabase) -> None:
    set_overrides(nights, [Override("p1", BOOT)], decided_by="maria")
    publish(nights, [prediction("q", BOOT, night=8)], night=8)
    prune(nights, keep_runs=1)
    assert answer(nights, "p1")["status"] == "manual"
    clear_override(nights, "p1", decided_by="maria", combine_by=combine_by)
    assert answer(nights, "p1")["category_id"] == SHIRT
    assert len(dump(nights)["overrides"]) == 2


def test_a_product_whose_only_usable_picture_was_away_has_its_answer_again(database: ProductDatabase) -> None:
    """A picture that returns is not predicted again, and prune had deleted what was predicted of it."""
    publish(database, [prediction("p", SHIRT)])
    publish(
        database,
        rejections=[rejection("p", image_no=1, night=1)],
        image_changes=[image_change("p", "left", night=1)],
        night=1,
    )
    assert [row[0] for row in dump(database)["product_categories"]] == [], "its other picture cannot be used"
    publish(database, [prediction("q", night=2)], night=2)
    prune(database, keep_runs=1)
    publish(database, image_changes=[image_change("p", "named", night=3)], night=3)
    assert answer(database, "p")["category_id"] == SHIRT


def test_a_rerun_after_pruning_does_not_bring_old_answers_back(nights: ProductDatabase) -> None:
    prune(nights, keep_runs=1)
    before = dump(nights)["product_categories"]
    publish(nights, [prediction(f"p{n}", BOOT, content="night 1", night=1) for n in range(9)], night=1)
    assert dump(nights)["product_categories"] == before


def test_pruning_an_empty_database_deletes_nothing_and_a_bad_number_is_refused(database: ProductDatabase) -> None:
    assert prune(database, keep_runs=1) == prune(database, keep_runs=1, dry_run=True) == PruneCounts()
    with pytest.raises(ValueError, match="expected at least 1"):
        prune(database, keep_runs=0)

"""A published run is taken back: what it wrote is gone, what it had overwritten is back, and answers follow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from sql.errors import DatabaseError, UnknownNameError
from sql.named_queries import run_query
from sql.overrides import Override, clear_override, set_overrides
from sql.prune import prune
from sql.retract import RetractCounts, retract_run
from sql.run_history import LISTED, find_run, list_runs
from sql.schema.tables import metadata
from sql.shadow import publish_shadow
from sql.store import ProductDatabase
from tests.sql.runs import (
    BOOT,
    CATEGORIES,
    NEWER_RELEASE,
    SHIRT,
    T_SHIRT,
    answer,
    combine_by,
    dump,
    fail,
    image_change,
    prediction,
    publish,
    rejection,
    run_record,
)

ONE, TWO, THREE = "nightly-2026-11-01", "nightly-2026-11-02", "nightly-2026-11-03"
NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
OF_ANSWERS = ("category_id", "confidence", "status", "release_id", "image_count", "ingest_date", "ingest_no", "run_id")
HISTORY = ("category_predictions", "replaced_predictions")


def retract(database: ProductDatabase, run_id: str, *, by: str = "ada", why: str | None = None) -> RetractCounts:
    return retract_run(database, run_id, by=by, why=why, combine_by=combine_by, at_utc=NOW)


def answers(database: ProductDatabase) -> dict[str, tuple[Any, ...]]:
    """Return the current answers by product, without when they were written and what was before."""
    table = metadata.tables["product_categories"]
    with database.engine.connect() as connection:
        rows = connection.execute(sa.select(table)).mappings()
        return {row["product_id"]: tuple(row[name] for name in OF_ANSWERS) for row in rows}


def history(database: ProductDatabase) -> dict[str, list[tuple[Any, ...]]]:
    rows = dump(database)
    return {name: rows[name] for name in HISTORY}


def totals(database: ProductDatabase) -> dict[tuple[str, str], int]:
    return {(row[0], row[1]): row[3] for row in dump(database)["category_totals"]}


def rows_of(database: ProductDatabase, name: str, **params: Any) -> list[dict[str, Any]]:
    result = run_query(database, name, params)
    return [dict(zip(result.columns, row, strict=True)) for row in result.rows]


def test_a_retracted_night_leaves_no_prediction_and_its_products_without_an_answer(database: ProductDatabase) -> None:
    publish(database, [prediction("p"), prediction("q", BOOT)])
    before = answers(database)
    publish(database, [prediction("p", BOOT, content="B", night=1), prediction("new", night=1)], night=1)
    counts = retract(database, TWO)
    assert counts == RetractCounts(
        predictions_deleted=2, predictions_restored=0, products_changed=0, products_without_answer=2
    )
    # The first picture of `p` is no longer at a position of the product, so it has no say.
    assert answers(database) == {"q": before["q"]}
    assert [row["product_id"] for row in rows_of(database, "without_answer")] == ["new", "p"]
    assert totals(database) == {(BOOT, "auto"): 1}


def test_of_two_pictures_the_one_of_the_other_night_answers(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT, 0.9)])
    before = answers(database)
    publish(database, [prediction("p", BOOT, 0.99, content="2", image_no=1, night=1)], night=1)
    assert answers(database) != before
    retract(database, TWO)
    assert answers(database) == before
    assert totals(database) == {(SHIRT, "auto"): 1}


def test_a_retracted_backfill_of_a_newer_release_gives_the_answers_back(database: ProductDatabase) -> None:
    publish(database, [prediction("p"), prediction("q", T_SHIRT, 0.5, status="review")])
    before, past = answers(database), history(database)
    publish(database, [prediction("p", BOOT), prediction("q", BOOT)], night=3, release=NEWER_RELEASE, run_id="backfill")
    assert {row[3] for row in answers(database).values()} == {"release-2"}
    counts = retract(database, "backfill")
    assert (counts.predictions_deleted, counts.products_changed) == (2, 2)
    assert answers(database) == before
    assert history(database) == past
    assert totals(database) == {(SHIRT, "auto"): 1, (T_SHIRT, "review"): 1}
    assert answer(database, "p")["updated_at_utc"] == NOW


def test_a_retracted_backfill_of_the_same_release_gives_its_confidences_back(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT, 0.9), prediction("q", SHIRT, 0.9)])
    before, past = answers(database), history(database)
    publish(database, [prediction("p", SHIRT, 0.7), prediction("q", SHIRT, 0.9)], night=3, run_id="backfill")
    assert [row[1] for row in dump(database)["replaced_predictions"]] == ["p"], "only where values change"
    counts = retract(database, "backfill")
    assert (counts.predictions_deleted, counts.predictions_restored, counts.products_changed) == (0, 1, 1)
    assert answers(database) == before
    assert history(database) == past


def test_a_run_that_replaced_answers_of_a_newer_release_by_force_gives_them_back(database: ProductDatabase) -> None:
    """The older release had predicted the picture before, so predictions of it remain; yet it must not go on."""
    publish(database, [prediction("p", SHIRT, 0.9)])
    publish(database, [prediction("p", BOOT, 0.95)], night=1, release=NEWER_RELEASE, run_id="backfill-2")
    before = answers(database)
    publish(database, [prediction("p", T_SHIRT, 0.8)], night=2, run_id="backfill-1", force=True)
    assert answer(database, "p")["category_id"] == T_SHIRT
    retract(database, "backfill-1")
    assert answers(database) == before


def test_later_runs_keep_their_answers(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT, 0.9), prediction("q", SHIRT, 0.9)])
    publish(database, [prediction("p", SHIRT, 0.7), prediction("q", SHIRT, 0.6)], night=2, run_id="backfill-a")
    publish(database, [prediction("p", SHIRT, 0.8)], night=3, run_id="backfill-b")
    retract(database, "backfill-a")
    assert [answers(database)[name][1] for name in ("p", "q")] == [0.8, 0.9]
    retract(database, "backfill-b")
    assert [answers(database)[name][1] for name in ("p", "q")] == [0.9, 0.9]
    assert dump(database)["replaced_predictions"] == []


@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "b", "a"), ("b", "a", "c"), ("b", "c", "a"), ("a", "c", "b")])
def test_runs_are_retracted_in_any_order(database: ProductDatabase, order: tuple[str, ...]) -> None:
    values = {"a": 0.7, "b": 0.8, "c": 0.85}
    publish(database, [prediction("p", SHIRT, 0.9)])
    for name, confidence in values.items():
        publish(database, [prediction("p", SHIRT, confidence)], night=3, run_id=name)
    standing = ["first", *values]
    for name in order:
        retract(database, name)
        standing.remove(name)
        assert answer(database, "p")["confidence"] == {"first": 0.9, **values}[standing[-1]]


def test_the_first_of_several_runs_is_retracted_before_the_later_one(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT, 0.9)])
    publish(database, [prediction("p", SHIRT, 0.7)], night=2, run_id="backfill")
    retract(database, ONE)
    assert answer(database, "p")["confidence"] == 0.7
    retract(database, "backfill")
    assert answers(database) == {}
    assert history(database) == {"category_predictions": [], "replaced_predictions": []}


@pytest.mark.parametrize("first", [False, True])
def test_a_run_that_wrote_again_after_another_gives_back_what_that_one_wrote(
    database: ProductDatabase, first: bool
) -> None:
    if not first:
        publish(database, [prediction("p", SHIRT, 0.6)], run_id="before")
    publish(database, [prediction("p", SHIRT, 0.9)])
    publish(database, [prediction("p", SHIRT, 0.7)], night=2, run_id="backfill")
    publish(database, [prediction("p", SHIRT, 0.9)])
    assert answer(database, "p")["confidence"] == 0.9
    retract(database, ONE)
    assert answer(database, "p")["confidence"] == 0.7
    retract(database, "backfill")
    assert [row[1] for row in answers(database).values()] == ([] if first else [0.6])


def test_decisions_stay_and_clearing_one_finds_what_remains(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT)])
    publish(database, [prediction("p", BOOT)], night=1, release=NEWER_RELEASE, run_id="backfill")
    set_overrides(database, [Override("p", T_SHIRT)], decided_by="maria")
    decided = answer(database, "p")
    assert retract(database, "backfill").products_changed == 0
    assert answer(database, "p") == decided
    clear_override(database, "p", decided_by="maria", combine_by=combine_by)
    assert (answer(database, "p")["category_id"], answer(database, "p")["release_id"]) == (SHIRT, "release-1")


@pytest.mark.parametrize("goes", ["taken back", "left", "a rejection beside it"])
def test_a_product_ruled_out_by_a_person_has_no_answer_of_the_same_picture_again(
    database: ProductDatabase, goes: str
) -> None:
    """A second picture had replaced the decision. Once it has no say, the answer would be of the picture ruled out."""
    publish(database, [prediction("p", SHIRT), prediction("q", BOOT)])
    set_overrides(database, [Override("p", None)], decided_by="maria")
    decided, before = answers(database), totals(database)
    publish(database, [prediction("p", BOOT, content="2", image_no=1, night=1)], night=1)
    assert not answer(database, "p")["decided"]
    if goes == "taken back":
        assert retract(database, TWO).products_changed == 1
    elif goes == "left":
        publish(database, image_changes=[image_change("p", "left", image_no=1, night=2)], night=2)
    else:
        back = [image_change("p", "left", image_no=1, night=2), image_change("p", "unchanged", content="A", night=2)]
        publish(database, rejections=[rejection("p", image_no=2, night=2)], image_changes=back, night=2)
    assert answer(database, "p")["decided"]
    assert answers(database) == decided
    assert totals(database) == before
    assert rows_of(database, "review_queue") == []


def test_a_product_ruled_out_by_a_person_stays_so_when_the_night_with_another_picture_is_taken_back(
    database: ProductDatabase,
) -> None:
    """The catalog's record stays, so that no picture with a prediction remains; nobody has answered the other one."""
    publish(database, [prediction("p", SHIRT)])
    set_overrides(database, [Override("p", None)], decided_by="maria")
    publish(database, [prediction("p", BOOT, content="2", night=1)], night=1)
    assert answer(database, "p")["category_id"] == BOOT
    counts = retract(database, TWO)
    assert (counts.products_changed, counts.products_without_answer) == (1, 0)
    assert (answer(database, "p")["decided"], totals(database)) == (True, {("", "unknown"): 1})
    publish(database, [prediction("p", BOOT, content="2", night=1)], night=1)
    assert (answer(database, "p")["decided"], totals(database)) == (False, {(BOOT, "auto"): 1})


def test_a_category_that_a_person_chose_since_is_not_replaced_by_the_earlier_decision(
    database: ProductDatabase,
) -> None:
    publish(database, [prediction("p", SHIRT)])
    set_overrides(database, [Override("p", None)], decided_by="maria")
    publish(database, [prediction("p", BOOT, content="2", image_no=1, night=1)], night=1)
    set_overrides(database, [Override("p", T_SHIRT)], decided_by="jon")
    retract(database, TWO)
    assert (answer(database, "p")["category_id"], answer(database, "p")["decided"]) == (T_SHIRT, True)
    clear_override(database, "p", decided_by="jon", combine_by=combine_by)
    publish(database, [prediction("p", SHIRT, night=3)], night=3)
    assert (answer(database, "p")["category_id"], answer(database, "p")["decided"]) == (SHIRT, False)


def test_a_product_that_shrank_in_between_is_answered_by_what_it_still_has(database: ProductDatabase) -> None:
    two = [prediction("p", SHIRT, 0.9), prediction("p", T_SHIRT, 0.95, content="2", image_no=1)]
    publish(database, two)
    publish(database, image_changes=[image_change("p", "left", image_no=1, night=1)], night=1)
    shrunk = answers(database)
    assert shrunk["p"][4] == 1
    newer = [prediction("p", BOOT, 0.9), prediction("p", BOOT, 0.9, content="2", image_no=1)]
    publish(database, newer, night=2, release=NEWER_RELEASE, run_id="backfill")
    retract(database, "backfill")
    assert answers(database) == shrunk


def test_a_product_that_has_left_keeps_its_answer_until_it_returns(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT), prediction("q", SHIRT)])
    publish(database, [prediction("p", BOOT), prediction("q", BOOT)], release=NEWER_RELEASE, run_id="backfill")
    publish(database, image_changes=[image_change("p", "left", night=1), image_change("q", "left", night=1)], night=1)
    retract(database, "backfill")
    assert (answer(database, "p")["category_id"], totals(database)) == (BOOT, {})
    publish(database, image_changes=[image_change("p", "named", night=2)], night=2)
    assert (answer(database, "p")["category_id"], totals(database)) == (SHIRT, {(SHIRT, "auto"): 1})


def test_the_row_says_who_and_why_and_a_second_time_is_refused(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT, 0.5, status="review")], rejections=[rejection("broken")])
    rejected = dump(database)["rejected_images"]
    assert len(rows_of(database, "run_highlights", run_id=ONE)) == 1
    retract(database, ONE, why="swapped photographs")
    row = find_run(database, ONE)
    assert row is not None
    assert (row["state"], row["retracted_at_utc"]) == ("published", NOW)
    assert row["summary"]["retracted"] == {"by": "ada", "why": "swapped photographs"}
    assert dump(database)["rejected_images"] == rejected
    assert rows_of(database, "run_highlights", run_id=ONE) == []
    assert list_runs(database)[0][LISTED.index("retracted_at_utc")] == NOW
    before = dump(database)
    with pytest.raises(ValueError, match=r"was retracted already, by ada at 2026-11-20 09:30 UTC; run it again"):
        retract(database, ONE)
    assert dump(database) == before


def test_publishing_the_run_again_publishes_it_again(database: ProductDatabase) -> None:
    night = [prediction("p"), prediction("q", BOOT, 0.6, status="review")]
    publish(database, night)
    before = dump(database)
    retract(database, ONE, why="a mistake")
    publish(database, night)
    after = dump(database)
    assert {name: rows for name, rows in after.items() if name not in ("runs", "product_categories")} == {
        name: rows for name, rows in before.items() if name not in ("runs", "product_categories")
    }
    row = find_run(database, ONE)
    assert row is not None
    assert row["retracted_at_utc"] is None
    assert "retracted" not in row["summary"]
    assert row["summary"]["retracted_before"] == [{"by": "ada", "why": "a mistake", "at_utc": NOW.isoformat()}]
    assert row["counts"]["first_answered"] == 2, "not added to those of the first time"
    retract(database, ONE)
    assert answers(database) == {}


def test_a_retracted_run_that_is_tried_again_and_fails_stays_retracted(database: ProductDatabase) -> None:
    publish(database, [prediction("p")])
    retract(database, ONE)
    fail(database, run_record(), "no space left")
    row = find_run(database, ONE)
    assert row is not None
    assert (row["state"], row["retracted_at_utc"]) == ("published", NOW)


def test_what_cannot_be_retracted_is_refused_in_one_sentence(database: ProductDatabase) -> None:
    publish(database, [prediction("p")])
    database.claim(run_record(1))
    fail(database, run_record(2), "no space left")
    before = dump(database)
    with pytest.raises(UnknownNameError, match=f"There is no run 'nightly-2026-11-31'; the nearest are .*'{ONE}'"):
        retract(database, "nightly-2026-11-31")
    with pytest.raises(ValueError, match=f"Run '{TWO}' is running and has published nothing"):
        retract(database, TWO)
    with pytest.raises(ValueError, match=f"Run '{THREE}' is failed and has published nothing"):
        retract(database, THREE)
    with pytest.raises(ValueError, match="Nobody retracts"):
        retract(database, ONE, by=" ")
    assert dump(database) == before
    database.claim(run_record())
    with pytest.raises(ValueError, match=rf"The driver \S+:\d+ works on run '{ONE}': .*`shelfwise runs resume {ONE}`"):
        retract(database, ONE)
    assert answers(database)


def test_an_empty_database_says_that_there_is_no_run(database: ProductDatabase) -> None:
    with pytest.raises(UnknownNameError, match="there is none yet"):
        retract(database, ONE)


def shadow(database: ProductDatabase, run_id: str, rows: list[tuple[Any, ...]]) -> None:
    publish_shadow(database, run_id, predictions=[rows], categories=CATEGORIES, release=NEWER_RELEASE)


def test_the_challenger_s_predictions_of_the_night_go_too(database: ProductDatabase) -> None:
    publish(database, [prediction("p")])
    shadow(database, ONE, [prediction("p", BOOT)])
    retract(database, ONE)
    assert history(database)["category_predictions"] == []
    with pytest.raises(DatabaseError, match="was retracted"):
        shadow(database, ONE, [prediction("p", BOOT)])


def test_answers_that_a_backfill_took_from_a_challenger_go_with_the_backfill(database: ProductDatabase) -> None:
    """The backfill changed no prediction, because the challenger had made the same ones."""
    publish(database, [prediction("p", SHIRT)])
    before = answers(database)
    shadow(database, ONE, [prediction("p", BOOT)])
    publish(database, [prediction("p", BOOT)], night=2, release=NEWER_RELEASE, run_id="backfill")
    assert answer(database, "p")["category_id"] == BOOT
    retract(database, "backfill")
    assert answers(database) == before


def test_a_former_challenger_s_answers_stay_when_the_night_goes(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT)])
    shadow(database, ONE, [prediction("p", BOOT)])
    publish(database, [prediction("p", BOOT)], night=2, release=NEWER_RELEASE, run_id="backfill")
    retract(database, ONE)
    assert (answer(database, "p")["category_id"], answer(database, "p")["release_id"]) == (BOOT, "release-2")


def test_what_only_a_challenger_predicted_is_no_answer(database: ProductDatabase) -> None:
    """The champion's picture goes with its run, and the other one has a prediction of the challenger alone."""
    publish(database, [prediction("q")])
    publish(database, [prediction("p", night=1)], night=1)
    pair = [prediction("p", BOOT, content="2", image_no=1, night=2)]
    publish(
        database, [prediction("q", content="2", image_no=1, night=2)], rejections=[rejection("p", image_no=1)], night=2
    )
    shadow(database, THREE, pair)
    publish(database, image_changes=[image_change("p", "unchanged", content="2", image_no=1, night=3)], night=3)
    retract(database, TWO)
    assert set(answers(database)) == {"q"}


def test_comparisons_of_runs_leave_retracted_ones_out(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT), prediction("q", SHIRT)])
    publish(database, [prediction("r", BOOT, night=1), prediction("s", BOOT, night=1)], night=1)
    publish(database, [prediction("t", SHIRT, night=2)], night=2)
    retract(database, TWO)
    shares = {row["category_id"]: row["reference_image_count"] for row in rows_of(database, "run_shares", run_id=THREE)}
    assert shares == {SHIRT: 2}
    assert [row["run_id"] for row in rows_of(database, "runs_up_to", run_id=THREE)] == [THREE, ONE]
    assert [row["run_id"] for row in rows_of(database, "runs_up_to", run_id=TWO)] == [TWO, ONE]
    changes = {row["category_id"]: row["change_count"] for row in rows_of(database, "counts_since_last_run")}
    assert changes == {SHIRT: 1}
    assert prune(database, keep_runs=2).kept_runs == (THREE, ONE)


def test_a_first_publish_copies_nothing(database: ProductDatabase) -> None:
    publish(database, [prediction("p"), prediction("q")])
    publish(database, [prediction("p"), prediction("q")])
    publish(database, [prediction("p", SHIRT, 0.5)])
    assert dump(database)["replaced_predictions"] == []


def test_what_a_run_overwrote_of_several_rows_with_one_key_is_copied_once(database: ProductDatabase) -> None:
    """A task that ran twice leaves two rows."""
    publish(database, [prediction("p", SHIRT, 0.9)])
    publish(database, [prediction("p", SHIRT, 0.7), prediction("p", SHIRT, 0.6)], run_id="backfill")
    retract(database, "backfill")
    assert answer(database, "p")["confidence"] == 0.9


def test_a_failure_in_the_middle_leaves_everything_as_it_was(database: ProductDatabase) -> None:
    two = [prediction("p"), prediction("p", T_SHIRT, content="2", image_no=1)]
    publish(database, two)
    publish(database, [prediction(*row) for row in (("p", BOOT),)], release=NEWER_RELEASE, run_id="backfill")
    before = dump(database)

    def broken(_manifest: Any) -> Any:
        raise RuntimeError("no network")

    with pytest.raises(RuntimeError, match="no network"):
        retract_run(database, "backfill", by="ada", combine_by=broken, at_utc=NOW + timedelta(days=1))
    assert dump(database) == before

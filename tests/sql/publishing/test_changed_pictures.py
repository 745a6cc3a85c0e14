"""What people decided on one picture: what becomes of it when the product has another one; on both engines."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from jobs.report.facts import load_facts
from sql.errors import UnknownNameError
from sql.named_queries import run_query
from sql.overrides import Override, accept_suggestions, clear_override, record_overrides, set_overrides
from sql.pictures import allow_picture
from sql.prune import prune
from sql.publishing import changed_pictures
from sql.records import SharedPictures
from sql.retract import retract_run
from sql.selection import answered_images
from sql.shadow import publish_shadow
from sql.store import ProductDatabase
from tests.sql.runs import (
    BOOT,
    CATEGORIES,
    NEWER_RELEASE,
    RELEASE,
    SHIRT,
    T_SHIRT,
    answer,
    combine_by,
    dump,
    image_change,
    picture_of,
    prediction,
    product,
    publish,
    rejection,
    run_record,
)
from tests.sql.test_overrides import counted, totals

SUGGESTED = ("review_reason", "suggested_category_id", "suggested_confidence", "suggested_release_id")
NOTHING = (None, None, None, None)


def rows_of(database: ProductDatabase, name: str, **params: Any) -> list[dict[str, Any]]:
    result = run_query(database, name, params)
    return [dict(zip(result.columns, row, strict=True)) for row in result.rows]


def decide(database: ProductDatabase, product_id: str, category_id: str | None = BOOT, by: str = "maria") -> None:
    set_overrides(database, [Override(product_id, category_id)], decided_by=by)


def state(database: ProductDatabase, product_id: str = "p") -> tuple[Any, ...]:
    found = answer(database, product_id)
    return found["category_id"], found["status"], bool(found["decided"])


def waits_for(database: ProductDatabase, product_id: str = "p") -> tuple[Any, ...]:
    found = answer(database, product_id)
    return tuple(found[name] for name in SUGGESTED)


def later(content: str = "B", category_id: str | None = SHIRT, night: int = 1, **more: Any) -> tuple[Any, ...]:
    """One prediction of a picture of p in a later night."""
    return prediction("p", category_id, content=content, night=night, **more)


NONE = (None, "unknown", True)
PERSON_S = (BOOT, "manual", True)
WAITS = ("changed_picture", SHIRT, 0.9, "release-1")


@pytest.fixture
def none(database: ProductDatabase) -> ProductDatabase:
    """A product that a person found to be none of the categories."""
    publish(database, [prediction("p", SHIRT, 0.5, status="review"), prediction("q", SHIRT)])
    decide(database, "p", None)
    return database


@pytest.fixture
def boot(database: ProductDatabase) -> ProductDatabase:
    """A product that a person has put among the boots."""
    publish(database, [prediction("p", SHIRT, 0.5, status="review"), prediction("q", SHIRT)])
    decide(database, "p")
    return database


def test_none_of_the_categories_outlives_runs_and_backfills_of_the_same_picture(none: ProductDatabase) -> None:
    assert state(none) == NONE
    publish(none, [prediction("p", T_SHIRT, night=1)], night=1)
    assert rows_of(none, "run_summary", run_id="nightly-2026-11-02")[0]["counts"]["left_to_people"] == 1
    publish(none, [prediction("p", BOOT)], release=NEWER_RELEASE, run_id="backfill", force=True)
    publish(none, rejections=[rejection("p", night=2)], night=2)
    publish(none, image_changes=[image_change("p", "left", night=3)], night=3)
    assert state(none) == NONE
    publish(none, image_changes=[image_change("p", "named", night=4)], night=4)
    assert state(none) == NONE
    assert rows_of(none, "review_queue") == []
    assert totals(none) == counted(none)
    prune(none, keep_runs=1)
    assert clear_override(none, "p", decided_by="jon", combine_by=combine_by)
    assert state(none) == (T_SHIRT, "auto", False)
    assert [row[2:4] for row in dump(none)["overrides"]] == [("none", None), ("clear", None)]


def test_none_of_the_categories_gives_way_to_the_answer_of_another_picture(none: ProductDatabase) -> None:
    publish(none, [later(status="review")], night=1)
    assert state(none) == (SHIRT, "review", False)
    assert [row["product_id"] for row in rows_of(none, "review_queue")] == ["p"]
    assert totals(none) == counted(none)
    before = dump(none)
    assert not publish(none, [later(status="review")], night=1).changed
    assert dump(none) == before
    publish(none, [later("C", T_SHIRT, 2)], night=2)
    assert state(none) == (T_SHIRT, "auto", False), "it is a product like others now"


def test_none_of_the_categories_stands_again_when_the_picture_of_the_decision_returns(none: ProductDatabase) -> None:
    publish(none, [later()], night=1)
    publish(none, [prediction("p", SHIRT, night=2)], night=2)
    assert state(none) == NONE
    found = answer(none, "p")
    assert (found["image_count"], found["run_id"], found["release_id"]) == (1, None, None)
    counts = rows_of(none, "run_summary", run_id="nightly-2026-11-03")[0]["counts"]
    of_people = {name: counts[name] for name in ("auto", "unknown", "moved", "left_to_people")}
    assert of_people == {"auto": 0, "unknown": 0, "moved": 0, "left_to_people": 1}
    assert totals(none) == counted(none)
    before = dump(none)
    assert not publish(none, [prediction("p", SHIRT, night=2)], night=2).changed
    assert dump(none) == before


def test_a_replaced_decision_can_be_cleared_and_does_not_stand_again(none: ProductDatabase) -> None:
    publish(none, [later()], night=1)
    before = answer(none, "p")
    assert clear_override(none, "p", decided_by="jon", combine_by=combine_by)
    assert {**answer(none, "p"), "updated_at_utc": None} == {**before, "updated_at_utc": None}
    publish(none, [prediction("p", SHIRT, night=2)], night=2)
    assert state(none) == (SHIRT, "auto", False)
    assert totals(none) == counted(none)
    with pytest.raises(UnknownNameError, match="No person decided on product 'p'"):
        clear_override(none, "p", decided_by="jon", combine_by=combine_by)


def test_none_of_the_categories_gives_way_to_a_picture_at_another_position(none: ProductDatabase) -> None:
    publish(none, [later(image_no=1)], night=1)
    found = answer(none, "p")
    assert (found["category_id"], found["image_count"], found["confidence"]) == (SHIRT, 2, pytest.approx(0.7))


def test_none_of_the_categories_gives_way_when_an_earlier_picture_returns(database: ProductDatabase) -> None:
    """The run predicts nothing then: the catalog names a picture that the product had before."""
    publish(database, [prediction("p", T_SHIRT)])
    publish(database, [later("B", SHIRT)], night=1)
    decide(database, "p", None)
    back = image_change("p", "unchanged", content="A", night=2)
    publish(database, image_changes=[back], night=2)
    assert state(database) == (T_SHIRT, "auto", False)


def test_none_of_the_categories_waits_for_an_answer_to_the_other_picture(none: ProductDatabase) -> None:
    """A picture that no release has predicted yet says nothing against the decision."""
    publish(none, image_changes=[image_change("p", "unchanged", content="B", image_no=1, night=1)], night=1)
    assert state(none) == NONE
    publish(none, [prediction("p", SHIRT, content="B", image_no=1, night=1)], night=1, run_id="late")
    assert state(none)[2] is False


def test_without_a_picture_none_of_the_categories_holds_until_the_first_one(database: ProductDatabase) -> None:
    publish(database, [prediction("q")], products=[product("p")])
    decide(database, "p", None)
    publish(database, [prediction("q", night=1)], rejections=[rejection("p", night=1)], night=1)
    assert state(database) == NONE
    publish(database, [later(night=2)], night=2)
    assert state(database) == (SHIRT, "auto", False)
    assert totals(database) == counted(database)


def test_none_of_the_categories_is_a_disagreement_and_is_shown_with_its_way(none: ProductDatabase) -> None:
    record_overrides(none, [Override("q", SHIRT)], decided_by="maria", came_by="import")
    (rate,) = rows_of(none, "acceptance_rate")
    assert (rate["category_id"], rate["decision_count"], rate["accepted_count"]) == (SHIRT, 2, 1)
    ways = {name: rows_of(none, "product_decisions", product_id=name)[0] for name in "pq"}
    assert {name: (row["action"], row["came_by"]) for name, row in ways.items()} == {
        "p": ("none", "command"),
        "q": ("set", "import"),
    }
    statuses = {row["status"]: row["product_count"] for row in rows_of(none, "products_by_status")}
    assert statuses == {"unknown": 1, "manual": 1}


def test_a_sure_other_answer_to_another_picture_brings_a_decided_product_back(boot: ProductDatabase) -> None:
    counts = publish(boot, [later()], night=1)
    assert (state(boot), waits_for(boot)) == (PERSON_S, WAITS)
    assert counts.products_changed == 1
    (row,) = rows_of(boot, "review_queue")
    assert {name: row[name] for name in ("product_id", "suggested_category_id", "confidence", "release_id")} == {
        "product_id": "p",
        "suggested_category_id": SHIRT,
        "confidence": 0.9,
        "release_id": "release-1",
    }
    assert (row["review_reason"], row["suggested_category_path"]) == ("changed_picture", "Apparel > Tops > Shirt")
    assert row["image_uri"] == "file:///shop/p-0.jpg"
    assert totals(boot) == counted(boot)
    reasons = {(row["status"], row["review_reason"]): row["product_count"] for row in rows_of(boot, "review_reasons")}
    assert reasons == {("auto", None): 1, ("manual", "changed_picture"): 1}
    (of_boots,) = [row for row in rows_of(boot, "counts_since_last_run") if row["category_id"] == BOOT]
    assert (of_boots["product_count"], of_boots["coverage"]) == (1, 0.0)
    run = rows_of(boot, "run_summary", run_id="nightly-2026-11-02")[0]
    assert (run["counts"]["left_to_people"], run["summary"]["review_reasons"]) == (1, {"changed_picture": 1})
    assert load_facts(boot, "nightly-2026-11-02").waiting == {"auto": 1, "review": 1}, "as in the review queue"
    before = dump(boot)
    assert not publish(boot, [later()], night=1).changed
    assert dump(boot) == before


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([later("A")], "the same picture"),
        ([later(category_id=BOOT)], "the same category"),
        ([later(status="review")], "not sure"),
        ([later(held_by="foreign_night")], "held back"),
        ([later(category_id=None, status="unknown")], "no answer"),
        ([later(image_no=1, confidence=0.6)], "not sure of both pictures together"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_decision_stands_alone_where_no_sure_answer_speaks_against_it(
    boot: ProductDatabase, rows: list[tuple[Any, ...]], why: str
) -> None:
    publish(boot, rows, night=1)
    assert (state(boot), waits_for(boot)) == (PERSON_S, NOTHING), why


@pytest.mark.parametrize(
    "after",
    [
        {"predictions": [later("C", BOOT, 2)]},
        {"predictions": [later("C", T_SHIRT, 2, status="review")]},
        {"image_changes": [image_change("p", "unchanged", content="A", night=2)]},
        {"predictions": [later("B", BOOT, 2)], "release": NEWER_RELEASE},
    ],
    ids=["agrees", "not sure", "the picture returns", "a newer release agrees"],
)
def test_a_later_run_takes_the_reason_away_again(boot: ProductDatabase, after: dict[str, Any]) -> None:
    publish(boot, [later()], night=1)
    publish(boot, **after, night=2)
    assert (state(boot), waits_for(boot)) == (PERSON_S, NOTHING)
    assert rows_of(boot, "review_queue") == []
    assert totals(boot) == counted(boot)


def test_the_answer_of_the_newer_release_is_suggested_unless_the_older_one_is_forced(boot: ProductDatabase) -> None:
    publish(boot, [later("B", T_SHIRT)], night=1, release=NEWER_RELEASE)
    publish(boot, [later("B", SHIRT)], night=1, run_id="older")
    assert waits_for(boot) == ("changed_picture", T_SHIRT, 0.9, "release-2")
    publish(boot, [later("B", SHIRT)], night=1, run_id="older", force=True)
    assert waits_for(boot) == WAITS
    boot.promote_release(RELEASE, at_utc=run_record(3).started_at_utc)
    assert answered_images(boot, "release-1", ["p"]) == {("p", picture_of("p", name)) for name in "AB"}


def test_a_backfill_of_a_newer_release_answers_what_an_older_one_suggests(boot: ProductDatabase) -> None:
    publish(boot, [later()], night=1)
    publish(boot, [later("B", T_SHIRT)], night=1, release=NEWER_RELEASE, run_id="newer")
    publish(boot, [later("B", SHIRT)], night=1, run_id="older", force=True)
    assert waits_for(boot) == WAITS
    assert answered_images(boot, "release-2", ["p"]) == set()


@pytest.mark.parametrize("category_id", [BOOT, T_SHIRT, None], ids=["again", "another", "none"])
def test_deciding_again_takes_the_product_out_of_the_queue(boot: ProductDatabase, category_id: str | None) -> None:
    publish(boot, [later()], night=1)
    decide(boot, "p", category_id)
    assert (state(boot)[0], waits_for(boot)) == (category_id, NOTHING)
    publish(boot, [later(night=2)], night=2)
    assert (state(boot)[0], waits_for(boot), state(boot)[2]) == (category_id, NOTHING, True)
    last = dump(boot)["overrides"][-1]
    assert last[6:9] == (SHIRT, 0.9, "release-1"), "what the machine suggested then"
    assert totals(boot) == counted(boot)


def test_accepting_takes_the_suggestion(boot: ProductDatabase) -> None:
    publish(boot, [later()], night=1)
    assert accept_suggestions(boot, ["p"], decided_by="jon") == 1
    assert (state(boot), waits_for(boot)) == ((SHIRT, "manual", True), NOTHING)
    accepted = [(row["category_id"], row["accepted_count"]) for row in rows_of(boot, "acceptance_rate")]
    assert accepted == [(SHIRT, 1)], "of two decisions on a suggested shirt"


def test_the_same_person_s_agreement_on_another_picture_is_a_decision_on_it(boot: ProductDatabase) -> None:
    publish(boot, [later(status="review")], night=1)
    assert record_overrides(boot, [Override("p", BOOT)], decided_by="maria").agreed == 1
    assert record_overrides(boot, [Override("p", BOOT)], decided_by="maria").agreed == 0
    publish(boot, [later(night=2)], night=2)
    assert waits_for(boot) == NOTHING, "the person has seen this picture"
    publish(boot, [later("A", night=3)], night=3)
    assert waits_for(boot) == WAITS, "the latest decision was made on the other picture"


def test_decisions_of_earlier_versions_are_left_alone(boot: ProductDatabase) -> None:
    with boot.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM override_pictures"))
    before = dump(boot)["overrides"]
    publish(boot, [later()], night=1)
    assert (state(boot), waits_for(boot)) == (PERSON_S, NOTHING)
    assert record_overrides(boot, [Override("p", BOOT)], decided_by="maria").agreed == 0
    assert dump(boot)["overrides"] == before


def test_taking_a_run_back_takes_its_suggestion_back(boot: ProductDatabase) -> None:
    publish(boot, [later()], night=1)
    counts = retract_run(boot, "nightly-2026-11-02", by="maria", combine_by=combine_by)
    assert (state(boot), waits_for(boot), counts.products_changed) == (PERSON_S, NOTHING, 1)
    assert totals(boot) == counted(boot)
    publish(boot, [later()], night=1)
    assert waits_for(boot) == WAITS


def test_taking_the_only_run_of_a_challenger_back_takes_back_what_it_had_answered(boot: ProductDatabase) -> None:
    """In the shadow of a night it had answered the picture; that counts only while it has a run of its own."""
    publish(boot, [later(status="review")], night=1)
    rows = [[later("B", T_SHIRT)]]
    publish_shadow(boot, "nightly-2026-11-02", predictions=rows, categories=CATEGORIES, release=NEWER_RELEASE)
    assert waits_for(boot) == NOTHING
    publish(boot, [prediction("q", SHIRT)], release=NEWER_RELEASE, run_id="own", rejections=[rejection("p", night=2)])
    assert waits_for(boot) == ("changed_picture", T_SHIRT, 0.9, "release-2")
    retract_run(boot, "own", by="maria", combine_by=combine_by)
    assert waits_for(boot) == NOTHING


def test_a_product_that_has_left_keeps_its_reason_and_is_in_no_count(boot: ProductDatabase) -> None:
    publish(boot, [later()], night=1)
    publish(boot, image_changes=[image_change("p", "left", night=2)], night=2)
    assert (state(boot), waits_for(boot)) == (PERSON_S, WAITS)
    assert rows_of(boot, "review_queue") == []
    assert {row["status"] for row in rows_of(boot, "review_reasons")} == {"auto"}
    publish(boot, image_changes=[image_change("p", "named", night=3)], night=3)
    assert waits_for(boot) == WAITS
    assert totals(boot) == counted(boot)


def test_a_product_that_returns_with_another_picture_waits_and_is_counted_once(boot: ProductDatabase) -> None:
    publish(boot, image_changes=[image_change("p", "left", night=1)], night=1)
    publish(boot, [later(night=2)], image_changes=[image_change("p", "named", night=2)], night=2)
    assert waits_for(boot) == WAITS
    assert totals(boot) == counted(boot)


def test_clearing_a_product_that_waits_gives_it_the_suggested_answer(boot: ProductDatabase) -> None:
    publish(boot, [later()], night=1)
    clear_override(boot, "p", decided_by="maria", combine_by=combine_by)
    assert (state(boot), waits_for(boot)) == ((SHIRT, "auto", False), NOTHING)
    assert totals(boot) == counted(boot)


def test_a_picture_that_a_person_allowed_may_speak_against_a_decision(boot: ProductDatabase) -> None:
    rows = [later("shared"), prediction("q", SHIRT, content="shared", night=1)]
    publish(boot, rows, night=1, pictures=SharedPictures(groups=2, categories=0))
    assert waits_for(boot) == NOTHING, "the run holds the answer back"
    allow_picture(boot, picture_of("p", "shared"), by="maria", combine_by=combine_by)
    assert waits_for(boot) == WAITS
    assert totals(boot) == counted(boot)


def test_other_products_of_a_night_are_not_looked_at_again(boot: ProductDatabase) -> None:
    """A product that the night does not name keeps its state, and deciding costs the others nothing."""
    decide(boot, "q")
    before = answer(boot, "q")
    publish(boot, [later()], night=1)
    assert answer(boot, "q") == before
    if boot.engine.dialect.name == "sqlite":
        named = changed_pictures._NAMED.format(table="product_images")
        with boot.engine.connect() as connection:
            plan = "\n".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {named}"))
        assert "ix_overrides_product_id" in plan, plan

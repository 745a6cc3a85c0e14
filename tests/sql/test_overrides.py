"""People win: what they decide outlives every run, is on record, and can be taken back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from sql.decided import Recorded
from sql.errors import UnknownNameError
from sql.overrides import (
    Override,
    accept_suggestions,
    clear_override,
    clear_overrides,
    record_overrides,
    set_overrides,
)
from sql.schema.tables import metadata
from sql.store import ProductDatabase
from tests.sql.runs import BOOT, NEWER_RELEASE, SHIRT, T_SHIRT, answer, combine_by, dump, prediction, product, publish


def counted(database: ProductDatabase) -> dict[tuple[str, str, str], tuple[int, int, int]]:
    """Count product_categories from scratch."""
    table = metadata.tables["product_categories"]
    found: dict[tuple[str, str, str], tuple[int, int, int]] = {}
    with database.engine.connect() as connection:
        for row in connection.execute(sa.select(table)):
            place = (row.category_id or "", row.status, row.review_reason or "")
            products, confidences, total = found.get(place, (0, 0, 0))
            known = row.confidence is not None
            found[place] = (products + 1, confidences + known, total + round((row.confidence or 0) * 1e9))
    return found


def totals(database: ProductDatabase) -> dict[tuple[str, str, str], tuple[int, int, int]]:
    """Read the running totals."""
    return {(row[0], row[1], row[2]): row[3:] for row in dump(database)["category_totals"]}


def test_a_manual_answer_survives_runs_and_is_in_the_history(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT), prediction("q", SHIRT)])
    assert set_overrides(database, [Override("p", BOOT, "it has laces")], decided_by="maria") == 1
    publish(database, [prediction("p", T_SHIRT, content="B", night=1)], night=1, force=True)
    publish(database, [prediction("p", T_SHIRT, content="B", night=1)], night=1, release=NEWER_RELEASE, run_id="b")
    found = answer(database, "p")
    assert (found["category_id"], found["status"], found["confidence"]) == (BOOT, "manual", None)
    assert found["previous_category_id"] == SHIRT
    (decision,) = dump(database)["overrides"]
    assert decision[1:9] == ("p", "set", BOOT, "maria", "it has laces", SHIRT, 0.9, "release-1")
    assert totals(database) == counted(database)


def test_repeating_a_decision_adds_no_row(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT)])
    set_overrides(database, [Override("p", BOOT)], decided_by="maria")
    before = dump(database)
    assert record_overrides(database, [Override("p", BOOT, "again")], decided_by="maria") == Recorded(0)
    assert dump(database) == before


def test_another_person_s_agreement_is_recorded_once_and_changes_no_answer(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT)])
    set_overrides(database, [Override("p", BOOT)], decided_by="maria")
    before = dump(database)["product_categories"]
    assert record_overrides(database, [Override("p", BOOT, "yes")], decided_by="jon") == Recorded(0, agreed=1)
    assert accept_suggestions(database, ["p"], decided_by="eve") == 0
    for person in ("jon", "maria", "eve"):
        assert record_overrides(database, [Override("p", BOOT)], decided_by=person) == Recorded(0)
    rows = [row[2:9] for row in dump(database)["overrides"]]
    assert rows[1:] == [("set", BOOT, "jon", "yes", None, None, None), ("accept", BOOT, "eve", None, None, None, None)]
    assert dump(database)["product_categories"] == before
    set_overrides(database, [Override("p", T_SHIRT)], decided_by="maria")
    set_overrides(database, [Override("p", BOOT)], decided_by="maria")
    assert record_overrides(database, [Override("p", BOOT)], decided_by="jon").agreed == 1, "it was another meanwhile"
    clear_overrides(database, ["p"], decided_by="eve", combine_by=combine_by)
    set_overrides(database, [Override("p", BOOT)], decided_by="maria")
    assert record_overrides(database, [Override("p", BOOT)], decided_by="jon").agreed == 1, "it was cleared meanwhile"


def test_replaced_decisions_are_counted_and_named_the_later_ones_first(database: ProductDatabase) -> None:
    early, late = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 5, tzinfo=UTC)
    names = [f"p{number}" for number in range(9)]
    publish(database, [prediction(name, SHIRT) for name in names])
    set_overrides(database, [Override(name, BOOT) for name in names[:7]], decided_by="maria", at_utc=early)
    set_overrides(database, [Override("p8", BOOT)], decided_by="jon", at_utc=late)
    middle = datetime(2026, 11, 3, tzinfo=UTC)
    decisions = [Override(name, T_SHIRT, None, "ada", middle) for name in names[1:]]
    done = record_overrides(database, [*decisions, Override("p0", BOOT, None, "maria", middle)])
    assert (done.changed, done.agreed, done.replaced, done.replaced_newer) == (8, 0, 7, 1)
    assert done.examples[:2] == (("p8", BOOT, "jon", True), ("p1", BOOT, "maria", False))
    assert len(done.examples) == 5


def test_an_import_is_taken_back_whole_or_not_at_all(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT), prediction("q", T_SHIRT)], products=[product("r")])
    set_overrides(database, [Override(name, BOOT) for name in "pqr"], decided_by="maria")
    before = dump(database)
    with pytest.raises(UnknownNameError, match=r"No person decided on product 'x', 'y': .* nothing was cleared"):
        clear_overrides(database, ["p", "y", "q", "x"], decided_by="maria", combine_by=combine_by)
    assert dump(database) == before
    assert clear_overrides(database, ["r", "p", "q", "p"], decided_by="jon", why="typo", combine_by=combine_by) == 2
    assert [answer(database, name)["category_id"] for name in "pq"] == [SHIRT, T_SHIRT]
    cleared = [row[1:6] for row in dump(database)["overrides"] if row[2] == "clear"]
    assert cleared == [(name, "clear", None, "jon", "typo") for name in "pqr"]
    assert totals(database) == counted(database)


def test_a_product_of_the_catalog_without_any_answer_can_be_decided(database: ProductDatabase) -> None:
    publish(database, [prediction("q", SHIRT)], products=[product("p")])
    set_overrides(database, [Override("p", BOOT)], decided_by="maria")
    assert answer(database, "p")["status"] == "manual"
    assert clear_override(database, "p", decided_by="maria", combine_by=combine_by) is False
    assert "p" not in [row[0] for row in dump(database)["product_categories"]]
    assert totals(database) == counted(database)


def test_clear_restores_the_newest_prediction(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT, 0.9)])
    set_overrides(database, [Override("p", BOOT)], decided_by="maria")
    publish(database, [prediction("p", T_SHIRT, 0.7, content="B", night=1, status="review")], night=1)
    publish(database, [prediction("p", T_SHIRT, 0.6, content="C", image_no=1, night=1)], night=1, run_id="more")
    assert clear_override(database, "p", decided_by="jon", why="wrong product", combine_by=combine_by) is True
    found = answer(database, "p")
    assert (found["category_id"], found["confidence"], found["status"]) == (T_SHIRT, 0.65, "review")
    assert (found["image_count"], found["previous_category_id"]) == (2, BOOT)
    assert [row[2] for row in dump(database)["overrides"]] == ["set", "clear"]
    assert totals(database) == counted(database)


def test_clear_uses_the_same_release_as_a_run(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT)])
    publish(database, [prediction("p", T_SHIRT)], release=NEWER_RELEASE, run_id="backfill", night=1)
    set_overrides(database, [Override("p", BOOT)], decided_by="maria")
    clear_override(database, "p", decided_by="maria", combine_by=combine_by)
    found = answer(database, "p")
    assert (found["category_id"], found["release_id"]) == (T_SHIRT, "release-2")


def test_accept_takes_the_suggestion(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT, 0.5, status="review"), prediction("q", T_SHIRT, 0.4, status="review")])
    assert accept_suggestions(database, ["p", "q"], decided_by="maria") == 2
    assert answer(database, "p")["status"] == "manual"
    assert [row[2:4] for row in dump(database)["overrides"]] == [("accept", SHIRT), ("accept", T_SHIRT)]
    assert accept_suggestions(database, ["p"], decided_by="maria") == 0


@pytest.mark.parametrize(
    ("decisions", "message"),
    [
        ([Override("p", BOOT), Override("nobody-sells-this", BOOT)], "does not know 'nobody-sells-this'"),
        ([Override("p", "garden.gnome")], "taxonomy does not have 'garden.gnome'"),
        ([Override("p", BOOT), Override("p", SHIRT)], "more than once: 'p'"),
        ([Override("'; DROP TABLE overrides; --", BOOT)], "does not know"),
    ],
    ids=["product", "category", "twice", "injection"],
)
def test_an_invalid_decision_refuses_the_whole_list(
    database: ProductDatabase, decisions: list[Override], message: str
) -> None:
    publish(database, [prediction("p", SHIRT)])
    before = dump(database)
    with pytest.raises((UnknownNameError, ValueError), match=message):
        set_overrides(database, decisions, decided_by="maria")
    assert dump(database) == before


def test_more_suggestions_than_an_engine_takes_parameters_are_accepted_at_once(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT)])
    ids = [f"p{n}" for n in range(70_000)]
    row = {**answer(database, "p"), "status": "review"}
    with database.engine.begin() as connection:
        table = metadata.tables["product_categories"]
        connection.execute(table.insert(), [{**row, "product_id": product_id} for product_id in ids])
    assert accept_suggestions(database, ids, decided_by="maria") == len(ids)
    assert answer(database, "p69999")["status"] == "manual"


def test_a_missing_decision_suggestion_or_person_is_refused(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT)])
    with pytest.raises(UnknownNameError, match="No person decided on product 'p'"):
        clear_override(database, "p", decided_by="maria", combine_by=combine_by)
    with pytest.raises(UnknownNameError, match="no suggestion for 'x'"):
        accept_suggestions(database, ["p", "x"], decided_by="maria")
    with pytest.raises(ValueError, match="Nobody decided"):
        set_overrides(database, [Override("p", BOOT)], decided_by=" ")


def test_text_of_people_is_stored_unchanged(database: ProductDatabase) -> None:
    nasty = "'); DELETE FROM overrides; -- \" \\ \t\n :p %s"
    publish(database, [prediction(nasty, SHIRT)])
    set_overrides(database, [Override(nasty, BOOT, nasty)], decided_by=nasty)
    (decision,) = dump(database)["overrides"]
    assert (decision[1], decision[4], decision[5]) == (nasty, nasty, nasty)


def test_totals_stay_right_after_every_kind_of_write(database: ProductDatabase) -> None:
    def rows(night: int, confidence: float, **extra: Any) -> list[tuple[Any, ...]]:
        where = (SHIRT, T_SHIRT, BOOT, None)
        return [
            prediction(f"p{n}", where[(n + night) % 4], confidence / (n + 1), night=night, status="unknown", **extra)
            for n in range(40)
        ]

    publish(database, rows(0, 0.9))
    assert totals(database) == counted(database)
    publish(database, rows(1, 0.7, content="B"), night=1)
    set_overrides(database, [Override(f"p{n}", SHIRT) for n in range(7)], decided_by="maria")
    publish(database, rows(2, 0.3, content="C"), night=2, release=NEWER_RELEASE)
    clear_override(database, "p3", decided_by="maria", combine_by=combine_by)
    assert totals(database) == counted(database)

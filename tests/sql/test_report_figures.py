"""What a run keeps about its own answers, and the queries that a report is made of; on both engines."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa

from sql.named_queries import run_query
from sql.overrides import Override, set_overrides
from sql.publishing.highlights import SHOWN
from sql.store import ProductDatabase
from tests.sql.runs import (
    BOOT,
    NEWER_RELEASE,
    OUTLET,
    SHIRT,
    T_SHIRT,
    dump,
    image_change,
    prediction,
    publish,
    rejection,
)

ONE, TWO, THREE = "nightly-2026-11-01", "nightly-2026-11-02", "nightly-2026-11-03"


def rows_of(database: ProductDatabase, name: str, **params: Any) -> list[dict[str, Any]]:
    result = run_query(database, name, params)
    return [dict(zip(result.columns, row, strict=True)) for row in result.rows]


def highlights(database: ProductDatabase, run_id: str, kind: str) -> list[tuple[Any, ...]]:
    rows = [row for row in rows_of(database, "run_highlights", run_id=run_id) if row["kind"] == kind]
    assert [row["place"] for row in rows] == list(range(1, len(rows) + 1))
    return [(row["product_id"], row["previous_category_id"], row["category_id"]) for row in rows]


def run_row(database: ProductDatabase, run_id: str) -> dict[str, Any]:
    (row,) = rows_of(database, "run_summary", run_id=run_id)
    return row


@pytest.fixture
def nights(database: ProductDatabase) -> ProductDatabase:
    """A night of five products, one decided by a person, and one in which two of four have moved."""
    first = [
        prediction("p", SHIRT, 0.9),
        prediction("q", T_SHIRT, 0.5, status="review"),
        prediction("r", OUTLET, 0.25, status="review"),
        prediction("s", None, 0.0, status="unknown"),
        prediction("h", SHIRT, 1.0),
    ]
    publish(database, first)
    set_overrides(database, [Override("h", BOOT)], decided_by="maria")
    second = [
        prediction("p", T_SHIRT, 0.85, content="B", night=1),
        prediction("q", T_SHIRT, 0.45, content="B", night=1, status="review"),
        prediction("h", SHIRT, 0.95, content="B", night=1),
        prediction("s", BOOT, 0.3, content="B", night=1, status="review"),
        prediction("new", BOOT, 0.99, night=1),
    ]
    publish(database, second, night=1, rejections=[rejection("x"), rejection("y", "missing")])
    return database


def test_a_run_keeps_how_many_it_tagged_moved_and_left_to_people(nights: ProductDatabase) -> None:
    assert run_row(nights, ONE)["counts"] == {
        "images": 1,  # as this test's driver says
        "auto": 2,
        "review": 2,
        "unknown": 1,
        "first_answered": 5,
        "moved": 0,
        "left_to_people": 0,
    }
    counts = run_row(nights, TWO)["counts"]
    assert {name: counts[name] for name in ("auto", "review", "first_answered", "moved", "left_to_people")} == {
        "auto": 3,
        "review": 2,
        "first_answered": 1,
        "moved": 2,
        "left_to_people": 1,
    }


def test_a_run_keeps_its_histograms_with_both_ends(nights: ProductDatabase) -> None:
    kept = run_row(nights, ONE)["summary"]["confidence_histograms"]
    filled = {status: {place: n for place, n in enumerate(bins) if n} for status, bins in kept.items()}
    assert filled == {"auto": {18: 1, 19: 1}, "review": {10: 1, 5: 1}, "unknown": {0: 1}}


def test_a_run_keeps_what_moved_and_what_was_least_certain(nights: ProductDatabase) -> None:
    assert highlights(nights, ONE, "moved") == []
    assert highlights(nights, ONE, "least_certain") == [("r", None, OUTLET), ("q", None, T_SHIRT)]
    assert highlights(nights, TWO, "moved") == [("p", SHIRT, T_SHIRT), ("s", None, BOOT)]
    assert [row[0] for row in highlights(nights, TWO, "least_certain")] == ["s", "q"]


def test_later_nights_and_prune_do_not_change_the_figures_of_an_older_run(nights: ProductDatabase) -> None:
    from sql.prune import prune

    before = highlights(nights, TWO, "moved")
    publish(nights, [prediction("p", BOOT, 0.9, content="C", night=2)], night=2)
    prune(nights, keep_runs=1)
    assert highlights(nights, TWO, "moved") == before
    assert highlights(nights, THREE, "moved") == [("p", T_SHIRT, BOOT)]


def test_repeating_a_night_with_one_more_image_keeps_the_moved_products(nights: ProductDatabase) -> None:
    before = dump(nights)
    again = [
        prediction("p", T_SHIRT, 0.85, content="B", night=1),
        prediction("q", T_SHIRT, 0.45, content="B", night=1, status="review"),
        prediction("h", SHIRT, 0.95, content="B", night=1),
        prediction("s", BOOT, 0.3, content="B", night=1, status="review"),
        prediction("new", BOOT, 0.99, night=1),
    ]
    rejections = [rejection("x"), rejection("y", "missing")]
    publish(nights, again, night=1, rejections=rejections)
    assert dump(nights) == before
    publish(nights, [*again, prediction("r", BOOT, 0.97, content="B", night=1)], night=1, rejections=rejections)
    assert [row[0] for row in highlights(nights, TWO, "moved")] == ["p", "s", "r"]
    assert [row[0] for row in highlights(nights, TWO, "least_certain")] == ["s", "q"]
    counts = run_row(nights, TWO)["counts"]
    assert (counts["moved"], counts["first_answered"], counts["auto"]) == (3, 1, 4)


def test_a_night_that_moves_everything_stores_at_most_48_highlights(database: ProductDatabase) -> None:
    many = [f"p{number:03d}" for number in range(100)]
    publish(database, [prediction(one, SHIRT, 0.9) for one in many])
    doubts = [
        prediction(one, BOOT, 0.3 + place / 1000, content="B", night=1, status="review")
        for place, one in enumerate(many)
    ]
    publish(database, doubts, night=1)
    assert [row[0] for row in highlights(database, TWO, "moved")] == many[: -SHOWN - 1 : -1]
    assert [row[0] for row in highlights(database, TWO, "least_certain")] == many[:SHOWN]
    assert run_row(database, TWO)["counts"]["moved"] == 100


def test_shares_are_compared_with_earlier_runs(nights: ProductDatabase) -> None:
    publish(nights, [prediction("p", SHIRT, 0.5, content="C", night=2, status="review")], night=2)
    found = {row["category_id"]: row for row in rows_of(nights, "run_shares", run_id=THREE)}
    assert (found[SHIRT]["share"], found[SHIRT]["image_count"], found[SHIRT]["reference_image_count"]) == (1.0, 1, 3)
    assert found[SHIRT]["reference_share"] == pytest.approx(0.3)
    assert found[SHIRT]["mean_confidence"] == pytest.approx(0.5)
    assert found[SHIRT]["reference_mean_confidence"] == pytest.approx((0.9 + 1.0 + 0.95) / 3)
    assert found[None]["reference_image_count"] == 1
    assert sum(row["share"] for row in found.values()) == pytest.approx(1)
    alone = {row["category_id"]: row for row in rows_of(nights, "run_shares", run_id=THREE, reference_runs=1)}
    assert alone[SHIRT]["reference_image_count"] == 1
    first = rows_of(nights, "run_shares", run_id=ONE)
    assert {row["reference_share"] for row in first} == {None}


def test_a_backfill_s_shares_leave_out_products_that_have_left(database: ProductDatabase) -> None:
    """A backfill predicts every picture of its dates. Half of the images would be boots, of which the shop has none."""
    both = [prediction("p", SHIRT, 0.9), prediction("q", BOOT, 0.8)]
    publish(database, both)
    publish(database, image_changes=[image_change("q", "left", night=1)], night=1)
    publish(database, both, night=1, release=NEWER_RELEASE, run_id="backfill")
    found = {row["category_id"]: row for row in rows_of(database, "run_shares", run_id="backfill")}
    assert (found[SHIRT]["share"], found[SHIRT]["image_count"], found[SHIRT]["product_count"]) == (1.0, 1, 1)
    assert found[SHIRT]["mean_confidence"] == pytest.approx(0.9)
    assert (found[BOOT]["share"], found[BOOT]["reference_image_count"]) == (0.0, 1), "the first night had it"
    back = [image_change("q", "named", night=2)]
    publish(database, [prediction("q", BOOT, 0.8, content="2", night=2)], image_changes=back, night=2)
    (boot,) = (row for row in rows_of(database, "run_shares", run_id=THREE) if row["category_id"] == BOOT)
    assert (boot["image_count"], boot["product_count"]) == (1, 1), "it returns with this run"


def test_runs_up_to_a_run_and_products_by_status(nights: ProductDatabase) -> None:
    publish(nights, run_id="backfill-like", night=0)
    assert [row["run_id"] for row in rows_of(nights, "runs_up_to", run_id=TWO)] == [TWO, "backfill-like", ONE]
    assert TWO not in [row["run_id"] for row in rows_of(nights, "runs_up_to", run_id=ONE)]
    statuses = {row["status"]: row["product_count"] for row in rows_of(nights, "products_by_status")}
    assert statuses == {"auto": 2, "review": 3, "manual": 1}


@pytest.mark.parametrize("name", ["run_highlights", "run_shares", "runs_up_to", "rejections_by_reason"])
def test_a_report_s_queries_read_no_table_of_products(nights: ProductDatabase, name: str) -> None:
    from sql.named_queries import find_query

    explain = "EXPLAIN QUERY PLAN " if nights.engine.dialect.name == "sqlite" else "EXPLAIN "
    with nights.engine.connect() as connection:
        if nights.engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET enable_seqscan = off")  # these tables are small in this test alone
        values = {"run_id": TWO, "reference_runs": 7}
        wanted = {key: values[key] for key in find_query(name).parameters}
        plan = "\n".join(str(row) for row in connection.execute(sa.text(explain + find_query(name).statement), wanted))
    # Whether the product of a highlight has left is looked up by its key.
    looked_up = [line for line in plan.splitlines() if "product_categories" in line]
    by_key = re.compile(r"using pk_product_categories|autoindex_product_categories_1 \(product_id=\?\)")
    assert bool(looked_up) == (name == "run_highlights")
    assert all(by_key.search(line) for line in looked_up), plan
    assert "category_predictions" not in plan
    big = {"run_highlights": "run_highlights", "run_shares": "run_category_counts", "runs_up_to": "runs"}
    table = big.get(name, "rejected_images")
    assert f"pk_{table}" in plan or f"sqlite_autoindex_{table}" in plan, plan

"""Every named query runs on both engines and answers what its header says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import pytest

from sql.errors import DatabaseError, UnknownNameError
from sql.label_candidates import keep_candidates
from sql.named_queries import find_query, list_queries, run_query
from sql.overrides import Override, accept_suggestions, clear_overrides, set_overrides
from sql.records import REJECTION_COLUMNS
from sql.store import ProductDatabase, open_database
from tests.sql.runs import (
    BOOT,
    NEWER_RELEASE,
    OUTLET,
    SHIRT,
    T_SHIRT,
    combine_by,
    image_change,
    prediction,
    product,
    publish,
    rejection,
    sha,
)

EXAMPLES = {
    "product_id": "p",
    "product_ids": "p,q",
    "run_id": "nightly-2026-11-02",
    "reference_run_id": "nightly-2026-11-01",
    "category_id": "apparel.tops",
    "release_id": "release-1",
    "other_release_id": "release-1",
}


def rows_of(
    database: ProductDatabase,
    name: str,
    params: Mapping[str, Any] | None = None,
    limit: int | None = None,
    **more: bool,
) -> list[dict[str, Any]]:
    result = run_query(database, name, params, limit, **more)
    return [dict(zip(result.columns, row, strict=True)) for row in result.rows]


@pytest.fixture
def shop(database: ProductDatabase) -> ProductDatabase:
    """Two nights: a shirt that becomes a T-shirt, doubts, rejections, a decision."""
    publish(
        database,
        [
            prediction("p", SHIRT, 0.9),
            prediction("q", T_SHIRT, 0.5, status="review"),
            prediction("r", OUTLET, 0.6, status="review", other=BOOT),
            prediction("s", None, 0.0, status="unknown"),
        ],
        rejections=[rejection("t"), rejection("u", "missing"), rejection("v", "missing")],
        products=[product("p")],
    )
    publish(database, [prediction("p", T_SHIRT, 0.8, content="B", night=1)], night=1)
    return database


def test_every_query_runs_with_and_without_rows(database: ProductDatabase, request: pytest.FixtureRequest) -> None:
    for query in list_queries():
        params = {name: EXAMPLES[name] for name, parameter in query.parameters.items() if parameter.required}
        assert rows_of(database, query.name, params, limit=5) in ([], rows_of(database, query.name, params))
    request.getfixturevalue("shop")
    set_overrides(database, [Override("p", SHIRT)], decided_by="maria")
    held = prediction("w", held_by="shared_picture", night=2)
    publish(database, [held], image_changes=[image_change(name, "left", night=2) for name in "su"], night=2)
    keep_candidates(
        database, ["q"], run_id="nightly-2026-11-01", release_id="release-1", at_utc=datetime(2026, 11, 1, tzinfo=UTC)
    )
    for query in list_queries():
        params = {name: EXAMPLES[name] for name in query.parameters if name in EXAMPLES}
        found = rows_of(database, query.name, params)
        assert found or query.name in ("rejections", "rejections_by_reason"), query.name
        assert rows_of(database, query.name, params, limit=1) == found[:1]


def test_every_query_says_what_it_is_for() -> None:
    queries = list_queries()
    assert [query.name for query in queries] == sorted(query.name for query in queries)
    for query in queries:
        assert query.purpose.endswith(".")
        assert query.grain.endswith(".")
        assert ";" not in query.statement
        for name, parameter in query.parameters.items():
            assert f":{name}" in query.statement
            assert parameter.meaning.endswith(".")


def test_category_counts(shop: ProductDatabase) -> None:
    found = {row["category_id"]: row for row in rows_of(shop, "category_counts")}
    assert {category: row["product_count"] for category, row in found.items()} == {T_SHIRT: 2, OUTLET: 1, None: 1}
    counts = found[T_SHIRT]
    assert (counts["auto_count"], counts["review_count"], counts["manual_count"]) == (1, 1, 0)
    assert counts["category_path"] == "Apparel > Tops > T-shirt"
    assert counts["mean_confidence"] == pytest.approx(0.65)
    assert all(type(row["product_count"]) is int for row in found.values())


def test_both_engines_give_dates_moments_and_json_as_python_values(shop: ProductDatabase) -> None:
    latest = rows_of(shop, "product_history", {"product_id": "p"})[0]
    assert latest["ingest_date"] == date(2026, 11, 2)
    assert latest["predicted_at_utc"] == datetime(2026, 11, 2, 2, tzinfo=UTC)
    assert latest["by_network"] == {"xception": [T_SHIRT, 0.8], "efficientnet": [T_SHIRT, 0.8]}


def test_history_and_changes_show_how_a_product_moved(shop: ProductDatabase) -> None:
    assert [row["category_id"] for row in rows_of(shop, "product_history", {"product_id": "p"})] == [T_SHIRT, SHIRT]
    (moved,) = rows_of(shop, "category_changes")
    assert (moved["product_id"], moved["previous_category_id"], moved["category_id"]) == ("p", SHIRT, T_SHIRT)


def test_the_review_queue_begins_with_the_least_sure(shop: ProductDatabase) -> None:
    found = rows_of(shop, "review_queue")
    assert [(row["product_id"], row["confidence"]) for row in found] == [("q", 0.5), ("r", 0.6)]
    assert found[0]["image_uri"] == "file:///shop/q-0.jpg"


def test_a_subtree_has_no_siblings_that_begin_alike_and_can_be_paged(shop: ProductDatabase) -> None:
    assert [row["product_id"] for row in rows_of(shop, "subtree", {"category_id": "apparel.tops"})] == ["p", "q"]
    (first,) = rows_of(shop, "subtree", {"category_id": "apparel"}, limit=1)
    after = {"after_category_id": first["category_id"], "after_product_id": first["product_id"]}
    rest = rows_of(shop, "subtree", {"category_id": "apparel", **after})
    assert [first["product_id"], *(row["product_id"] for row in rest)] == ["r", "p", "q"]
    assert [row["product_id"] for row in rows_of(shop, "subtree", {"category_id": T_SHIRT})] == ["p", "q"]
    assert rows_of(shop, "subtree", {"category_id": "%"}) == []


def test_disagreements_are_of_current_images_only(shop: ProductDatabase) -> None:
    (found,) = rows_of(shop, "network_disagreements")
    assert (found["product_id"], found["by_network"]["efficientnet"][0]) == ("r", BOOT)
    publish(shop, [prediction("r", OUTLET, 0.9, content="B", night=2)], night=2)
    assert rows_of(shop, "network_disagreements") == []


@pytest.mark.parametrize(("first", "second"), [("A", "B"), ("B", "A")])
def test_of_two_contents_of_a_date_only_the_later_one_is_a_disagreement(
    database: ProductDatabase, first: str, second: str
) -> None:
    publish(database, [prediction("p", SHIRT, content=first, other=BOOT)])
    assert len(rows_of(database, "network_disagreements")) == 1
    publish(database, [prediction("p", SHIRT, content=second, ingest_no=2)])
    assert rows_of(database, "network_disagreements") == []
    assert [row["ingest_no"] for row in rows_of(database, "current_images")] == [2]


def test_the_example_of_a_reason_is_one_image_with_its_own_detail(database: ProductDatabase) -> None:
    """Its product and its detail were once each the smallest of their column."""
    first, second = rejection("a"), rejection("b")
    details = {"a": "ends after 90 bytes", "b": "ends after 10 bytes"}
    place = REJECTION_COLUMNS.index("detail")
    rejections = [(*row[:place], details[row[0]], *row[place + 1 :]) for row in (first, second)]
    publish(database, [prediction("p")], rejections=rejections)
    (found,) = rows_of(database, "rejections_by_reason", {"run_id": "nightly-2026-11-01"})
    assert (found["image_count"], found["example_product_id"]) == (2, "a")
    assert found["example_detail"] == details["a"]


def test_rejections_by_reason(shop: ProductDatabase) -> None:
    found = rows_of(shop, "rejections_by_reason", {"run_id": "nightly-2026-11-01"})
    assert [(row["reason"], row["image_count"]) for row in found] == [("missing", 2), ("truncated", 1)]


def test_counts_since_the_last_run(shop: ProductDatabase) -> None:
    found = {row["category_id"]: row for row in rows_of(shop, "counts_since_last_run")}
    assert {name: row["change_count"] for name, row in found.items()} == {SHIRT: -1, T_SHIRT: 1, OUTLET: 0, None: 0}
    assert found[T_SHIRT]["coverage"] == 0.5


def test_drift_between_two_runs(shop: ProductDatabase) -> None:
    runs = {"run_id": "nightly-2026-11-02", "reference_run_id": "nightly-2026-11-01"}
    found = {row["category_id"]: row for row in rows_of(shop, "drift", runs)}
    assert (found[T_SHIRT]["share"], found[T_SHIRT]["reference_share"]) == (1.0, 0.25)
    assert found[T_SHIRT]["mean_confidence_change"] == pytest.approx(0.3)
    assert found[SHIRT]["share_change"] == -0.25


def test_acceptance_rate_by_release_and_category(shop: ProductDatabase) -> None:
    accept_suggestions(shop, ["q"], decided_by="maria")
    set_overrides(shop, [Override("p", BOOT), Override("r", OUTLET)], decided_by="maria")
    found = {row["category_id"]: row for row in rows_of(shop, "acceptance_rate")}
    assert (found[T_SHIRT]["decision_count"], found[T_SHIRT]["acceptance_rate"]) == (2, 0.5)
    assert (found[OUTLET]["accepted_count"], found[OUTLET]["release_id"]) == (1, "release-1")


def test_a_decision_that_was_cleared_is_in_no_acceptance_rate(shop: ProductDatabase) -> None:
    accept_suggestions(shop, ["q"], decided_by="maria")
    set_overrides(shop, [Override("p", BOOT)], decided_by="maria")
    clear_overrides(shop, ["p"], decided_by="maria", combine_by=combine_by)
    (found,) = rows_of(shop, "acceptance_rate")
    assert (found["category_id"], found["decision_count"], found["acceptance_rate"]) == (T_SHIRT, 1, 1.0)
    set_overrides(shop, [Override("p", BOOT)], decided_by="maria")
    (found,) = rows_of(shop, "acceptance_rate")
    assert (found["decision_count"], found["acceptance_rate"]) == (2, 0.5), "a decision after it counts again"


def test_a_run_s_summary(shop: ProductDatabase) -> None:
    assert [row["run_id"] for row in rows_of(shop, "run_summary")] == ["nightly-2026-11-02", "nightly-2026-11-01"]
    (one,) = rows_of(shop, "run_summary", {"run_id": "nightly-2026-11-01"})
    assert (one["state"], one["counts"]["images"], one["release_id"]) == ("published", 1, "release-1")


def test_current_category_of_many_products(shop: ProductDatabase) -> None:
    found = rows_of(shop, "current_of_products", {"product_ids": "p, q,nobody"})
    assert [(row["product_id"], row["category_id"]) for row in found] == [("p", T_SHIRT), ("q", T_SHIRT)]
    assert len(rows_of(shop, "current_of_products", {"product_ids": ["p"]})) == 1
    # More than either engine takes parameters.
    many = [*(f"nobody-{n}" for n in range(70_000)), "r", "p"]
    assert [row["product_id"] for row in rows_of(shop, "current_of_products", {"product_ids": many})] == ["p", "r"]


def test_a_backfill_of_a_newer_release_moves_answers(shop: ProductDatabase) -> None:
    publish(shop, [prediction("q", SHIRT, 0.95)], release=NEWER_RELEASE, run_id="backfill-1", night=3)
    moved = {row["product_id"]: row["release_id"] for row in rows_of(shop, "category_changes")}
    assert moved == {"p": "release-1", "q": "release-2"}


@pytest.mark.parametrize("nasty", ["'; DROP TABLE runs; --", "' OR '1'='1", "%", "\\", ":run_id", "é日本"])
def test_typed_parameters_are_never_run_as_sql(shop: ProductDatabase, nasty: str) -> None:
    assert rows_of(shop, "product_history", {"product_id": nasty}) == []
    assert rows_of(shop, "run_summary", {"run_id": nasty}) == []
    assert rows_of(shop, "subtree", {"category_id": nasty}) == []
    assert rows_of(shop, "current_of_products", {"product_ids": [nasty]}) == []
    assert len(rows_of(shop, "run_summary")) == 2


def test_the_error_for_an_unknown_name_lists_the_existing_ones(shop: ProductDatabase) -> None:
    with pytest.raises(UnknownNameError, match=r"no query 'sales': expected one of .*category_counts"):
        run_query(shop, "sales", {}, None)
    with pytest.raises(UnknownNameError, match="no parameter 'product': expected product_id"):
        run_query(shop, "product_history", {"product": "p"}, None)
    with pytest.raises(UnknownNameError, match="no parameter at all"):
        run_query(shop, "category_counts", {"product": "p"}, None)
    with pytest.raises(ValueError, match="needs the parameter 'product_id': The product"):
        run_query(shop, "product_history", {}, None)
    with pytest.raises(ValueError, match="expected at least 1"):
        run_query(shop, "category_counts", {}, 0)
    assert find_query("review_queue").parameters == {}


def test_a_database_that_is_not_migrated_says_so(empty_url: str) -> None:
    with pytest.raises(DatabaseError, match="`shelfwise db upgrade`"):
        run_query(open_database(empty_url), "category_counts", {}, None)


@pytest.fixture
def smaller_shop(shop: ProductDatabase) -> ProductDatabase:
    """The shop after a third night, which no longer names the T-shirt `q` and the outlet `r`."""
    publish(shop, image_changes=[image_change(name, "left", night=2) for name in ("q", "r")], night=2)
    return shop


def test_products_that_have_left_are_listed_on_their_own_with_their_night(smaller_shop: ProductDatabase) -> None:
    publish(smaller_shop, image_changes=[image_change("s", "left", night=3)], night=3)
    found = [(row["product_id"], row["left_at"]) for row in rows_of(smaller_shop, "left_products")]
    assert found == [("s", date(2026, 11, 4)), ("q", date(2026, 11, 3)), ("r", date(2026, 11, 3))]
    assert [row["product_id"] for row in rows_of(smaller_shop, "current_categories")] == ["p"]


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("current_categories", {}),
        ("current_of_products", {"product_ids": "p,q,t"}),
        ("subtree", {"category_id": T_SHIRT}),
    ],
)
def test_answers_are_listed_without_or_with_what_has_left(
    smaller_shop: ProductDatabase, name: str, params: dict[str, str]
) -> None:
    present = rows_of(smaller_shop, name, params)
    assert "q" not in [row["product_id"] for row in present]
    assert "left_at" not in present[0]
    every = {row["product_id"]: row for row in rows_of(smaller_shop, name, params, include_left=True)}
    assert (every["p"]["left_at"], every["q"]["left_at"]) == (None, date(2026, 11, 3))
    assert set(every["q"]) - set(present[0]) == {"left_at"}


def test_a_query_of_other_things_refuses_to_include_what_has_left(shop: ProductDatabase) -> None:
    able = "current_categories, current_of_products, subtree;"
    for name in ("review_queue", "category_counts", "product_history"):
        with pytest.raises(ValueError, match=f"Query '{name}' cannot include products that have left: .* {able}"):
            run_query(shop, name, {}, include_left=True)


def test_queues_counts_and_highlights_are_without_what_has_left(smaller_shop: ProductDatabase) -> None:
    assert rows_of(smaller_shop, "review_queue") == []
    assert rows_of(smaller_shop, "network_disagreements") == []
    assert {row["status"]: row["product_count"] for row in rows_of(smaller_shop, "products_by_status")} == {
        "auto": 1,
        "unknown": 1,
    }
    of_run = {"run_id": "nightly-2026-11-01"}
    assert "q" not in [row["product_id"] for row in rows_of(smaller_shop, "run_highlights", of_run)]
    assert len(rows_of(smaller_shop, "product_history", {"product_id": "q"})) == 1


def test_what_has_left_is_no_highlight_of_a_run_that_answers_it_late(smaller_shop: ProductDatabase) -> None:
    publish(smaller_shop, [prediction("q", BOOT, 0.7, status="review", content="B", night=1)], night=1, run_id="late")
    with smaller_shop.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT product_id FROM run_highlights WHERE run_id = 'late'").all() == []


def test_products_without_an_answer_are_listed_with_the_reasons(shop: ProductDatabase) -> None:
    publish(
        shop,
        rejections=[
            rejection("w", "truncated", night=2),
            rejection("w", "missing", image_no=1, night=2),
            rejection("w", "missing", image_no=2, night=2),
            rejection("gone", "missing", night=2),
            rejection("p", "missing", image_no=1, night=2),
        ],
        image_changes=[image_change("gone", "left", night=3)],
        night=2,
    )
    found = {row["product_id"]: (row["image_count"], row["reasons"]) for row in rows_of(shop, "without_answer")}
    assert found == {"t": (1, "truncated"), "u": (1, "missing"), "v": (1, "missing"), "w": (3, "missing,truncated")}


def test_products_that_left_before_they_had_an_answer_are_listed(smaller_shop: ProductDatabase) -> None:
    """They are in no list of answers: left_products has the answers of those that left."""
    gone = [rejection("gone", "missing", night=2), rejection("gone", "corrupt", image_no=1, night=2)]
    half = [rejection("half", "missing", night=2), rejection("half", "missing", image_no=1, night=2)]
    left = [image_change("gone", "left", image_no=number, night=3 + number) for number in (0, 1)]
    publish(smaller_shop, rejections=[*gone, *half], night=2)
    publish(smaller_shop, image_changes=[*left, image_change("half", "left", night=3)], night=4)
    publish(smaller_shop, image_changes=[image_change("u", "left", night=5)], night=5)
    found = [tuple(row.values()) for row in rows_of(smaller_shop, "left_without_answer")]
    assert found == [("u", date(2026, 11, 6), 1, "missing"), ("gone", date(2026, 11, 5), 2, "corrupt,missing")]
    assert {"gone", "u"}.isdisjoint(row["product_id"] for row in rows_of(smaller_shop, "without_answer"))
    publish(smaller_shop, image_changes=[image_change("u", "named", night=6)], night=6)
    assert [row["product_id"] for row in rows_of(smaller_shop, "left_without_answer")] == ["gone"]


def test_a_product_that_lost_its_answer_is_listed_without_one(shop: ProductDatabase) -> None:
    """Its only usable picture has left, and the one that it has now could not be used."""
    publish(
        shop,
        rejections=[rejection("q", "corrupt", image_no=1, night=2)],
        image_changes=[image_change("q", "left", night=2)],
        night=2,
    )
    found = {row["product_id"]: (row["image_count"], row["reasons"]) for row in rows_of(shop, "without_answer")}
    assert found["q"] == (1, "corrupt")
    assert rows_of(shop, "current_of_products", {"product_ids": "q"}, include_left=True) == []


def test_the_pictures_of_a_product_and_who_names_them(shop: ProductDatabase) -> None:
    publish(shop, [prediction("q", T_SHIRT, 0.9, content="2", image_no=1, night=2, catalog_name="outlet")], night=2)
    changes = [
        image_change("q", "named", night=3, catalog_name="outlet"),
        image_change("q", "left", night=4),
        image_change("q", "left", image_no=1, night=4, catalog_name="outlet"),
    ]
    publish(shop, image_changes=changes, night=4)
    columns = ("image_no", "image_sha256", "catalog_name", "names_it", "changed_on", "left_at")
    found = [tuple(row[name] for name in columns) for row in rows_of(shop, "product_images", {"product_id": "q"})]
    assert found == [
        (0, sha("q/A"), "outlet", True, date(2026, 11, 4), None),
        (0, sha("q/A"), "shop", False, date(2026, 11, 5), None),
        (1, sha("q/2"), "outlet", False, date(2026, 11, 5), date(2026, 11, 5)),
    ]
    always = rows_of(shop, "product_images", {"product_id": "p"})
    assert [(row["catalog_name"], row["names_it"], row["changed_on"]) for row in always] == [("shop", True, None)]

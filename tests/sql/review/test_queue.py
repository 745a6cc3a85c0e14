"""The queue shows what waits, by suggested category, in order of confidence, and nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from sql.label_candidates import keep_candidates
from sql.overrides import Override, set_overrides
from sql.review import by_run
from sql.review.first_products import largest_share
from sql.review.queue import examples, page, waiting
from sql.review.records import FIRST_PRODUCTS, Filter, Waiting
from sql.review.selections import Part, first_of, groups_of, in_part
from sql.review.writing import write_page
from sql.store import ProductDatabase
from tests.sql.review.waiting import HOSTILE, change, choose, fill, ids, shown
from tests.sql.runs import BOOT, OUTLET, SHIRT, T_SHIRT, image_change, picture_of, prediction, product, publish


@pytest.fixture
def shop(database: ProductDatabase) -> ProductDatabase:
    fill(database)
    return database


def counts(database: ProductDatabase, which: Filter) -> dict[str | None, int]:
    return {each.category_id: each.count for each in waiting(database, which)}


def test_categories_are_listed_with_what_waits_the_most_first(shop: ProductDatabase) -> None:
    assert waiting(shop, Filter()) == [
        Waiting(SHIRT, "Apparel > Tops > Shirt", 4),
        Waiting(OUTLET, "Apparel > Tops outlet", 1),
        Waiting(T_SHIRT, "Apparel > Tops > T-shirt", 1),
        Waiting(BOOT, "Shoes > Boot", 1),
    ]


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (Filter(review_reason="foreign_image"), {BOOT: 1}),
        (Filter(review_reason="below_threshold"), {SHIRT: 4, OUTLET: 1, T_SHIRT: 1}),
        (Filter(category_id="apparel.tops"), {SHIRT: 4, T_SHIRT: 1}),
        (Filter(category_id=SHIRT), {SHIRT: 4}),
        (Filter(run_id="nightly-2026-11-01"), {SHIRT: 4, OUTLET: 1, T_SHIRT: 1, BOOT: 1}),
        (Filter(run_id="nightly-2026-11-02"), {}),
        (Filter(status="unknown"), {None: 1}),
        (Filter(status="auto"), {SHIRT: 1, BOOT: 1}),
        (Filter(title="HEMD grünes"), {SHIRT: 4}),
        (Filter(title="hemd 3"), {SHIRT: 1}),
        (Filter(title="<script>"), {BOOT: 1}),
        (Filter(title="hemd", run_id="nightly-2026-11-01"), {SHIRT: 4}),
        (Filter(title="hemd", run_id="nightly-2026-11-02"), {}),
        (Filter(status="unknown", run_id="nightly-2026-11-01"), {None: 1}),
        (Filter(status="auto", run_id="nightly-2026-11-02"), {}),
        (Filter(review_reason=HOSTILE, run_id=HOSTILE, category_id=HOSTILE), {}),
        (Filter(status="unknown", category_id="shoes"), {}),
        (Filter(status="auto", category_id="shoes"), {BOOT: 1}),
    ],
)
def test_a_filter_counts_what_its_pages_show(
    shop: ProductDatabase, which: Filter, expected: dict[str | None, int]
) -> None:
    assert counts(shop, which) == expected
    assert {name: len(shown(shop, name, which)) for name in expected} == expected
    others = {SHIRT, T_SHIRT, OUTLET, BOOT, None} - expected.keys()
    assert [shown(shop, name, which) for name in others] == [[]] * len(others)


def test_a_page_shows_one_category_in_order_of_confidence(shop: ProductDatabase) -> None:
    first = shown(shop)[0]
    assert (first.product_id, first.title, first.confidence) == ("s3", "Grünes Hemd 3", 0.53)
    assert (first.category_path, first.status, first.review_reason) == (
        "Apparel > Tops > Shirt",
        "review",
        "below_threshold",
    )
    assert first.picture is not None
    assert first.picture.image_sha256 == picture_of("s3", "A")
    assert first.picture.run_id == first.run_id == "nightly-2026-11-01"
    assert ids(shown(shop)) == ["s3", "s2", "s1", "s0"]
    assert ids(shown(shop, order="least_sure", size=2)) == ["s0", "s1"]
    assert ids(shown(shop, order="most_useful")) == ["s0", "s1", "s2", "s3"]
    assert ids(shown(shop, without={"s3", "s1"}, size=2)) == ["s2", "s0"]


def test_what_would_teach_most_comes_first_and_the_least_sure_after_it(shop: ProductDatabase) -> None:
    chosen = ("s3", HOSTILE, "u", "s1", "sure")
    moment = datetime(2026, 11, 1, 4, tzinfo=UTC)
    keep_candidates(shop, chosen, run_id="nightly-2026-11-01", release_id="release-1", at_utc=moment)
    assert ids(shown(shop, order="most_useful")) == ["s3", "s1", "s0", "s2"]
    assert ids(shown(shop, order="most_useful", size=2, without=["s3"])) == ["s1", "s0"]
    assert ids(shown(shop, which=Filter(title="hemd 0"), order="most_useful")) == ["s0"]
    assert ids(shown(shop, None, Filter(status="unknown"), order="most_useful")) == ["u"]


def test_what_is_decided_or_has_left_does_not_wait(shop: ProductDatabase) -> None:
    write_page(shop, [choose(shown(shop)[0])], decided_by="ada", came_by="page", page_id="1")
    write_page(
        shop,
        [choose(shown(shop, None, Filter(status="unknown"))[0], "none")],
        decided_by="ada",
        came_by="focus",
        page_id="2",
    )
    publish(shop, image_changes=[image_change("s0", "left", night=1)], night=1)
    assert counts(shop, Filter()) == {SHIRT: 2, OUTLET: 1, T_SHIRT: 1, BOOT: 1}
    assert ids(shown(shop)) == ["s2", "s1"]
    assert counts(shop, Filter(status="unknown")) == {}
    assert shown(shop, None, Filter(status="unknown")) == []


def test_a_decision_on_a_former_picture_waits_with_the_new_suggestion(shop: ProductDatabase) -> None:
    set_overrides(shop, [Override("s0", BOOT)], decided_by="maria")
    change(
        shop,
        "s0",
        review_reason="changed_picture",
        suggested_category_id=T_SHIRT,
        suggested_confidence=0.97,
        suggested_release_id="release-1",
    )
    for which in (Filter(), Filter(review_reason="changed_picture"), Filter(category_id="apparel.tops")):
        assert ids(shown(shop, T_SHIRT, which))[0] == "s0"
    assert counts(shop, Filter(review_reason="changed_picture")) == {T_SHIRT: 1}
    assert counts(shop, Filter())[T_SHIRT] == 2
    (item, *_) = shown(shop, T_SHIRT)
    assert (item.category_id, item.confidence, item.status) == (T_SHIRT, 0.97, "manual")


def test_examples_are_accepted_products_of_the_category(shop: ProductDatabase) -> None:
    assert ids(examples(shop, SHIRT, count=5)) == ["sure"]
    set_overrides(shop, [Override("s0", SHIRT), Override("s1", SHIRT)], decided_by="maria")
    assert set(ids(examples(shop, SHIRT, count=5))) == {"s0", "s1", "sure"}
    assert len(examples(shop, SHIRT, count=2)) == 2
    assert examples(shop, HOSTILE, count=2) == []


def test_an_unknown_status_or_order_is_refused(shop: ProductDatabase) -> None:
    with pytest.raises(ValueError, match=r"no page of status 'manual': expected review or unknown or auto"):
        waiting(shop, Filter(status="manual"))
    with pytest.raises(ValueError, match="no order 'random': expected one of surest"):
        shown(shop, order="random")


def test_of_a_run_of_which_very_many_wait_the_first_of_each_category_are_counted(
    shop: ProductDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    which = Filter(run_id="nightly-2026-11-01")
    monkeypatch.setattr(by_run, "COUNTED", 6)
    assert counts(shop, which) == {SHIRT: 1, OUTLET: 1, T_SHIRT: 1, BOOT: 1}
    assert counts(shop, replace(which, category_id="apparel.tops")) == {SHIRT: 4, T_SHIRT: 1}
    assert counts(shop, replace(which, review_reason="foreign_image")) == {BOOT: 1}
    monkeypatch.setattr(by_run, "COUNTED", 7)
    assert counts(shop, which)[SHIRT] == 4


@pytest.mark.parametrize("sorted_products", [0, 10])
def test_a_page_of_a_run_is_in_order_however_it_is_read(
    shop: ProductDatabase, monkeypatch: pytest.MonkeyPatch, sorted_products: int
) -> None:
    publish(shop, [prediction("later", SHIRT, 0.515, status="review", night=1)], night=1)
    monkeypatch.setattr(by_run, "SORTED", sorted_products)
    which = Filter(run_id="nightly-2026-11-01")
    assert ids(shown(shop, SHIRT, which)) == ["s3", "s2", "s1", "s0"]
    assert ids(shown(shop, SHIRT, which, order="least_sure", size=2, without={"s0"})) == ["s1", "s2"]
    assert ids(shown(shop, SHIRT, replace(which, run_id="nightly-2026-11-02"))) == ["later"]
    assert shown(shop, SHIRT, replace(which, review_reason="taxonomy")) == []
    assert ids(shown(shop)) == ["s3", "s2", "later", "s1", "s0"]


def test_answers_that_a_run_published_or_left_unknown_are_found_by_it(shop: ProductDatabase) -> None:
    publish(shop, [prediction("new", SHIRT, 0.999, night=1)], night=1)
    which = Filter(status="auto", run_id="nightly-2026-11-02")
    assert counts(shop, which) == {SHIRT: 1}
    assert ids(shown(shop, SHIRT, which)) == ["new"]
    assert ids(shown(shop, SHIRT, Filter(status="auto"))) == ["new", "sure"]
    assert ids(shown(shop, None, Filter(status="unknown", run_id="nightly-2026-11-01"))) == ["u"]
    assert counts(shop, Filter(status="unknown", run_id="nightly-2026-11-02")) == {}


def test_unknown_products_without_a_confidence_come_last(shop: ProductDatabase) -> None:
    publish(shop, [prediction("v", None, 0.3, night=1, status="unknown", reason="gate_closed")], night=1)
    publish(shop, [prediction("w", None, 0.2, night=1, status="unknown", reason="gate_closed")], night=1, run_id="w")
    change(shop, "w", confidence=None)
    which = Filter(status="unknown")
    assert ids(shown(shop, None, which)) == ["v", "u", "w"]
    assert ids(shown(shop, None, which, order="least_sure")) == ["u", "v", "w"]
    assert counts(shop, which) == {None: 3}


def test_equal_confidences_are_in_order_of_product_id(database: ProductDatabase) -> None:
    publish(database, [prediction(name, SHIRT, 0.5, status="review") for name in "cabed"])
    assert ids(shown(database, size=3)) == ids(shown(database, size=3, order="least_sure")) == ["a", "b", "c"]


def test_titles_are_searched_among_the_first_of_each_part() -> None:
    assert largest_share({90: 1, 2: 1, 50: 1}, 20) == 9, "2 + 9 + 9"
    assert largest_share({90: 1, 2: 1, 50: 1}, 19) == 9, "at least 19"
    assert largest_share({1: 2}, 20) == 20
    assert largest_share({5: 4}, 20) == 5
    assert largest_share({5: 3}, 2) == 1
    assert largest_share({}) == FIRST_PRODUCTS


def test_a_title_in_a_large_category_is_searched_as_far_as_it_is_counted(
    shop: ProductDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(largest_share, "__defaults__", (6,))
    which = Filter(title="hemd")
    assert counts(shop, which) == {SHIRT: 3}
    assert ids(shown(shop, SHIRT, which)) == ["s2", "s1", "s0"], "of seven that wait six are searched, the least sure"


PLANS = {
    Filter(): "ix_product_categories_review_pages",
    Filter(status="unknown"): "ix_product_categories_unknown_pages",
    Filter(status="auto"): "ix_product_categories_category",
}


@pytest.mark.parametrize("which", PLANS)
def test_a_page_reads_no_more_than_its_part_of_an_index(database: ProductDatabase, which: Filter) -> None:
    if database.engine.dialect.name != "sqlite":
        return
    for group in groups_of(which):
        part = Part(group, SHIRT, "taxonomy" if group.by_reason else None)
        for order in (True, False):
            statement = first_of(group, in_part(part), surest=order)
            with database.engine.connect() as connection:
                told = {"category_id": SHIRT, "most": 60}
                rows = connection.execute(sa.text(f"EXPLAIN QUERY PLAN {statement}"), told).all()
            plan = "\n".join(row[3] for row in rows)
            wanted = PLANS[which] if group.category == "category_id" else "ix_product_categories_changed_picture"
            assert f"USING INDEX {wanted} (" in plan, plan
            assert "SCAN product_categories" not in plan
            assert "TEMP B-TREE FOR ORDER BY" not in plan or which.status == "auto", plan


@pytest.mark.parametrize("status", ["review", "unknown", "auto"])
@pytest.mark.parametrize("title", ["", "hemd"])
def test_a_search_reads_the_first_of_each_part_alone(database: ProductDatabase, status: str, title: str) -> None:
    if database.engine.dialect.name != "sqlite":
        return
    which = Filter(status=status, title=title, run_id="nightly-2026-11-01")
    plans: list[str] = []

    def explain(connection: Any, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if "AS answer" in statement:
            rows = connection.connection.driver_connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.append("\n".join(row[3] for row in rows))

    sa.event.listen(database.engine, "before_cursor_execute", explain)
    waiting(database, which)
    page(database, which, SHIRT, order="surest", size=60)
    assert len(plans) >= 2
    for plan in plans:
        assert "AUTOMATIC" not in plan, plan
        assert not re.search(r"SCAN (answer|products|product_categories)", plan), plan


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("strasse", ["a", "b"]),
        ("STRASSE", ["a", "b"]),
        ("straße", ["a", "b"]),
        ("100%", ["c"]),
        ("_", ["d"]),
        ("!", ["d"]),
        ("kelvin", ["e"]),
        ("grün strasse", ["b"]),
        ("hemd 100%", []),
    ],
)
def test_titles_are_compared_by_casefolded_words(database: ProductDatabase, words: str, found: list[str]) -> None:
    """Databases compare ASCII letters; what has other characters is compared here, with the same result."""
    titles = {"a": "Hemd STRASSE", "b": "grüne Straße", "c": "100% Hem", "d": "snake_case!", "e": "\u212aelvin"}
    publish(
        database,
        [prediction(name, SHIRT, 0.5, status="review") for name in titles],
        products=[product(name, title) for name, title in titles.items()],
    )
    assert ids(shown(database, which=Filter(title=words))) == found
    assert counts(database, Filter(title=words)) == ({SHIRT: len(found)} if found else {})

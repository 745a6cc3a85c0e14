"""A page writes what a person decided on the answers that they saw, once, and can be taken back."""

from __future__ import annotations

from typing import Any

import pytest

from sql.review.records import Choice, PlantedAnswer, Written
from sql.review.writing import take_back, write_page
from sql.store import ProductDatabase
from tests.sql.review.waiting import choose, decisions, fill, ids, shown
from tests.sql.runs import BOOT, SHIRT, T_SHIRT, answer, combine_by, dump, image_change, prediction, publish
from tests.sql.test_overrides import counted, totals


@pytest.fixture
def shop(database: ProductDatabase) -> ProductDatabase:
    fill(database)
    return database


def write(
    database: ProductDatabase, choices: list[Choice], page_id: str = "1", by: str = "ada", **more: Any
) -> Written:
    return write_page(database, choices, decided_by=by, page_id=page_id, **{"came_by": "page", **more})


def back(database: ProductDatabase, page_id: str = "1", by: str = "ada") -> Written:
    return take_back(database, page_id, decided_by=by, combine_by=combine_by)


def test_a_page_writes_its_decisions_with_how_and_where_they_came(shop: ProductDatabase) -> None:
    items = shown(shop)
    done = write(
        shop, [choose(items[0]), choose(items[1], "set", BOOT, "laces"), choose(items[2], "none"), choose(items[3])]
    )
    assert done == Written(("s3", "s2", "s1", "s0"))
    assert decisions(shop) == [
        ("s0", "accept", SHIRT, "ada"),
        ("s1", "none", None, "ada"),
        ("s2", "set", BOOT, "ada"),
        ("s3", "accept", SHIRT, "ada"),
    ]
    assert [(row[5], *row[10:12]) for row in dump(shop)["overrides"]][2] == ("laces", "page", "1")
    assert [answer(shop, name)["status"] for name in ("s0", "s1", "s2")] == ["manual", "unknown", "manual"]
    assert len(dump(shop)["override_pictures"]) == 4
    assert totals(shop) == counted(shop)


def test_a_page_that_is_sent_again_changes_nothing(shop: ProductDatabase) -> None:
    items = shown(shop)
    answers = [PlantedAnswer("boot", SHIRT, BOOT, accepted=True)]
    done = write(shop, [choose(item) for item in items], planted=answers)
    before = dump(shop)
    assert write(shop, [choose(item) for item in items], planted=answers) == done
    assert dump(shop) == before


def test_only_the_answers_that_the_person_saw_are_decided(shop: ProductDatabase) -> None:
    items = shown(shop)
    write(shop, [choose(items[0], "set", BOOT)], "other", by="maria")
    publish(shop, [prediction("s2", T_SHIRT, 0.7, content="B", night=1, status="review")], night=1)
    publish(shop, image_changes=[image_change("s1", "left", night=2)], night=2)
    done = write(shop, [choose(item) for item in items] + [Choice("nowhere", items[0].seen, "none")])
    assert (done.decided, ids(done.overtaken), done.gone) == (("s0",), ["s3", "s2"], ("s1", "nowhere"))
    assert [(item.category_id, item.status) for item in done.overtaken] == [(BOOT, "manual"), (T_SHIRT, "review")]
    again = write(shop, [choose(item) for item in done.overtaken], "2")
    assert again.decided == ("s3", "s2")


def test_planted_answers_go_to_their_own_table_alone(shop: ProductDatabase) -> None:
    before = dump(shop)
    write(
        shop,
        [],
        planted=[
            PlantedAnswer("boot", SHIRT, BOOT, accepted=False),
            PlantedAnswer("sure", SHIRT, SHIRT, accepted=True),
        ],
    )
    after = dump(shop)
    assert [(*row[1:6], row[7]) for row in after.pop("planted_answers")] == [
        ("boot", SHIRT, BOOT, False, "ada", "1"),
        ("sure", SHIRT, SHIRT, True, "ada", "1"),
    ]
    before.pop("planted_answers")
    assert after == before
    back(shop)
    assert dump(shop)["planted_answers"] == []


def test_a_page_is_taken_back(shop: ProductDatabase) -> None:
    before = {name: answer(shop, name) for name in ("s0", "s1", "s2", "s3")}
    write(shop, [choose(item) for item in shown(shop)])
    assert set(back(shop).decided) == {"s0", "s1", "s2", "s3"}
    assert ids(shown(shop)) == ["s3", "s2", "s1", "s0"]
    for name, row in before.items():
        now = answer(shop, name)
        assert {**row, "updated_at_utc": None} == {**now, "updated_at_utc": None, "previous_category_id": None}
    assert [row[1] for row in decisions(shop)] == ["accept"] * 4 + ["clear"] * 4
    assert {row[11] for row in dump(shop)["overrides"]} == {"1"}
    assert totals(shop) == counted(shop)

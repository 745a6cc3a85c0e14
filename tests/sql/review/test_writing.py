"""A page writes what a person decided on the answers that they saw, once, and can be taken back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from sql.errors import UnknownNameError
from sql.overrides import Override, clear_overrides, set_overrides
from sql.review.product import product
from sql.review.records import Choice, PlantedAnswer, Written
from sql.review.writing import take_back, write_page
from sql.schema.tables import metadata
from sql.store import ProductDatabase, open_database
from tests.sql.processes import together
from tests.sql.review.waiting import HOSTILE, change, choose, decisions, fill, ids, shown
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


def test_taking_back_twice_changes_nothing_and_returns_the_same(shop: ProductDatabase) -> None:
    write(shop, [choose(item) for item in shown(shop)])
    done = back(shop)
    before = dump(shop)
    assert back(shop) == done
    assert dump(shop) == before
    again = write(shop, [choose(item) for item in shown(shop)])
    assert set(again.decided) == set(done.decided), "the page was sent before"
    assert dump(shop) == before


def test_a_former_person_s_decision_stands_again_when_a_page_is_taken_back(shop: ProductDatabase) -> None:
    set_overrides(shop, [Override("s0", BOOT, "laces")], decided_by="maria")
    write(shop, [Choice("s1", shown(shop)[2].seen, "none")], "none", by="maria", came_by="focus")
    former = {name: answer(shop, name) for name in ("s0", "s1")}
    pictures = dump(shop)["override_pictures"]
    items = [product(shop, name).item for name in ("s0", "s1")]
    done = write(shop, [choose(item, "set", T_SHIRT) for item in items])
    assert done.decided == ("s0", "s1")
    assert set(back(shop).decided) == {"s0", "s1"}
    for name, row in former.items():
        ignored = {"updated_at_utc": None, "previous_category_id": None}
        assert {**answer(shop, name), **ignored} == {**row, **ignored}
    assert decisions(shop)[-2:] == [("s0", "set", BOOT, "maria"), ("s1", "none", None, "maria")]
    rows = dump(shop)["overrides"]
    assert [row[5:10] for row in rows[-2:]] == [row[5:10] for row in rows[:2]], "why, suggestion and time are kept"
    restored = [row for row in dump(shop)["override_pictures"] if row[0] > rows[-3][0]]
    assert [row[1] for row in restored] == [row[1] for row in pictures]
    assert totals(shop) == counted(shop)
    before = dump(shop)
    assert set(back(shop).decided) == {"s0", "s1"}
    assert dump(shop) == before


def test_only_what_is_still_the_latest_decision_is_taken_back(shop: ProductDatabase) -> None:
    write(shop, [choose(item) for item in shown(shop)])
    set_overrides(shop, [Override("s0", BOOT)], decided_by="maria")
    clear_overrides(shop, ["s1"], decided_by="maria", combine_by=combine_by)
    done = back(shop)
    assert (set(done.decided), set(ids(done.overtaken))) == ({"s2", "s3"}, {"s0", "s1"})
    assert answer(shop, "s0")["category_id"] == BOOT
    assert totals(shop) == counted(shop)


def test_a_picture_that_nobody_saw_is_not_decided_on_although_its_answer_is_the_same(shop: ProductDatabase) -> None:
    set_overrides(shop, [Override("s0", BOOT)], decided_by="maria")
    opened, left_open = product(shop, "s0").item, product(shop, "s1").item
    before = answer(shop, "s0")
    publish(shop, [prediction("s0", SHIRT, 0.5, content="B", night=1, status="review")], night=1)
    assert answer(shop, "s0") == before
    done = write(shop, [choose(opened, "set", T_SHIRT), choose(left_open)])
    assert (done.decided, ids(done.overtaken)) == (("s1",), ["s0"])
    assert answer(shop, "s0")["category_id"] == BOOT
    assert write(shop, [choose(done.overtaken[0], "set", T_SHIRT)], page_id="2").decided == ("s0",)


def test_a_product_without_an_answer_is_decided_on_the_pictures_that_were_seen(shop: ProductDatabase) -> None:
    opened = product(shop, "bare").item
    publish(shop, image_changes=[image_change("bare", "unchanged", content="A", night=1)], night=1)
    assert write(shop, [choose(opened, "set", BOOT)]).decided == ()
    assert write(shop, [choose(product(shop, "bare").item, "set", BOOT)], page_id="2").decided == ("bare",)


def test_agreement_with_a_person_is_taken_back_and_theirs_stands(shop: ProductDatabase) -> None:
    set_overrides(shop, [Override("s0", BOOT)], decided_by="maria")
    assert write(shop, [choose(product(shop, "s0").item, "set", BOOT)]).decided == ("s0",)
    assert [row[3] for row in decisions(shop)] == ["maria", "ada"]
    assert back(shop).decided == ("s0",)
    assert decisions(shop)[-1] == ("s0", "set", BOOT, "maria")
    assert (answer(shop, "s0")["category_id"], answer(shop, "s0")["status"]) == (BOOT, "manual")


def test_a_page_that_left_no_row_is_answered_the_same_again(shop: ProductDatabase) -> None:
    set_overrides(shop, [Override("s0", BOOT)], decided_by="ada")
    choices = [choose(product(shop, "s0").item, "set", BOOT), choose(shown(shop)[0])]
    done = write(shop, choices)
    assert done.decided == ("s0", "s3")
    before = dump(shop)
    assert write(shop, choices) == done
    assert dump(shop) == before


def test_a_changed_picture_waits_again_when_its_page_is_taken_back(shop: ProductDatabase) -> None:
    set_overrides(shop, [Override("s0", BOOT)], decided_by="maria")
    suggested: dict[str, Any] = {
        "review_reason": "changed_picture",
        "suggested_category_id": T_SHIRT,
        "suggested_confidence": 0.97,
        "suggested_release_id": "release-1",
    }
    change(shop, "s0", **suggested)
    recount(shop, (BOOT, "manual", ""), (BOOT, "manual", "changed_picture"))
    (item, *_) = shown(shop, T_SHIRT)
    assert item.product_id == "s0"
    assert write(shop, [choose(item)]).decided == ("s0",)
    row = next(row for row in dump(shop)["overrides"] if row[4] == "ada")
    assert row[6:9] == (T_SHIRT, 0.97, "release-1")
    assert (answer(shop, "s0")["category_id"], answer(shop, "s0")["suggested_category_id"]) == (T_SHIRT, None)
    assert totals(shop) == counted(shop)
    back(shop)
    assert {name: answer(shop, "s0")[name] for name in ("category_id", *suggested)} == {
        "category_id": BOOT,
        **suggested,
    }
    assert ids(shown(shop, T_SHIRT))[0] == "s0"
    assert totals(shop) == counted(shop)


def recount(database: ProductDatabase, one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    """Move a product without a confidence to another place of the totals."""
    table = metadata.tables["category_totals"].c
    with database.engine.begin() as connection:
        same = sa.and_(*(table[name] == value for name, value in zip(table.keys(), one, strict=False)))
        place = dict(zip(("category_id", "status", "review_reason"), other, strict=True))
        connection.execute(metadata.tables["category_totals"].update().where(same).values(**place))


def test_a_person_takes_back_only_own_pages(shop: ProductDatabase) -> None:
    write(shop, [choose(item) for item in shown(shop)], planted=[PlantedAnswer("boot", SHIRT, BOOT, accepted=True)])
    before = dump(shop)
    assert back(shop, by="maria") == Written(())
    assert back(shop, "another page") == Written(())
    assert dump(shop) == before
    with pytest.raises(ValueError, match="Page '1' is another person's"):
        write(shop, [choose(item) for item in shown(shop, BOOT)], by="maria")
    assert dump(shop) == before


def test_an_inner_node_can_be_accepted_and_chosen(shop: ProductDatabase) -> None:
    with shop.engine.begin() as connection:
        values = {"category_id": "apparel.tops", "category_path": "Apparel > Tops", "taxonomy_version": "taxonomy-1"}
        connection.execute(metadata.tables["categories"].insert().values(**values))
    publish(shop, [prediction("n", "apparel.tops", 0.7, status="review", reason="taxonomy")], run_id="more")
    (item,) = shown(shop, "apparel.tops")
    assert item.review_reason == "taxonomy"
    write(shop, [choose(item), choose(shown(shop)[0], "set", "apparel.tops")])
    assert decisions(shop) == [("n", "accept", "apparel.tops", "ada"), ("s3", "set", "apparel.tops", "ada")]
    assert answer(shop, "n")["status"] == "manual"


def test_a_product_without_an_answer_or_that_has_left_is_decided_as_it_was_seen(shop: ProductDatabase) -> None:
    bare = product(shop, "bare").item
    assert write(shop, [choose(bare, "set", BOOT)], came_by="focus").decided == ("bare",)
    assert write(shop, [choose(bare, "set", SHIRT)], "2", by="maria").overtaken[0].category_id == BOOT
    assert back(shop).decided == ("bare",)
    assert product(shop, "bare").item.seen == bare.seen
    publish(shop, image_changes=[image_change("s0", "left", night=1)], night=1)
    left = product(shop, "s0")
    assert left.left_at is not None
    assert write(shop, [choose(left.item, "set", BOOT)], "3").decided == ("s0",)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"category_id": "garden.gnome", "action": "set"}, "taxonomy does not have 'garden.gnome'"),
        ({"category_id": "a\x00b", "action": "set"}, "taxonomy does not have"),
        ({"category_id": "\ud800", "action": "set"}, "taxonomy does not have"),
        ({"category_id": BOOT}, "cannot be accepted as 'shoes.boot', its suggestion is 'apparel.tops.shirt'"),
        ({"category_id": None, "action": "set"}, "expected a category with set"),
        ({"category_id": BOOT, "action": "none"}, "and none with none"),
        ({"action": "delete"}, "no action 'delete': expected one of accept, set, none"),
        ({"why": "a\x00b"}, "holds a character that no database can store"),
        ({"product_id": "s2"}, "more than once: 's2'"),
    ],
)
def test_an_invalid_choice_refuses_the_whole_page(shop: ProductDatabase, changed: dict[str, Any], message: str) -> None:
    items = shown(shop)
    before = dump(shop)
    wrong = replace(choose(items[0]), **changed)
    with pytest.raises((UnknownNameError, ValueError), match=message):
        write(shop, [wrong, choose(items[1])], planted=[PlantedAnswer("boot", SHIRT, BOOT, accepted=True)])
    assert dump(shop) == before


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"by": " "}, "needs decided_by"),
        ({"page_id": ""}, "needs page_id"),
        ({"page_id": "a\x00"}, "needs page_id"),
        ({"came_by": "command"}, "came by 'command': expected page or focus"),
    ],
)
def test_a_page_without_a_person_a_name_or_a_way_is_refused(
    shop: ProductDatabase, told: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write(shop, [choose(shown(shop)[0])], **told)


def test_hostile_texts_are_plain_data(shop: ProductDatabase) -> None:
    (item,) = shown(shop, BOOT)
    done = write(
        shop,
        [choose(item, "set", SHIRT, HOSTILE), *(Choice(name, "x", "none") for name in ("a\x00", "\ud800", ""))],
        HOSTILE,
        by=HOSTILE,
    )
    assert (done.decided, done.gone) == ((HOSTILE,), ("a\x00", "\ud800", ""))
    (decision,) = product(shop, HOSTILE).decisions
    assert (decision.decided_by, decision.why) == (HOSTILE, HOSTILE)
    assert back(shop, HOSTILE, by=HOSTILE).decided == (HOSTILE,)


def test_two_people_who_decide_the_same_thousand_products_leave_each_with_one_decision(
    database: ProductDatabase, url: str
) -> None:
    names = [f"p{number:03d}" for number in range(1000)]
    publish(database, [prediction(name, SHIRT, 0.6, status="review") for name in names])
    pages = [shown(database, size=1000)[first : first + 100] for first in range(0, 1000, 100)]

    def decide(person: str, category_id: str, order: int) -> None:
        own = open_database(url)
        for number, items in list(enumerate(pages))[::order]:
            choices = [choose(item, "set", category_id) for item in items]
            done = write(own, choices, f"{person}-{number}", by=person)
            assert len(done.decided) + len(done.overtaken) == len(items)
            assert {item.category_id for item in done.overtaken} <= {SHIRT, T_SHIRT, BOOT}

    assert together(lambda: decide("ada", BOOT, 1), lambda: decide("maria", T_SHIRT, -1)) == [0, 0]
    made = decisions(database)
    assert sorted(row[0] for row in made) == names
    chosen = {row[0]: row[2] for row in made}
    assert {row[1:] for row in made} <= {("set", BOOT, "ada"), ("set", T_SHIRT, "maria")}
    stored = dump(database)["product_categories"]
    assert {row[0]: row[1] for row in stored} == chosen
    assert totals(database) == counted(database)

"""Where the picture of an answer lies is published with it, and goes with the run that wrote the row."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from sql.overrides import Override, set_overrides
from sql.retract import retract_run
from sql.schema.tables import metadata
from sql.selection import waiting_pictures
from sql.store import ProductDatabase
from tests.sql.runs import BOOT, NEWER_RELEASE, NIGHT, combine_by, dump, image_change, prediction, publish

FIRST, SECOND = "part-1.parquet#0#1#2", "part-2.parquet#3#4#5"
ONE, TWO = "nightly-2026-11-01", "again"


def waiting(product_id: str = "p", picture_at: str | None = FIRST, **options: Any) -> tuple[Any, ...]:
    return prediction(product_id, **{"confidence": 0.5, "status": "review", **options}, picture_at=picture_at)


def places(database: ProductDatabase, table: str = "category_predictions") -> list[tuple[str, str, str | None]]:
    """Return product, run and place of the picture of each row."""
    columns = metadata.tables[table].c
    with database.engine.connect() as connection:
        query = sa.select(columns.product_id, columns.run_id, columns.picture_at).order_by(columns.product_id)
        return [tuple(row) for row in connection.execute(query)]


def test_it_is_published_with_the_answer_and_the_same_again_changes_no_row(database: ProductDatabase) -> None:
    rows = [waiting(), prediction("sure"), waiting("without", None)]
    publish(database, rows)
    assert places(database) == [("p", ONE, FIRST), ("sure", ONE, None), ("without", ONE, None)]
    before = dump(database)
    assert not publish(database, rows).changed
    assert {name: found for name, found in dump(database).items() if name != "runs"} == {
        name: found for name, found in before.items() if name != "runs"
    }


def test_another_answer_of_a_later_run_brings_its_own_and_taking_it_back_restores_the_former(
    database: ProductDatabase,
) -> None:
    publish(database, [waiting()])
    publish(database, [waiting(confidence=0.6, picture_at=SECOND)], run_id=TWO, night=1)
    assert places(database) == [("p", TWO, SECOND)]
    assert places(database, "replaced_predictions") == [("p", TWO, FIRST)]
    retract_run(database, TWO, by="ada", why=None, combine_by=combine_by, at_utc=datetime(2026, 11, 20, tzinfo=UTC))
    assert places(database) == [("p", ONE, FIRST)]


def test_of_the_same_answer_by_another_run_the_row_and_its_picture_stay(database: ProductDatabase) -> None:
    """The row names the run whose thumbnail it is; publishing the first run once more changes nothing either."""
    publish(database, [waiting()])
    publish(database, [waiting(picture_at=SECOND)], run_id=TWO, night=1)
    assert places(database) == [("p", ONE, FIRST)]
    assert not publish(database, [waiting()]).changed


def test_an_answer_of_an_earlier_version_gets_its_picture_from_the_next_run(database: ProductDatabase) -> None:
    publish(database, [waiting(picture_at=None)])
    assert publish(database, [waiting(picture_at=SECOND)], run_id=TWO, night=1).images_changed == 1
    assert places(database) == [("p", TWO, SECOND)]
    assert not publish(database, [waiting(picture_at=None)]).changed, "files of an earlier version"
    assert places(database) == [("p", TWO, SECOND)]


def test_a_run_that_predicts_again_has_the_say_on_its_own_rows(database: ProductDatabase) -> None:
    publish(database, [waiting()])
    assert publish(database, [waiting(picture_at=SECOND)]).images_changed == 1
    assert places(database) == [("p", ONE, SECOND)]


def test_of_two_files_with_the_same_image_the_same_one_has_the_say_each_time(database: ProductDatabase) -> None:
    rows = [waiting(picture_at=SECOND), waiting(picture_at=FIRST)]
    publish(database, rows)
    assert not publish(database, rows[::-1]).changed


def test_pictures_at_which_a_person_may_have_to_look(database: ProductDatabase) -> None:
    publish(
        database,
        [
            waiting("waits"),
            waiting("replaced"),
            waiting("decided"),
            waiting("left"),
            waiting("unknown", SECOND, status="unknown"),
            prediction("sure"),
            waiting("none", None),
        ],
    )
    publish(
        database, [waiting("other run", FIRST, night=1), waiting("replaced", SECOND, content="B", night=1)], night=1
    )
    publish(database, image_changes=[image_change("left", "left", night=2)], night=2)
    set_overrides(database, [Override("decided", BOOT)], decided_by="ada")
    assert sorted(waiting_pictures(database, [ONE])) == [(ONE, NIGHT, FIRST), (ONE, NIGHT, SECOND)]
    set_overrides(database, [Override("waits", BOOT)], decided_by="ada")
    assert list(waiting_pictures(database, [ONE])) == [(ONE, NIGHT, SECOND)]
    assert list(waiting_pictures(database, [])) == []


def test_pictures_of_another_release_s_answers_count_too(database: ProductDatabase) -> None:
    publish(database, [waiting()])
    publish(database, [waiting(picture_at=SECOND, night=1)], release=NEWER_RELEASE, night=1)
    assert {row[2] for row in waiting_pictures(database, [ONE, "nightly-2026-11-02"])} == {FIRST, SECOND}

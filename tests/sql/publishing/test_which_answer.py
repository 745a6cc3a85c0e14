"""Which answer stands: the newest image's, of equally new ones the later champion's, and a person's before all."""

from __future__ import annotations

import pytest

from sql.schema.tables import metadata
from sql.store import ProductDatabase
from tests.sql import runs
from tests.sql.runs import BOOT, NEWER_RELEASE, SHIRT, T_SHIRT, answer, dump, prediction, product, publish


def test_a_backfill_of_old_images_does_not_overwrite_the_answer_of_a_newer_image(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT, content="A")])
    publish(database, [prediction("p", BOOT, content="B", night=4)], night=4)
    before = answer(database, "p")
    for force in (False, True):
        publish(
            database,
            [prediction("p", T_SHIRT, content="A")],
            release=NEWER_RELEASE,
            run_id="backfill-of-the-first-night",
            night=5,
            force=force,
        )
        assert answer(database, "p") == before


def test_a_run_published_late_does_not_overwrite_a_newer_image(database: ProductDatabase) -> None:
    publish(database, [prediction("p", BOOT, content="B", night=1)], night=1, products=[product("p", "new", night=1)])
    of_runs = ("runs", "run_category_counts", "category_predictions")
    before = {name: rows for name, rows in dump(database).items() if name not in of_runs}
    publish(database, [prediction("p", SHIRT, content="A")], products=[product("p", "old")], force=True)
    after = dump(database)
    assert {name: after[name] for name in before} == before
    assert len(after["category_predictions"]) == 2


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_order_of_nights_does_not_matter(database: ProductDatabase, order: tuple[int, ...]) -> None:
    nights = {
        0: [prediction("p", SHIRT, content="A"), prediction("q", T_SHIRT)],
        1: [
            prediction("p", BOOT, content="B", night=1),
            prediction("q", T_SHIRT, 0.8, content="C", image_no=1, night=1),
        ],
        2: [prediction("p", SHIRT, content="A", night=2)],
    }
    for night in order:
        publish(database, nights[night], night=night)
    found = {name: answer(database, name) for name in ("p", "q")}
    assert [(row["category_id"], row["confidence"], row["run_id"]) for row in found.values()] == [
        (SHIRT, 0.9, "nightly-2026-11-03"),
        (T_SHIRT, 0.85, "nightly-2026-11-02"),
    ]


@pytest.mark.parametrize(("first", "second"), [("A", "B"), ("B", "A")])
@pytest.mark.parametrize("together", [False, True])
def test_a_photo_replaced_on_the_same_date_gives_the_current_answer(
    database: ProductDatabase, first: str, second: str, together: bool
) -> None:
    """Whichever of the two contents has the smaller hash, and if both are published at once."""
    old, new = prediction("p", SHIRT, content=first), prediction("p", BOOT, content=second, ingest_no=2)
    if not together:
        publish(database, [old])
    publish(database, [new, old])
    found = answer(database, "p")
    assert (found["category_id"], found["image_count"], found["ingest_no"]) == (BOOT, 1, 2)
    assert len(dump(database)["category_predictions"]) == 2
    assert not publish(database, [old, new]).changed


def test_a_photo_put_back_on_the_same_date_gives_the_current_answer(database: ProductDatabase) -> None:
    for content, category, number in (("A", SHIRT, 1), ("B", BOOT, 2), ("A", SHIRT, 3)):
        publish(database, [prediction("p", category, content=content, ingest_no=number)])
    assert (answer(database, "p")["category_id"], answer(database, "p")["ingest_no"]) == (SHIRT, 3)


def test_the_photo_of_a_later_ingest_wins_whichever_release_answered(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT)], run_id="backfill-2", release=NEWER_RELEASE)
    publish(database, [prediction("p", BOOT, content="B", ingest_no=2)])
    assert (answer(database, "p")["category_id"], answer(database, "p")["release_id"]) == (BOOT, "release-1")


def test_an_older_release_does_not_overwrite_a_newer_one_unless_asked(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT)])
    publish(database, [prediction("p", BOOT)], run_id="backfill-2", release=NEWER_RELEASE, night=1)
    assert answer(database, "p")["category_id"] == BOOT
    publish(database, [prediction("p", T_SHIRT)], run_id="backfill-1")
    assert answer(database, "p")["category_id"] == BOOT
    publish(database, [prediction("p", T_SHIRT)], run_id="backfill-1", force=True)
    assert answer(database, "p")["category_id"] == T_SHIRT


def test_a_promoted_release_wins_over_one_that_was_never_champion(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT)])
    database.promote_release(runs.RELEASE, at_utc=runs.run_record(1).started_at_utc)
    publish(database, [prediction("p", BOOT)], run_id="backfill-2", release=NEWER_RELEASE, night=2)
    assert answer(database, "p")["category_id"] == SHIRT
    database.promote_release(NEWER_RELEASE, at_utc=runs.run_record(3).started_at_utc)
    publish(database, [prediction("p", BOOT)], run_id="backfill-2", release=NEWER_RELEASE, night=2)
    assert answer(database, "p")["category_id"] == BOOT


def test_manual_answers_survive_even_force(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT)])
    table = metadata.tables["product_categories"]
    with database.engine.begin() as connection:
        connection.execute(table.update().values(status="manual", decided=True, category_id=BOOT, confidence=None))
    publish(database, [prediction("p", T_SHIRT, content="B", night=1)], night=1, force=True)
    found = answer(database, "p")
    assert (found["category_id"], found["status"]) == (BOOT, "manual")
    assert len(dump(database)["category_predictions"]) == 2

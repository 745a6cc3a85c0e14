"""What publish promises: one transaction, the same rows however often and in whatever order runs arrive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from sql.errors import DatabaseError
from sql.records import Rows, StoredImage
from sql.schema.tables import metadata
from sql.store import ProductDatabase
from tests.sql import runs
from tests.sql.runs import BOOT, SHIRT, T_SHIRT, answer, dump, prediction, product, publish, rejection


def a_night() -> dict[str, Any]:
    return {
        "predictions": [
            prediction("one-image"),
            prediction("two-images", SHIRT, 0.9, image_no=0),
            prediction("two-images", T_SHIRT, 0.6, image_no=1, content="B", status="review"),
            prediction("nobody-knows", None, 0.0, status="unknown"),
        ],
        "rejections": [rejection("broken"), rejection("broken", "missing", image_no=1)],
        "products": [product("one-image"), product("two-images"), product("broken")],
    }


def test_a_published_run_can_be_read_back(database: ProductDatabase) -> None:
    counts = publish(database, **a_night())
    assert (counts.images, counts.products, counts.rejections) == (4, 3, 2)
    found = answer(database, "one-image")
    assert (found["category_id"], found["confidence"], found["status"]) == (SHIRT, 0.9, "auto")
    assert (found["release_id"], found["image_count"], found["run_id"]) == ("release-1", 1, "nightly-2026-11-01")
    assert answer(database, "nobody-knows")["status"] == "unknown"
    rows = dump(database)
    assert [row[1:3] for row in rows["rejected_images"]] == [("broken", 0), ("broken", 1)]
    assert [row[0] for row in rows["products"]] == ["broken", "one-image", "two-images"]
    assert rows["runs"][0][4] == "published"


def test_the_same_run_again_changes_no_row_at_all(database: ProductDatabase) -> None:
    publish(database, **a_night())
    before = dump(database)
    counts = publish(database, **a_night())
    assert dump(database) == before
    assert not counts.changed


def test_a_later_attempt_of_the_same_run_keeps_the_times_of_the_first(database: ProductDatabase) -> None:
    publish(database, **a_night())
    before = dump(database)
    database.publish(
        runs.run_record(5, run_id="nightly-2026-11-01"),
        predictions=[a_night()["predictions"]],
        rejections=[a_night()["rejections"]],
        products=[a_night()["products"]],
        categories=runs.CATEGORIES,
        release=runs.RELEASE,
        combine=runs.combine,
    )
    assert dump(database) == before


def test_several_images_are_combined_and_a_single_one_is_used_unchanged(database: ProductDatabase) -> None:
    seen: list[Any] = []

    def recording(images: Any) -> Any:
        seen.append(images)
        return runs.combine(images)

    database.publish(
        runs.run_record(),
        predictions=[
            [prediction("b", T_SHIRT, 0.6, content="2", image_no=1, status="review")],
            a_night()["predictions"],
        ],
        rejections=[],
        products=[],
        categories=runs.CATEGORIES,
        release=runs.RELEASE,
        combine=recording,
    )
    assert seen == [
        [
            StoredImage([(SHIRT, 0.9), (BOOT, 0.05)]),
            StoredImage([(T_SHIRT, 0.6), (BOOT, 0.2)], "below_threshold"),
        ]
    ]
    found = answer(database, "two-images")
    assert (found["category_id"], found["confidence"], found["status"]) == (SHIRT, 0.45, "review")
    assert found["image_count"] == 2


def test_a_second_image_of_a_later_night_joins_the_first(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT, 0.9)])
    publish(database, [prediction("p", SHIRT, 0.8, content="B", image_no=1, night=1)], night=1)
    found = answer(database, "p")
    assert (found["confidence"], found["image_count"], str(found["ingest_date"])) == (0.85, 2, "2026-11-02")


def test_a_duplicate_key_in_one_run_becomes_one_row(database: ProductDatabase) -> None:
    counts = publish(
        database, [prediction("p"), prediction("p")], rejections=[rejection("q")] * 2, products=[product("p")] * 2
    )
    assert (counts.images, counts.rejections, counts.catalog_rows_changed) == (1, 1, 1)
    assert len(dump(database)["category_predictions"]) == 1


def test_content_that_returns_is_current_again(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT, content="A")])
    publish(database, [prediction("p", BOOT, content="B", night=1)], night=1)
    assert answer(database, "p")["category_id"] == BOOT
    publish(database, [prediction("p", SHIRT, content="A", night=2)], night=2)
    found = answer(database, "p")
    assert (found["category_id"], found["previous_category_id"], found["run_id"]) == (SHIRT, BOOT, "nightly-2026-11-03")
    assert len(dump(database)["category_predictions"]) == 2


def test_repeating_an_early_run_after_its_content_returned_changes_nothing(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT, content="A")])
    publish(database, [prediction("p", BOOT, content="B", night=1)], night=1)
    publish(database, [prediction("p", SHIRT, content="A", night=2)], night=2)
    before = dump(database)
    assert not publish(database, [prediction("p", SHIRT, content="A")]).changed
    assert dump(database) == before


def test_a_rerun_replaces_the_run_s_rejections(database: ProductDatabase) -> None:
    publish(database, rejections=[rejection("p"), rejection("q")])
    publish(database, [prediction("p")], rejections=[rejection("q", "corrupt")])
    assert [(row[1], row[6]) for row in dump(database)["rejected_images"]] == [("q", "corrupt")]


def test_nothing_is_written_when_the_rows_fail_half_way(database: ProductDatabase) -> None:
    publish(database, **a_night())
    before = dump(database)

    def broken() -> Iterator[Rows]:
        yield [prediction("new")]
        raise OSError("a prediction file cannot be read")

    with pytest.raises(OSError, match="cannot be read"):
        database.publish(
            runs.run_record(1),
            predictions=broken(),
            rejections=[],
            products=[],
            categories=runs.CATEGORIES,
            release=runs.RELEASE,
            combine=runs.combine,
        )
    assert dump(database) == before


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (prediction("p", "garden.gnome"), r"'garden.gnome', which release 'release-1' does not list"),
        (prediction("p", confidence=1.5), r"refuses a row .*confidence_range"),
        (prediction("p", confidence=float("nan")), "refuses a row"),
        (prediction("p", status="certain"), r"refuses a row .*status_listed"),
        (prediction("p")[:-1], "has 15 values, expected 16 in the order product_id, image_sha256"),
    ],
    ids=["category", "confidence", "nan", "status", "columns"],
)
def test_a_row_that_cannot_be_stored_is_named_and_nothing_is_written(
    database: ProductDatabase, row: tuple[Any, ...], message: str
) -> None:
    before = dump(database)
    with pytest.raises(DatabaseError, match=message) as caught:
        publish(database, [prediction("fine"), row])
    assert "\n" not in str(caught.value)
    assert dump(database) == before


def test_a_failed_run_leaves_only_its_row_and_can_be_published_after(database: ProductDatabase) -> None:
    publish(database, **a_night())
    before = dump(database)
    runs.fail(database, runs.run_record(1), "30 % of the images were rejected")
    after = dump(database)
    assert [row[4] for row in after["runs"]] == ["published", "failed"]
    assert {name: rows for name, rows in after.items() if name != "runs"} == {
        name: rows for name, rows in before.items() if name != "runs"
    }
    publish(database, [prediction("p", night=1)], night=1)
    assert [(row[4], row[8]) for row in dump(database)["runs"]] == [("published", None)] * 2


def test_a_failure_before_the_release_is_known_is_recorded(database: ProductDatabase) -> None:
    runs.fail(database, runs.run_record(), "the catalog is empty")
    assert [(row[3], row[4], row[8]) for row in dump(database)["runs"]] == [(None, "failed", "the catalog is empty")]


def test_a_published_run_is_never_turned_into_failed(database: ProductDatabase) -> None:
    publish(database, **a_night())
    before = dump(database)
    runs.fail(database, runs.run_record(), "a driver that lost its worker")
    assert dump(database) == before


def test_text_from_a_catalog_is_stored_unchanged(database: ProductDatabase) -> None:
    nasty = "'; DROP TABLE products; -- \" \\ \\N \t\n {} %s :p ${x} é 日本 🛒"
    publish(database, [prediction(nasty)], rejections=[rejection(nasty)], products=[product(nasty, nasty)])
    publish(database, [prediction(nasty)], rejections=[rejection(nasty)], products=[product(nasty, nasty)])
    rows = dump(database)
    assert [(row[0], row[3]) for row in rows["products"]] == [(nasty, nasty)]
    assert [row[0] for row in rows["category_predictions"]] == [nasty]
    assert answer(database, nasty)["product_id"] == nasty


def test_publish_into_a_database_without_tables_says_what_to_run(empty_url: str) -> None:
    from sql.store import open_database

    with pytest.raises(DatabaseError, match="`shelfwise db upgrade`"):
        publish(open_database(empty_url), [prediction("p")])


def test_columns_have_the_names_of_the_prediction_files() -> None:
    from jobs.dataset import schema
    from sql import records

    assert set(records.PREDICTION_COLUMNS) - {"held_by"} <= set(schema.PREDICTIONS.names)
    assert set(records.PRODUCT_COLUMNS) - {"ingest_date"} == set(schema.CATALOG_ROWS.names)
    assert set(records.REJECTION_COLUMNS) - {"ingest_date"} <= set(schema.SEEN.names)
    assert set(schema.CATALOG_COLUMNS) <= set(metadata.tables["products"].columns.keys())
    for name, columns in (
        ("category_predictions", records.PREDICTION_COLUMNS),
        ("rejected_images", records.REJECTION_COLUMNS[:-1]),
        ("products", records.PRODUCT_COLUMNS),
    ):
        required = {
            column.name for column in metadata.tables[name].columns if not column.nullable and column.default is None
        }
        assert required - set(columns) <= {"release_id", "run_id", "predicted_at_utc"}
    assert isinstance(metadata.tables["runs"].c.state.type, sa.Text)

"""Nights of any size whose images are all foreign to the release: from prediction files to the answers of products."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.runs import publish
from jobs.runs.gates import NOTE, decide_gates
from sql.records import PublishCounts
from sql.run_history import find_run
from sql.store import ProductDatabase
from tests.sql.runs import BOOT, answer, dump, image_change, prediction
from tests.sql.runs import publish as publish_rows
from tests.sql.same_pictures import NO_IMAGE, held_pictures, shop, status_of
from tests.unit.runs.gate_reports import D1, DESCRIBED, NIGHT, report
from tests.unit.runs.test_held_rows import files, row

RED = "colour.red"


def foreign_row(number: int) -> dict[str, Any]:
    """Return a prediction of a picture that is beyond the limit, however sure the networks are."""
    answered = {"category_id": RED, "status": "review", "review_reason": "foreign_image", "foreign_score": 1.5}
    return {**row(number, [[RED, 0.99]]), "confidence": 0.99, **answered}


def publish_night(database: ProductDatabase, tmp_path: Path, images: int) -> PublishCounts:
    """Decide the gates of a night of one shard, or of none, and publish it."""
    reports = [report({RED: [images, images]})] if images else []
    found = files(tmp_path, [foreign_row(number) for number in range(images)])
    return publish.run(
        database,
        found,
        DESCRIBED,
        NIGHT,
        gates=decide_gates(database, NIGHT, DESCRIBED, reports),
        started_at_utc=datetime(2026, 11, 1, 2, tzinfo=UTC),
        seconds={},
        summary={},
    )


@pytest.mark.parametrize(
    ("images", "held_by", "reason"),
    [
        (0, None, None),
        (1, None, "foreign_image"),
        (5, "foreign_group", "foreign_group"),
        (70, "foreign_night", "foreign_night"),
    ],
)
def test_a_foreign_night_of_any_size_publishes_nothing_by_itself(
    database: ProductDatabase, tmp_path: Path, images: int, held_by: str | None, reason: str | None
) -> None:
    """One image proves nothing of the night, five prove it of their category, seventy of the night."""
    assert publish_night(database, tmp_path, images).products_changed == images
    names = [f"p{number}" for number in range(images)]
    found = [answer(database, name) for name in names]
    assert {(each["status"], each["review_reason"]) for each in found} == ({("review", reason)} if images else set())
    rows = dump(database)
    assert len(rows["product_categories"]) == len(rows["category_predictions"]) == images
    with database.engine.connect() as connection:
        stored = connection.exec_driver_sql("SELECT DISTINCT held_by FROM category_predictions").scalars().all()
    assert list(stored) == ([held_by] if images else [])

    run = find_run(database, NIGHT.run_id)
    assert run is not None
    note = run["summary"][NOTE]
    counted = {"ingest_date": str(D1), "images": images, "foreign": images}
    assert (run["state"], note["state"], note["images"], note["foreign"]) == ("published", "computed", images, images)
    assert note["foreign_nights"] == ([counted] if held_by == "foreign_night" else [])
    assert note["foreign_groups"] == ([{**counted, "category_id": RED}] if held_by == "foreign_group" else [])
    assert len(note["alerts"]) == (held_by is not None)

    assert not publish_night(database, tmp_path, images).changed
    assert dump(database) == rows


def test_a_product_whose_doubtful_picture_leaves_in_a_foreign_night_is_answered_by_the_other(
    database: ProductDatabase,
) -> None:
    """The remaining picture is not of that night, and it is enough by itself."""
    doubtful = prediction("p", BOOT, 0.9, content="B", image_no=1)
    publish_rows(database, [prediction("p"), doubtful])
    assert status_of(database, "p") == ("review", "below_threshold")
    foreign = prediction("q", status="review", reason="foreign_image", held_by="foreign_night", night=1)
    left = image_change("p", "left", image_no=1, night=1)
    publish_rows(database, [foreign], night=1, image_changes=[left])
    assert (status_of(database, "p"), status_of(database, "q")) == (("auto", None), ("review", "foreign_night"))


def test_a_shared_picture_that_is_foreign_holds_back_no_answer_of_another_picture(database: ProductDatabase) -> None:
    night = shop(3)
    night["predictions"] = [
        prediction(f"p{number}", content="shared", status="review", reason="foreign_image") for number in range(3)
    ]
    own = prediction("p0", BOOT, content="own", image_no=1)
    publish_rows(database, [*night["predictions"], own], products=night["products"], pictures=NO_IMAGE)
    assert sorted(map(str, held_pictures(database).values())) == ["None", *["shared_picture"] * 3]
    assert (answer(database, "p0")["category_id"], status_of(database, "p0")) == (BOOT, ("auto", None))
    assert {status_of(database, name)[0] for name in ("p1", "p2")} == {"review"}

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
from tests.sql.runs import answer, dump
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

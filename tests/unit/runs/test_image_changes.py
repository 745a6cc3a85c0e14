"""Which image changes a night publishes: those of its own date, and of earlier dates that no night has published."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from jobs.dataset.partitions import partition
from jobs.dataset.schema import CATALOG_ROWS, IMAGES, SEEN
from jobs.dataset.shards import ingest_date_of
from jobs.errors import RunFailed
from jobs.predict.config import PredictConfig
from jobs.releases.records import category_records, decider, manifest_of, release_record
from jobs.runs import publish
from jobs.runs.config import RunConfig
from jobs.runs.gates import RunGates
from jobs.runs.image_changes import image_changes, published_note, unpublished_nights
from jobs.runs.inputs import RunInputs, night_inputs
from jobs.settings import Settings
from jobs.storage.places import Places
from models.release import SHIPPED, load_release
from sql.records import IMAGE_CHANGE_COLUMNS, PRODUCT_COLUMNS, RunRecord
from sql.run_history import published_nights
from sql.schema.runs import runs
from sql.store import ProductDatabase, open_database
from tests.dataset_rows import image_row, without_columns

D1, D2, D3, D4 = (date(2026, 11, day) for day in (1, 2, 3, 4))
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def seen(outcome: str, product_id: str, **columns: Any) -> dict[str, Any]:
    """Return a row of `SEEN`."""
    row = {**image_row(product_id), "outcome": outcome, "reason": None, "detail": None, "counts_from": None}
    return {**row, "image_sha256": None, **columns}


def write(root: Path, day: date, rows: list[dict[str, Any]], schema: pa.Schema = SEEN) -> Path:
    file = root / f"ingest_date={day}" / "part-1.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), file)
    return file


def test_changes_are_rows_to_stage(tmp_path: Path) -> None:
    rows = [
        seen("rejected", "p1", reason="empty", image_sha256="0"),
        seen("unchanged", "p2", image_sha256="2", ingest_no=3),
        seen("named", "p3", image_sha256="x"),
        seen("left", "p4", catalog_name=""),
        seen("left", "p5", counts_from="2026-11-04", ingest_no=7),
    ]
    file = write(tmp_path, D1, rows)
    expected = [
        ("p2", 0, "shop", "unchanged", "2", D1, 3),
        ("p3", 0, "shop", "named", None, D1, 1),
        ("p4", 0, "", "left", None, D1, 1),
        ("p5", 0, "shop", "left", None, D4, 0),
    ]
    assert IMAGE_CHANGE_COLUMNS[0] == "product_id"
    assert [row for batch in image_changes([file]) for row in batch] == expected
    without_columns(tmp_path, "catalog_name", "counts_from")
    assert next(row for batch in image_changes([file]) for row in batch) == ("p2", 0, "", "unchanged", "2", D1, 3)


def test_changes_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.runs.image_changes._BATCH_ROWS", 10)
    file = write(tmp_path, D1, [seen("named", f"p{number}") for number in range(25)])
    assert [len(batch) for batch in image_changes([file])] == [10, 10, 5]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, D1, [seen("named", "p1")])
    without_columns(tmp_path, "outcome")
    with pytest.raises(RunFailed, match="was written by another version: it lacks outcome; delete that file"):
        list(image_changes([file]))


def test_a_night_publishes_its_own_changes_and_those_of_earlier_nights_that_were_not_published(tmp_path: Path) -> None:
    places = Places(tmp_path)
    for day in (D1, D2, D3, D4):
        write(tmp_path / "seen", day, [seen("named", "p1")])
    database = open_database(f"sqlite:///{tmp_path}/shop.db")
    database.upgrade()
    counted: dict[str, Any] = {"counts": {}, "seconds": {}, "summary": {}, "started_at_utc": NOW}
    states = {"nightly-1": ("nightly", D1, "published"), "nightly-2": ("nightly", D2, "failed")}
    states["backfill-2"] = ("backfill", D2, "published")
    with database.engine.begin() as connection:
        for run_id, (kind, day, state) in states.items():
            row = {"run_id": run_id, "kind": kind, "run_date": day, "state": state, **counted}
            connection.execute(sa.insert(runs).values(row))
    night = RunConfig("nightly-3", "nightly", D3, (D3,))
    assert unpublished_nights(database, places, night) == {D2: 1}
    assert unpublished_nights(database, places, RunConfig("nightly-1", "nightly", D1, (D1,))) == {}
    assert unpublished_nights(database, places, RunConfig("b", "backfill", D3, (D2, D3))) == {}
    write(tmp_path / "seen", D4, [seen("rejected", "p1", reason="empty")])
    own = [night_inputs(partition(places, day), {}).changes for day in (D3, D4)]
    assert [[ingest_date_of(file) for file in files] for files in own] == [[D3], []]


def published_night(home: Path, **summary: Any) -> ProductDatabase:
    """Return a database in which the night of D1 is published, with this summary."""
    database = open_database(f"sqlite:///{home}/shop.db")
    database.upgrade()
    row = {"run_id": "nightly-1", "kind": "nightly", "run_date": D1, "state": "published", "summary": summary}
    with database.engine.begin() as connection:
        connection.execute(sa.insert(runs).values(counts={}, seconds={}, started_at_utc=NOW, **row))
    return database


@pytest.mark.parametrize(("published", "missing"), [(1, [D1]), (2, []), (None, [])])
def test_what_a_published_night_read_again_and_did_not_publish_is_published_by_the_next_night(
    tmp_path: Path, published: int | None, missing: list[date]
) -> None:
    """The night was read again with a mended catalog and failed. No later night records again what has left."""
    places = Places(tmp_path)
    write(tmp_path / "seen", D1, [seen("named", "p1"), seen("left", "p2", ingest_no=2)])
    database = published_night(tmp_path, **({"published": {"ingest_no": published}} if published else {"ingest": {}}))
    assert unpublished_nights(database, places, RunConfig("nightly-2", "nightly", D2, (D2,))) == dict.fromkeys(
        missing, 2
    )


@pytest.mark.parametrize(("published", "missing"), [(1, [D1]), (2, [])])
def test_titles_of_a_published_night_read_again_and_not_published_are_published_by_the_next_night(
    tmp_path: Path, published: int, missing: list[date]
) -> None:
    """Its catalog changed titles alone, of which nothing is under seen/, and the repetition failed before publish."""
    places = Places(tmp_path)
    write(tmp_path / "seen", D1, [seen("named", "p1")])
    rows = write(tmp_path / "catalog_rows", D1, [image_row("p1", title="Sneakers", ingest_no=2)], CATALOG_ROWS)
    database = published_night(tmp_path, published={"ingest_no": published})
    night = RunConfig("nightly-2", "nightly", D2, (D2,))
    earlier = unpublished_nights(database, places, night)
    assert earlier == dict.fromkeys(missing, 2)
    config = PredictConfig("nightly-2", (D2,), places, tmp_path)
    files = publish.collect(config, load_release(SHIPPED), RunInputs(), earlier=list(earlier))
    assert files.catalog_rows == ((rows,) if missing else ())
    titles = [row[PRODUCT_COLUMNS.index("title")] for batch in publish.product_rows(files) for row in batch]
    assert titles == (["Sneakers"] if missing else [])


def test_a_night_notes_what_it_published_of_images_and_events(tmp_path: Path) -> None:
    """Prune turns old images into events of the same date and number, which are nothing new."""
    places = Places(tmp_path)
    write(tmp_path / "seen", D1, [seen("named", "p1")])
    write(tmp_path / "images", D1, [image_row("p0", ingest_no=3), image_row("p9")], IMAGES)
    night = RunConfig("nightly-1", "nightly", D1, (D1,))
    note = published_note(night, night_inputs(partition(places, D1), {}), {})
    assert note == {"published": {"ingest_no": 3}}
    write(tmp_path / "catalog_rows", D1, [image_row("p1", ingest_no=4)], CATALOG_ROWS)
    assert published_note(night, night_inputs(partition(places, D1), {}), {}) == {"published": {"ingest_no": 4}}
    assert published_note(RunConfig("b", "backfill", D1, (D1,)), RunInputs(), {D1: 1}) == {}
    assert published_nights(published_night(tmp_path, **note)) == {D1: 3}


def test_a_rejection_ends_with_a_picture_that_the_product_had_before(tmp_path: Path) -> None:
    places = Places(tmp_path)
    rejected = [seen("rejected", f"p{number}", reason="empty", ingest_no=2) for number in range(4)]
    newer = [
        seen("unchanged", "p1", ingest_no=3),
        seen("unchanged", "p2", ingest_no=1),
        seen("named", "p3", ingest_no=3),
    ]
    write(tmp_path / "seen", D1, [*rejected, *newer])
    write(tmp_path / "images", D1, [image_row("p0", ingest_no=3), image_row("p9")], IMAGES)
    found = partition(places, D1)
    assert [row["product_id"] for row in found.rejections] == ["p2", "p3"]
    assert found.rejections[0]["catalog_name"] == "shop"
    without_columns(tmp_path, "catalog_name", "counts_from")
    assert [row["catalog_name"] for row in partition(places, D1).rejections] == [None, None]


def test_a_product_that_loses_an_image_is_decided_by_the_release_that_answers_it(home: Path) -> None:
    """The thresholds of the night's own release would turn `review` into `auto`."""
    shipped = load_release(SHIPPED)
    careful = replace(shipped, release_id="careful-1", thresholds=dict.fromkeys(shipped.thresholds))
    database = open_database(Settings().url)
    database.upgrade()
    category_id = "footwear.open.sandal"
    answer = (
        category_id,
        0.99,
        "review",
        json.dumps([[category_id, 0.99]]),
        "{}",
        "shop",
        "below_threshold",
        None,
        0.5,
        None,
    )
    database.publish(
        RunRecord("night", "nightly", D1, "careful-1", NOW),
        predictions=[[("p1", str(number), number, "p.jpg", D1, 1, *answer) for number in range(3)]],
        rejections=[],
        products=[],
        categories=category_records(careful),
        release=release_record(careful),
        combine=decider(manifest_of(careful)),
    )
    left = write(home / "seen", D2, [seen("left", "p1", image_no=2)])
    files = publish.RunFiles((), (), (), images=0, changes=(left,))
    night = RunConfig(f"nightly-{D2}", "nightly", D2, dates=(D2,))
    gates = RunGates("", "computed")
    publish.run(database, files, shipped, night, gates=gates, started_at_utc=NOW, seconds={}, summary={})
    with database.engine.connect() as connection:
        [row] = connection.execute(sa.text("SELECT status, image_count, release_id FROM product_categories")).all()
    assert tuple(row) == ("review", 2, "careful-1")


def test_what_a_later_night_has_published_is_not_published_by_each_night_after_it(tmp_path: Path) -> None:
    """A night that is given up would else be merged again every night, with all that its catalog had changed."""
    places = Places(tmp_path)
    write(tmp_path / "seen", D1, [seen("named", "p1"), seen("left", "p2", ingest_no=2)])
    write(tmp_path / "seen", D2, [seen("named", "p1")])
    database = published_night(tmp_path, published={"ingest_no": 1})
    night, after = RunConfig("nightly-3", "nightly", D3, (D3,)), RunConfig("nightly-4", "nightly", D4, (D4,))
    earlier = unpublished_nights(database, places, night)
    assert earlier == {D1: 2, D2: 1}
    row = {"run_id": "nightly-3", "kind": "nightly", "run_date": D3, "state": "published"}
    summary = published_note(night, RunInputs(), earlier)
    with database.engine.begin() as connection:
        connection.execute(sa.insert(runs).values(counts={}, seconds={}, started_at_utc=NOW, summary=summary, **row))
    assert unpublished_nights(database, places, after) == {}
    write(tmp_path / "seen", D2, [seen("named", "p1"), seen("left", "p1", ingest_no=2)])
    assert unpublished_nights(database, places, after) == {D2: 2}

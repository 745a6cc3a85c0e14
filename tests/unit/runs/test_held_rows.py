"""The rows that publish stores of a run some of whose images are held back, from its prediction files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.dataset.schema import PREDICTIONS
from jobs.predict.config import PredictConfig
from jobs.predict.job import predict_shard, prediction_file
from jobs.runs import publish
from jobs.runs.gates import NOTE, RunGates
from jobs.runs.publish import RunFiles, prediction_rows
from jobs.storage.places import Places
from sql.records import PREDICTION_COLUMNS, PublishCounts, RunRecord, SharedPictures
from tests.unit.predict.test_predict_loop import RELEASE, ColourPredictor, write_images
from tests.unit.runs.gate_reports import D1, D2, DESCRIBED, FAMILIAR, FOREIGN, GROUP, NIGHT, gates, report

TOPS: tuple[Any, ...] = ([["colour.red", 0.9]], [["colour.green", 0.5], ["colour.red", 0.4]], [])


def row(number: int, top_k: Any, day: date = D1, reason: str | None = None) -> dict[str, Any]:
    content = hashlib.sha256(str(number).encode()).hexdigest()
    named = {
        "release_id": "colours-1",
        "product_id": f"p{number}",
        "image_sha256": content,
        "image_no": 0,
        "image_uri": "x",
        "ingest_date": day,
    }
    answer = {"category_id": "colour", "confidence": 0.9, "status": "review", "review_reason": "taxonomy"}
    values = {**named, **answer, "foreign_score": 0.5, "ingest_no": 1, "by_network": "{}", "reason": reason}
    return {
        **dict.fromkeys(PREDICTIONS.names),
        **values,
        "top_k": top_k if isinstance(top_k, str) else json.dumps(top_k),
    }


def files(tmp_path: Path, rows: Sequence[Mapping[str, Any]], without: Sequence[str] = ()) -> RunFiles:
    table = pa.Table.from_pylist([dict(each) for each in rows], PREDICTIONS).drop_columns(list(without))
    pq.write_table(table, tmp_path / "file.parquet")
    return RunFiles((tmp_path / "file.parquet",), (), (), len(rows))


def published(found: RunFiles, decided: RunGates, *names: str) -> list[tuple[Any, ...]]:
    places = [PREDICTION_COLUMNS.index(name) for name in names]
    rows = [each for batch in prediction_rows(found, decided) for each in batch]
    assert all(len(each) == len(PREDICTION_COLUMNS) for each in rows)
    return [tuple(each[place] for place in places) for each in rows]


def test_held_by_is_added_by_the_leaf_and_not_by_the_answer(tmp_path: Path) -> None:
    rows = [row(number, top) for number, top in enumerate(TOPS)]
    failed = row(9, "", reason="not_predicted")
    decided = gates(report(GROUP))
    assert published(files(tmp_path, [*rows, failed]), decided, "product_id", "held_by", "review_reason") == [
        ("p0", None, "taxonomy"),
        ("p1", "foreign_group", "taxonomy"),
        ("p2", None, "taxonomy"),
    ]


@pytest.mark.parametrize(
    ("decided", "thumbnails"),
    [(gates(report(FOREIGN)), {"auto": 2, "review": 3}), (gates(report(FAMILIAR)), {"auto": 0, "review": 3})],
    ids=["foreign night", "ordinary night"],
)
def test_what_waits_says_where_its_picture_lies_also_where_a_night_is_held_back(
    tmp_path: Path, decided: RunGates, thumbnails: Mapping[str, int]
) -> None:
    """Predict took these answers for published, kept no thumbnail, and their places had to be searched."""
    config = PredictConfig("night", (D1,), Places(tmp_path), tmp_path / "release", batch_size=32)
    shard = write_images(config.places, 150)
    predict_shard(shard, ColourPredictor(), RELEASE, config)
    found = RunFiles((prediction_file(config, shard),), (), (), 150)
    rows = published(found, decided, "status", "held_by", "picture_at")
    assert {(status, bool(held)) for status, held, _ in rows} == {(each, decided.holds) for each in ("auto", "review")}
    assert {status: {(at or "").count("#") for each, _, at in rows if each == status} for status in thumbnails} == {
        status: {parts} for status, parts in thumbnails.items()
    }


def test_a_file_of_an_earlier_version_has_the_reasons_that_the_database_gave_its_rows(tmp_path: Path) -> None:
    """Publishing it again would else take the reasons away that the upgrade has filled in."""
    answers: list[tuple[str | None, str]] = [
        *((None, "unknown"), ("colour.red", "review"), ("colour", "review"), ("colour.red", "auto")),
    ]
    rows = [
        {**row(number, TOPS[0]), "category_id": category, "status": status}
        for number, (category, status) in enumerate(answers)
    ]
    found = files(tmp_path, rows, without=("review_reason", "foreign_score"))
    reasons = published(found, gates(report(FAMILIAR)), "review_reason", "foreign_score")
    assert reasons == [("below_threshold", None), ("below_threshold", None), ("taxonomy", None), (None, None)]


def test_every_image_of_a_foreign_night_is_held_back_with_or_without_an_answer(tmp_path: Path) -> None:
    rows = [row(number, top) for number, top in enumerate(TOPS)]
    found = files(tmp_path, [*rows, row(3, TOPS[0], D2)])
    held = published(found, gates(report(FOREIGN), report(FAMILIAR, day=D2)), "ingest_date", "held_by")
    assert held == [(D1, "foreign_night")] * 3 + [(D2, None)]


def test_distributions_are_not_parsed_where_nothing_is_held_back(tmp_path: Path) -> None:
    found = files(tmp_path, [row(0, "no JSON")])
    for decided in (gates(report(FAMILIAR)), gates(report(FOREIGN), allow_shift=True)):
        assert published(found, decided, "top_k", "held_by", "foreign_score") == [("no JSON", None, 0.5)]
    with pytest.raises(ValueError, match="Expecting value"):
        published(found, gates(report(GROUP)), "held_by")


def test_files_of_an_earlier_version_are_held_back_too(tmp_path: Path) -> None:
    found = files(tmp_path, [row(0, TOPS[1])], without=("review_reason", "foreign_score"))
    assert published(found, gates(report(GROUP)), "held_by", "review_reason", "foreign_score") == [
        ("foreign_group", "taxonomy", None)
    ]


class PlayedDatabase:
    """Keeps what is published, and returns no counts."""

    def publish(
        self, run: RunRecord, *, pictures: SharedPictures, predictions: Any, products: Any, **_: Any
    ) -> PublishCounts:
        self.summary, self.pictures, self.rows = run.summary, pictures, [*predictions]
        self.products = [row for batch in products for row in batch]
        return PublishCounts()


@pytest.mark.parametrize(
    ("groups", "shared", "pictures"),
    [
        (20, None, SharedPictures(20, noted=None, in_table=False)),
        (5, ("a" * 64,), SharedPictures(5, noted=("a" * 64,), in_table=False)),
        (0, ("a" * 64,), SharedPictures(0, noted=None, in_table=False)),
    ],
)
def test_publish_notes_the_gates_with_the_run(
    tmp_path: Path, groups: int, shared: tuple[str, ...] | None, pictures: SharedPictures
) -> None:
    database, decided = PlayedDatabase(), replace(gates(report(GROUP)), shared_pictures=shared)
    publish.run(
        database,  # type: ignore[arg-type]
        files(tmp_path, [row(0, TOPS[1])]),
        DESCRIBED,
        NIGHT,
        gates=decided,
        started_at_utc=datetime(2026, 11, 2, tzinfo=UTC),
        seconds={},
        summary={"ingest": {"seconds": 1.0}},
        picture_groups=groups,
        fill_products=False,
    )
    assert database.summary == {"ingest": {"seconds": 1.0}, NOTE: decided.note()}
    assert database.pictures == pictures
    [[published_row]] = database.rows
    assert published_row[PREDICTION_COLUMNS.index("held_by")] == "foreign_group"
    assert len(database.products) == (pictures.groups == 20), "they tell variants, where nothing is noted yet"

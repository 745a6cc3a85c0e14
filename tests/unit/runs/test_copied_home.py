"""A copied home publishes the same rows: the age of a file is not taken for the moment of a prediction."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.predict.config import PredictConfig
from jobs.predict.job import predict_shard, prediction_file
from jobs.predict.reports import METADATA_KEY, read_report
from jobs.runs import publish
from jobs.runs.config import RunConfig
from jobs.runs.gates import gates_of
from jobs.storage.places import Places
from models.release import SHIPPED, load_release
from sql.records import REJECTION_COLUMNS
from tests.unit.predict.test_predict_loop import RELEASE, ColourPredictor, write_images

DAY = date(2026, 11, 1)
MOMENT = REJECTION_COLUMNS.index("seen_at_utc")
COPIED = datetime(2030, 1, 1, tzinfo=UTC)


class Collecting:
    """Stands for a database that keeps the rejections that it is given."""

    def __init__(self) -> None:
        self.rejections: list[tuple[Any, ...]] = []

    def publish(self, _run: object, *, rejections: Iterable[Iterable[tuple[Any, ...]]], **_others: object) -> None:
        self.rejections = [row for batch in rejections for row in batch]


def moments(file: Path) -> list[datetime]:
    """Return when the images of a prediction file that failed were read, as they are published."""
    database: Any = Collecting()
    files = publish.RunFiles((file,), (), (), images=3, failed=frozenset({file}))
    publish.run(
        database,
        files,
        load_release(SHIPPED),
        RunConfig("r", "nightly", DAY, (DAY,)),
        gates=gates_of((), RELEASE),
        started_at_utc=COPIED,
        seconds={},
        summary={},
        fill_products=False,
    )
    return [row[MOMENT] for row in database.rejections]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A prediction file of three images, of which one failed."""
    config = PredictConfig("r", (DAY,), Places(tmp_path), tmp_path)
    shard = write_images(config.places, 3, broken=frozenset({1}))
    predict_shard(shard, ColourPredictor(), RELEASE, config)
    return Path(str(prediction_file(config, shard)))


def test_a_copied_home_changed_the_moment_of_its_rejections(file: Path) -> None:
    before = moments(file)
    assert len(before) == 1
    assert before[0].tzinfo is not None
    assert abs(before[0].timestamp() - file.stat().st_mtime) < 60
    os.utime(file, (COPIED.timestamp(), COPIED.timestamp()))
    assert moments(file) == before


def test_a_file_of_an_earlier_version_has_its_age_alone(file: Path) -> None:
    table = pq.read_table(file)
    text = (table.schema.metadata or {})[METADATA_KEY].replace(b"predicted_at_utc", b"gate")
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: text}), file)
    report = read_report(file)
    assert report is not None
    assert report.predicted_at_utc == ""
    os.utime(file, (COPIED.timestamp(), COPIED.timestamp()))
    assert moments(file) == [COPIED]

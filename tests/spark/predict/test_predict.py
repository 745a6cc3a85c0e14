"""The predict loop in Spark's tasks gives what it gives without Spark."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.dataset.shards import shards
from jobs.dataset.thumbnails import thumbnail_file
from jobs.ingest.config import IngestConfig
from jobs.ingest.task import read_and_store
from jobs.predict.config import PredictConfig
from jobs.predict.job import predict_shard, prediction_file, run
from jobs.spark.config import SparkConfig
from jobs.spark.session import spark_session
from jobs.storage.places import Places
from models.release import load_release
from models.serving.predictor import EnsemblePredictor
from tests.conftest import picture

DAY = date(2026, 11, 1)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Three shards of eight images."""
    found = Places(tmp_path / "home")
    for part in range(3):
        rows = []
        for number in range(8):
            path = tmp_path / f"{part}-{number}.jpg"
            path.write_bytes(picture(part * 100 + number))
            row = {"product_id": path.stem, "image_no": 0, "image_uri": str(path), "title": None, "category": None}
            row |= {"updated_at": None, "group_id": None, "known_sha256": None, "known_ingest_date": None}
            rows.append({**row, "to_read": True, "catalog_row_changed": False})
        read_and_store(iter(rows), IngestConfig("", DAY, found), base=tmp_path)
    assert len(shards(found.images, [DAY])) == 3
    return found


def predicted_alone(places: Places, release_dir: Path) -> PredictConfig:
    """Predict all shards of the day without Spark, as another run to compare with."""
    release = load_release(release_dir)
    alone = PredictConfig("alone", (DAY,), places, release_dir)
    predictor = EnsemblePredictor(release, release_dir)
    for shard in shards(places.images, [DAY]):
        predict_shard(shard, predictor, release, alone)
    return alone


def test_the_loop_is_the_same_with_and_without_spark(places: Places, tiny_release: Path, tmp_path: Path) -> None:
    release = load_release(tiny_release)
    alone = predicted_alone(places, tiny_release)
    spread = PredictConfig("spread", (DAY,), places, tiny_release)
    config = SparkConfig("local[2]", "1g", tmp_path / "spark")
    summary = run(lambda: spark_session(config, name="test", task_cpus=2), spread, release)
    assert (summary.shards, summary.shards_skipped, summary.images) == (3, 0, 24)
    assert sum(report.loading_seconds > 0.1 for report in summary.reports) == 1, "one process, one model load"
    for shard in shards(places.images, [DAY]):
        ours = pq.read_table(prediction_file(alone, shard)).to_pylist()
        theirs = pq.read_table(prediction_file(spread, shard)).to_pylist()
        assert len(ours) == len(theirs) == 8
        for one, other in zip(ours, theirs, strict=True):
            assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-4)
            assert {key: one[key] for key in ("product_id", "image_sha256", "status", "reason")} == {
                key: other[key] for key in ("product_id", "image_sha256", "status", "reason")
            }
            assert (one["picture_at"] is None) == (one["status"] == "auto") == (other["picture_at"] is None)
        kept = thumbnail_file(places, "spread", DAY, shard.name)
        small = {row["product_id"]: row["thumbnail"] for row in pq.read_table(kept, partitioning=None).to_pylist()}
        assert small.keys() == {row["product_id"] for row in theirs if row["status"] != "auto"}
        assert len(set(small.values())) == len(small) > 0, "each of its own image"
    assert sum(report.thumbnails for report in summary.reports) > 0

"""The predict loop without Spark: Petastorm reads, a fake predictor answers, a prediction file appears whole."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.dataset import reading as dataset
from jobs.dataset.batches import ImageBatch, batch_of, key_columns_of
from jobs.dataset.petastorm_adapter import ReaderClock
from jobs.dataset.reading import read_shard
from jobs.dataset.schema import IMAGES, PREDICTIONS
from jobs.dataset.shards import ShardWriter, shards
from jobs.errors import RunFailed
from jobs.predict.config import PredictConfig
from jobs.predict.job import finished, predict_shard, prediction_file, run
from jobs.predict.reports import read_report
from jobs.predict.selection import of_shard
from jobs.storage.places import Places
from models.release import Release
from models.spec import Category, Images, NetworkSpec, Predictions
from tests.dataset_rows import image_row, without_groups

ROOT = Path(__file__).parents[3]
DAY = date(2026, 11, 1)
COLOURS = ("red", "green", "blue")
RELEASE = Release(
    "colours-1",
    "colours",
    tuple(Category(f"colour.{name}", f"Colour > {name}") for name in COLOURS),
    (NetworkSpec("efficientnetb0", 32, "w", "", 1.0),),
    temperature=1.0,
    thresholds={"colour.green": 0.95},
)


class ColourPredictor:
    """Says which channel is the brightest, with confidence 0.9; a channel's feature is 2.55 at its brightest."""

    decode_px = 32

    def __init__(self) -> None:
        self.batches: list[int] = []

    def predict(self, images: Images) -> Predictions:
        assert images.dtype == np.uint8
        assert images.shape[1:] == (32, 32, 3)
        self.batches.append(len(images))
        confidences = np.full((len(images), 3), 0.05, np.float32)
        brightness = images.mean(axis=(1, 2), dtype=np.float32)
        confidences[np.arange(len(images)), brightness.argmax(axis=1)] = 0.9
        return Predictions(confidences, {"efficientnetb0": confidences}, {"efficientnetb0": brightness / 100})


def colour_jpeg(channel: int) -> bytes:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[..., channel] = 255
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes())


def write_images(places: Places, count: int, *, broken: frozenset[int] = frozenset()) -> Path:
    writer = ShardWriter(places.partition(places.images, DAY), IMAGES, shard_bytes=10**9)
    for number in range(count):
        jpeg = b"not a jpeg" if number in broken else colour_jpeg(number % 3)
        title = f"Product {number}" if number % 2 else None
        writer.add(
            image_row(f"p{number:04d}", title=title, jpeg=jpeg, group_id=f"g{number % 7}" if number % 5 else None)
        )
    writer.flush()
    return Path(str(shards(places.images, [DAY])[0]))


@pytest.fixture
def config(tmp_path: Path) -> PredictConfig:
    return PredictConfig("run-1", (DAY,), Places(tmp_path), tmp_path / "release", batch_size=32)


def test_each_image_gets_the_answer_to_its_own_pixels(config: PredictConfig) -> None:
    shard = write_images(config.places, 150)
    report = predict_shard(shard, ColourPredictor(), RELEASE, config)
    rows = pq.read_table(prediction_file(config, shard)).to_pylist()
    assert [row["product_id"] for row in rows] == [f"p{number:04d}" for number in range(150)]
    for number, row in enumerate(rows):
        assert row["category_id"] == f"colour.{COLOURS[number % 3]}"
        assert row["confidence"] == 0.9
        assert row["status"] == ("review" if number % 3 == 1 else "auto")  # green asks for 0.95
        assert row["title"] == (f"Product {number}" if number % 2 else None)
        assert row["group_id"] == (f"g{number % 7}" if number % 5 else None)
        assert row["ingest_date"] == DAY
        assert json.loads(row["top_k"])[0] == [row["category_id"], 0.9]
        assert json.loads(row["by_network"]) == {"efficientnetb0": [row["category_id"], 0.9]}
    assert (report.images, report.failed) == (150, 0)


def test_a_shard_of_an_earlier_version_has_no_groups(config: PredictConfig) -> None:
    shard = write_images(config.places, 150, broken=frozenset([3]))
    predict_shard(shard, ColourPredictor(), RELEASE, config)
    expected = [{**row, "group_id": None} for row in pq.read_table(prediction_file(config, shard)).to_pylist()]
    without_groups(shard.parent)
    report = predict_shard(shard, ColourPredictor(), RELEASE, config)
    assert pq.read_table(prediction_file(config, shard)).to_pylist() == expected
    assert (report.images, report.failed) == (150, 1)
    with pq.ParquetFile(shard) as file:
        assert key_columns_of(file, 0)["group_id"].tolist() == [""] * 64
        batch = batch_of(file, 1, [5, 2], 32)
    assert batch.columns["group_id"].tolist() == ["", ""]
    assert batch.columns["product_id"].tolist() == ["p0069", "p0066"]


@pytest.mark.parametrize("former", [False, True])
def test_of_a_row_group_without_a_wanted_image_nothing_is_decoded(config: PredictConfig, former: bool) -> None:
    shard = write_images(config.places, 150)
    if former:
        without_groups(shard.parent)
    wanted = {("p0070", 0, "0070".zfill(64))}
    [batch] = read_shard(shard, side_px=32, batch_size=32, workers=2, wanted=wanted)
    assert batch.columns["product_id"].tolist() == ["p0070"]
    assert batch.columns["group_id"].tolist() == [""]


def test_the_loop_runs_where_neither_spark_nor_tensorflow_is(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
for name in ("pyspark", "py4j", "tensorflow", "airflow"):
    sys.modules[name] = None
from jobs.predict.config import PredictConfig
from jobs.storage.places import Places
from jobs.predict.job import predict_shard
from tests.unit.predict.test_predict_loop import DAY, RELEASE, ColourPredictor, write_images
config = PredictConfig("run-1", (DAY,), Places(Path({str(tmp_path)!r})), Path("release"), batch_size=32)
print(predict_shard(write_images(config.places, 100), ColourPredictor(), RELEASE, config).images)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "100\n"), done.stderr


@pytest.mark.parametrize("name", ["home #1", "a?b;c", "100%25", "tab\there", "[1]{a}*:\\"])
def test_a_shard_is_read_wherever_it_lies(tmp_path: Path, name: str) -> None:
    """Petastorm takes URLs and opens what it finds in them, without decoding it."""
    shard = write_images(Places(tmp_path / name), 5)
    assert sum(map(len, read_shard(shard, side_px=32, batch_size=2, workers=1))) == 5


def test_batches_are_never_larger_than_asked_for(config: PredictConfig) -> None:
    predictor = ColourPredictor()
    predict_shard(write_images(config.places, 150), predictor, RELEASE, config)
    assert sum(predictor.batches) == 150
    assert max(predictor.batches) == 32


def test_an_image_that_no_longer_decodes_is_a_rejection_and_the_rest_goes_through(config: PredictConfig) -> None:
    shard = write_images(config.places, 70, broken=frozenset({3, 65}))
    report = predict_shard(shard, ColourPredictor(), RELEASE, config)
    rows = pq.read_table(prediction_file(config, shard)).to_pylist()
    assert {row["product_id"] for row in rows if row["reason"]} == {"p0003", "p0065"}
    assert all(row["reason"] == "inference_failed" and row["category_id"] is None for row in rows if row["reason"])
    assert (report.images, report.failed) == (70, 2)


def test_a_finished_shard_is_known_and_another_releases_is_not(config: PredictConfig) -> None:
    shard = write_images(config.places, 5)
    assert not finished(config, of_shard(config, shard), "colours-1")
    predict_shard(shard, ColourPredictor(), RELEASE, config)
    assert finished(config, of_shard(config, shard), "colours-1")
    assert not finished(config, of_shard(config, shard), "colours-2")


def test_nothing_to_do_starts_no_spark(config: PredictConfig) -> None:
    predict_shard(write_images(config.places, 5), ColourPredictor(), RELEASE, config)

    def no_session() -> None:
        raise AssertionError("Spark was started for nothing")

    summary = run(no_session, config, RELEASE)  # type: ignore[arg-type]
    assert (summary.shards, summary.shards_skipped, summary.images) == (1, 1, 0)


def test_a_predictor_that_fails_leaves_no_prediction_file(config: PredictConfig) -> None:
    class Failing(ColourPredictor):
        def predict(self, images: Images) -> Predictions:
            raise MemoryError("out of memory")

    shard = write_images(config.places, 5)
    with pytest.raises(RunFailed, match="not one image of 32 x 32 px fits the memory"):
        predict_shard(shard, Failing(), RELEASE, config)
    assert not config.places.predictions("run-1").exists()


def test_a_reader_that_ends_early_leaves_no_prediction_file(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = write_images(config.places, 100)
    whole = dataset.read_shard

    def first_batch(*args: Any, **options: Any) -> Iterator[ImageBatch]:
        yield from islice(whole(*args, **options), 1)

    monkeypatch.setattr(dataset, "read_shard", first_batch)
    with pytest.raises(RunFailed, match="holds 100 images to predict, 32 were read"):
        predict_shard(shard, ColourPredictor(), RELEASE, config)
    assert not config.places.predictions("run-1").exists()


def test_a_damaged_prediction_file_counts_as_missing(config: PredictConfig) -> None:
    shard = write_images(config.places, 5)
    predict_shard(shard, ColourPredictor(), RELEASE, config)
    path = prediction_file(config, shard)
    path.write_bytes(path.read_bytes()[:100])
    assert read_report(path) is None
    assert not finished(config, of_shard(config, shard), "colours-1")


def test_prediction_files_have_the_declared_columns(config: PredictConfig) -> None:
    shard = write_images(config.places, 5)
    predict_shard(shard, ColourPredictor(), RELEASE, config)
    assert pq.read_schema(prediction_file(config, shard)).remove_metadata() == PREDICTIONS


def test_the_reader_counts_its_decoding_and_stops_its_threads(config: PredictConfig) -> None:
    import threading

    before = threading.active_count()
    clock = ReaderClock()
    reader = read_shard(write_images(config.places, 200), side_px=32, batch_size=32, workers=2, clock=clock)
    next(iter(reader))
    reader.close()
    assert clock.decoding_seconds > 0
    assert threading.active_count() <= before


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda data: data[:-50], "cannot be read .*; delete that file and ingest its date again"),
        (lambda data: data[:200] + b"\0" * (len(data) // 2) + data[200 + len(data) // 2 :], "cannot be read"),
    ],
)
def test_a_damaged_shard_is_one_sentence(
    config: PredictConfig, damage: Callable[[bytes], bytes], sentence: str
) -> None:
    shard = write_images(config.places, 100)
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(RunFailed, match=sentence):
        list(read_shard(shard, side_px=32, batch_size=32, workers=2))


def test_a_shard_of_another_version_is_one_sentence(config: PredictConfig) -> None:
    shard = write_images(config.places, 10)
    pq.write_table(pq.read_table(shard).drop(["jpeg", "title"]), shard)
    with pytest.raises(RunFailed, match="was written by another version: it lacks jpeg, title; delete that file"):
        predict_shard(shard, ColourPredictor(), RELEASE, config)
    assert not config.places.predictions("run-1").exists()

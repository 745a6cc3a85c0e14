"""Ask a release what the images of some shards are, one prediction file a shard.

    shelfwise predict --run-date 2026-11-01

Reads images/ingest_date=D/; writes predictions/run_id=R/, each file whole. A shard whose file is there, made by the
same release, is not computed again. Neither Keras nor TensorFlow is imported before a task has its process to itself.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.config import PredictConfig, RunFailed
from jobs.schema import PREDICTIONS
from jobs.selection import Selected, of_run, of_shard
from jobs.shards import ingest_date_of, whole_file
from models.decision import DIGITS
from models.products import answer_of_image, best
from models.release import Release, load_release
from models.spec import Predictions, Predictor

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from jobs.dataset import ImageBatch

log = logging.getLogger(__name__)

_METADATA_KEY = b"shelfwise"


@dataclass(frozen=True)
class ShardReport:
    """What one shard cost; kept in its prediction file, so that a rerun knows it too.

    Attributes:
        shard: Path of the dataset file.
        release_id: What predicted it.
        images: Predicted of the shard.
        failed: Of these, images that no network could take.
        decoding_seconds: Summed over the decoding threads.
        waiting_seconds: The networks waited for decoded images.
        predicting_seconds: The networks computed.
        writing_seconds: The prediction file was written.
        loading_seconds: The networks were built and their weights read; 0 where a process had them already.
        selection: Names the choice of images that it was made for; empty is all of the shard.
    """

    shard: str
    release_id: str
    images: int
    failed: int
    decoding_seconds: float
    waiting_seconds: float
    predicting_seconds: float
    writing_seconds: float
    loading_seconds: float = 0.0
    selection: str = ""


@dataclass(frozen=True)
class PredictSummary:
    """What one predict did.

    Attributes:
        shards: Of the run's partitions, those with an image to predict.
        shards_skipped: Of these, finished by an earlier attempt.
        images: Predicted now.
        seconds: Wall time without Spark's start.
        reports: Of the shards computed now.
    """

    shards: int
    shards_skipped: int
    images: int
    seconds: float
    reports: tuple[ShardReport, ...]

    def seconds_by_stage(self) -> dict[str, float]:
        """Return the seconds of each stage, summed over shards."""
        names = [field.name for field in fields(ShardReport) if field.name.endswith("_seconds")]
        return {name: round(sum(getattr(report, name) for report in self.reports), 3) for name in names}

    @property
    def images_per_second(self) -> float:
        """Images a second of the loop itself: waiting, predicting and writing, without start-up and model load."""
        stages = self.seconds_by_stage()
        busy = sum(stages[name] for name in ("waiting_seconds", "predicting_seconds", "writing_seconds"))
        return round(self.images / busy, 1) if busy else 0.0


def prediction_file(config: PredictConfig, shard: Path) -> Path:
    """Return where the predictions of a shard go: its date and name tell it from the run's other shards."""
    return config.places.predictions(config.run_id) / f"{ingest_date_of(shard)}--{shard.name}"


def finished(config: PredictConfig, chosen: Selected, release_id: str) -> bool:
    """Say whether the predictions by this release of what the run takes of a shard are in place."""
    report = read_report(prediction_file(config, chosen.shard))
    return report is not None and (report.release_id, report.selection) == (release_id, chosen.digest)


def read_report(path: Path) -> ShardReport | None:
    """Return the report in a prediction file, or None if there is no such file or it is not one of ours."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        return ShardReport(**json.loads(metadata[_METADATA_KEY]))
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException):
        return None


def run(
    open_session: Callable[[], AbstractContextManager[SparkSession]], config: PredictConfig, release: Release
) -> PredictSummary:
    """Predict the shards of a run that are not finished.

    Args:
        open_session: Opens a Spark session whose tasks own all cores of their executor, as a context manager; it is
            not called when there is nothing to do.
        config: What to predict and where to write.
        release: As `load_release` verified it in `config.release_dir`; each task's process verifies it again.

    Returns:
        What was done.
    """
    every = of_run(config)
    todo = [chosen.shard for chosen in every if not finished(config, chosen, release.release_id)]
    started = time.perf_counter()
    reports: tuple[ShardReport, ...] = ()
    if todo:
        with open_session() as spark:
            started = time.perf_counter()
            reports = tuple(_in_spark(spark, config, todo))
    return PredictSummary(
        shards=len(every),
        shards_skipped=len(every) - len(todo),
        images=sum(report.images for report in reports),
        seconds=round(time.perf_counter() - started, 3),
        reports=reports,
    )


def _in_spark(spark: SparkSession, config: PredictConfig, todo: Sequence[Path]) -> Iterator[ShardReport]:
    """Run one task a shard."""

    def task(names: Iterable[str]) -> Iterator[ShardReport]:
        for name in names:
            predictor, release, seconds = load_predictor(config.release_dir)
            yield predict_shard(Path(name), predictor, release, config, loading_seconds=seconds)

    names = [str(shard) for shard in todo]
    spark.sparkContext.setJobDescription(f"predict {len(names)} shards of run {config.run_id}")
    yield from spark.sparkContext.parallelize(names, len(names)).mapPartitions(task).collect()


@lru_cache(maxsize=1)
def _built(release_dir: Path) -> tuple[Predictor, Release]:
    """Build a release's predictor once in a process; Spark's Python workers serve many tasks."""
    from models.predictor import EnsemblePredictor

    release = load_release(release_dir)
    return EnsemblePredictor(release, release_dir), release


def load_predictor(release_dir: Path) -> tuple[Predictor, Release, float]:
    """Return a release's predictor, built once in a process, the release, and the seconds that it took now."""
    from models.environment import prepare_environment, quiet_start

    prepare_environment()
    started = time.perf_counter()
    with quiet_start():
        predictor, release = _built(release_dir)
    return predictor, release, time.perf_counter() - started


def predict_shard(
    shard: Path, predictor: Predictor, release: Release, config: PredictConfig, *, loading_seconds: float = 0.0
) -> ShardReport:
    """Read a shard, predict it and put its prediction file in place; the same with and without Spark.

    Args:
        shard: A file of the dataset.
        predictor: Takes squares of `release.decode_px`.
        release: Whose categories and thresholds apply.
        config: Batch size, decoding threads and the run's place.
        loading_seconds: What building the predictor took, for the report.

    Returns:
        What it cost.

    Raises:
        RunFailed: If the reader gave fewer or more images than the shard holds; no file is written then.
    """
    from jobs.dataset import ReaderClock, read_shard

    clock, chosen = ReaderClock(), of_shard(config, shard)
    rows: list[dict[str, Any]] = []
    waiting = predicting = 0.0
    mark = time.perf_counter()
    reader = read_shard(
        shard,
        side_px=predictor.decode_px,
        batch_size=config.batch_size,
        workers=config.decode_workers,
        clock=clock,
        wanted=chosen.keys,
    )
    for batch in reader:
        ready = time.perf_counter()
        predictions = predictor.predict(batch.images)
        done = time.perf_counter()
        rows.extend(_rows(batch, predictions, release))
        waiting, predicting, mark = waiting + ready - mark, predicting + done - ready, time.perf_counter()
    if len(rows) != chosen.images:  # no image may vanish, whatever a reader does
        raise RunFailed(f"{shard} holds {chosen.images} images to predict, {len(rows)} were read; run the same again")
    report = ShardReport(
        shard=str(shard),
        release_id=release.release_id,
        images=len(rows),
        failed=sum(row["reason"] is not None for row in rows),
        decoding_seconds=round(clock.decoding_seconds, 3),
        waiting_seconds=round(waiting + time.perf_counter() - mark, 3),
        predicting_seconds=round(predicting, 3),
        writing_seconds=0.0,
        loading_seconds=round(loading_seconds, 3),
        selection=chosen.digest,
    )
    return _write(rows, report, shard, config)


def _write(rows: Iterable[dict[str, Any]], report: ShardReport, shard: Path, config: PredictConfig) -> ShardReport:
    """Write the rows in order of their keys, so that the same shard always gives the same file."""
    started = time.perf_counter()
    ordered = sorted(rows, key=lambda row: (row["product_id"], row["image_no"], row["image_sha256"]))
    day = ingest_date_of(shard)
    table = pa.Table.from_pylist([{**row, "ingest_date": day} for row in ordered], schema=PREDICTIONS)
    schema = PREDICTIONS.with_metadata({_METADATA_KEY: json.dumps(asdict(report))})
    with whole_file(prediction_file(config, shard), schema) as writer:
        writer.write_table(table.replace_schema_metadata(schema.metadata))
    return ShardReport(**{**asdict(report), "writing_seconds": round(time.perf_counter() - started, 3)})


def _rows(batch: ImageBatch, predictions: Predictions, release: Release) -> Iterator[dict[str, Any]]:
    """Turn a batch's answers into rows of `PREDICTIONS`, without `ingest_date`."""
    ids = [category.category_id for category in release.categories]
    policy = release.policy
    firsts = {name: part.argmax(axis=1) for name, part in predictions.by_network.items()}
    for i in range(len(batch)):
        row = {name: values[i] or None for name, values in batch.columns.items() if name != "image_no"}
        row |= {"image_no": int(batch.columns["image_no"][i]), "image_uri": row["image_uri"] or ""}
        row |= {"release_id": release.release_id, "reason": None, "detail": None}
        if batch.errors[i]:
            yield {**row, "reason": "inference_failed", "detail": batch.errors[i]}
            continue
        confidences = predictions.confidences[i]
        networks = {
            name: (ids[firsts[name][i]], _rounded(part[i, firsts[name][i]]))
            for name, part in predictions.by_network.items()
        }
        answer = answer_of_image(ids, confidences, policy)
        yield {
            **row,
            "category_id": answer.category_id,
            "confidence": answer.confidence,
            "status": answer.status,
            "top_k": json.dumps(best(ids, confidences)),
            "by_network": json.dumps(networks),
        }


def _rounded(confidence: np.floating[Any]) -> float:
    return round(float(confidence), DIGITS)

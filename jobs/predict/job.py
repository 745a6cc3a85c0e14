"""Ask a release what the images of some shards are, one prediction file a shard.

    shelfwise predict --run-date 2026-11-01

Reads images/ingest_date=D/; writes predictions/run_id=R/, each file whole. A shard whose file is there, made by the
same release, is not computed again. Neither Keras nor TensorFlow is imported before a task has its process to itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from jobs.dataset.local_copies import on_disk_in_turn, tasks_for
from jobs.dataset.schema import PREDICTIONS
from jobs.dataset.shards import ingest_date_of, whole_file
from jobs.errors import RunFailed
from jobs.predict import tuning_file as tuned
from jobs.predict.config import PredictConfig
from jobs.predict.inference import BusyClock, Inference, answers
from jobs.predict.networks import Workplace, clean_worker, distribute, prepared, station, task_attempt, vacate
from jobs.predict.quarantine import Quarantine
from jobs.predict.quarantine_helper import Orders
from jobs.predict.reports import PredictSummary, ShardReport, read_report, with_report
from jobs.predict.rows import rows_of
from jobs.predict.selection import Selected, of_run, of_shard
from jobs.spark.session import tasks_at_once
from jobs.storage.places import Place
from jobs.storage.stores import place, uri
from models.release import Release
from models.spec import Predictor

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)


def prediction_file(config: PredictConfig, shard: Place) -> Place:
    """Return where the predictions of a shard go: its date and name tell it from the run's other shards."""
    return config.places.predictions(config.run_id) / f"{ingest_date_of(shard)}--{shard.name}"


def finished(config: PredictConfig, chosen: Selected, release_id: str) -> bool:
    """Say whether the predictions by this release of what the run takes of a shard are in place."""
    report = read_report(prediction_file(config, chosen.shard))
    return report is not None and (report.release_id, report.selection) == (release_id, chosen.digest)


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
        found = tuned.known(config.places, release.release_id)
        config = replace(config, computing=replace(config.computing, tuned=found))
        with open_session() as spark:
            started = time.perf_counter()
            reports = tuple(_in_spark(spark, config, release, todo))
        tuned.remember(config.places, release.release_id, reports)
    return PredictSummary(
        shards=len(every),
        shards_skipped=len(every) - len(todo),
        images=sum(report.images for report in reports),
        seconds=round(time.perf_counter() - started, 3),
        reports=reports,
    )


def _in_spark(spark: SparkSession, config: PredictConfig, release: Release, todo: Sequence[Place]) -> list[ShardReport]:
    """Run one task a shard, or a few shards of a store, of which the next is copied while one is predicted."""
    distributed = distribute(spark, config.release_dir, release)

    # A speculative attempt is no sign that one before it has ended.
    careful = 2 if spark.conf.get("spark.speculation", "false") == "true" else 1

    def task(names: Iterable[str]) -> Iterator[ShardReport]:
        return predict_in_turn([place(name) for name in names], config, release, distributed, careful=careful)

    names = [uri(shard) for shard in todo]
    spark.sparkContext.setJobDescription(f"predict {len(names)} shards of run {config.run_id}")
    return spark.sparkContext.parallelize(names, tasks_for(todo, tasks_at_once(spark))).mapPartitions(task).collect()


def predict_in_turn(
    mine: Sequence[Place], config: PredictConfig, release: Release, distributed: Release | None, *, careful: int
) -> Iterator[ShardReport]:
    """Predict the shards of one task, one after the other.

    Args:
        mine: The shards.
        config: Where they and the release are, and what to compute on.
        release: What answers.
        distributed: What Spark's distribution has sent; None reads `config.release_dir`.
        careful: The first attempt that takes it that the one before has ended over an image. It has its first shard
            that is not finished looked at by helper processes, since it is that which may be to blame; the attempts
            after it all of them, so that deadly images in several shards do not use up the attempts.

    Yields:
        What each shard cost.
    """
    attempt, suspected = task_attempt(), False
    with ExitStack() as helpers:
        quarantine: Quarantine | None = None
        for shard, path, copying_seconds in on_disk_in_turn(mine):
            with clean_worker():
                # A worker may end when a shard is in place and before Spark has heard of it.
                earlier = _earlier(config, shard, release.release_id) if attempt or len(mine) > 1 else None
                if earlier is not None:
                    yield earlier
                elif attempt < careful or (attempt == careful and suspected):
                    helpers.close()
                    here = station(config, path, distributed)
                    fitted, on = here.fitted(config), replace(here.workplace(), copying_seconds=copying_seconds)
                    yield predict_shard(shard, here.inference, here.release, fitted, on=on, path=path)
                else:
                    vacate(may_end=attempt == careful)
                    if quarantine is None:
                        orders = Orders(config, prepared(config, distributed), release)
                        quarantine = helpers.enter_context(Quarantine(orders))
                    suspected = True
                    yield predict_apart(shard, quarantine, release, config, path, copying_seconds=copying_seconds)


def _earlier(config: PredictConfig, shard: Place, release_id: str) -> ShardReport | None:
    """Return the report of a shard that an earlier attempt of the same task has finished."""
    chosen = of_shard(config, shard)
    return read_report(prediction_file(config, shard)) if finished(config, chosen, release_id) else None


def predict_shard(
    shard: Place,
    predictor: Predictor | Inference,
    release: Release,
    config: PredictConfig,
    *,
    on: Workplace = Workplace(),  # noqa: B008 - frozen
    path: Path | None = None,
) -> ShardReport:
    """Read a shard, predict it and put its prediction file in place; the same with and without Spark.

    Args:
        shard: A file of the dataset.
        predictor: Takes squares of `release.decode_px`; an `Inference` keeps what it learns for the next shard.
        release: Whose categories and thresholds apply.
        config: Batch size, decoding threads and the run's place.
        on: Where it computes, for the report.
        path: A copy of the shard on this machine; None where the shard itself is here.

    Returns:
        What it cost.

    Raises:
        RunFailed: If the reader gave fewer or more images than the shard holds; no file is written then.
    """
    from jobs.dataset.petastorm_adapter import ReaderClock
    from jobs.dataset.reading import read_shard

    inference = predictor if isinstance(predictor, Inference) else Inference(predictor)
    reading, clock, chosen = ReaderClock(), BusyClock(), of_shard(config, shard)
    batches = read_shard(
        path or Path(str(shard)),
        side_px=inference.decode_px,
        batch_size=config.batch_size,
        workers=config.decode_workers,
        clock=reading,
        wanted=chosen.keys,
        original=shard,
    )
    with closing(batches):
        answered = answers(batches, inference, in_flight=on.in_flight, clock=clock)
        rows = [row for batch, answer in answered for row in rows_of(batch, answer, release)]
    stages = {
        "reading_seconds": on.copying_seconds + reading.reading_seconds,
        "decoding_seconds": reading.decoding_seconds,
        "waiting_seconds": on.copying_seconds + clock.idle_seconds,
        "predicting_seconds": clock.busy_seconds,
        "loading_seconds": on.loading_seconds,
    }
    fitted = replace(config, batch_size=min(config.batch_size, inference.limit or config.batch_size))
    # A size that did not fit the memory is nothing to remember.
    return _put(rows, chosen, release, fitted, replace(on, tried=on.tried and not inference.limit), stages)


def predict_apart(
    shard: Place,
    quarantine: Quarantine,
    release: Release,
    config: PredictConfig,
    path: Path,
    *,
    copying_seconds: float = 0.0,
) -> ShardReport:
    """Do what `predict_shard` does, in processes that the shard's images may end.

    Args:
        shard: A file of the dataset.
        quarantine: Whose processes look at the images.
        release: Whose categories and thresholds apply.
        config: Batch size and the run's place.
        path: The shard on this machine.
        copying_seconds: It was waited for to come there.

    Raises:
        RunFailed: If not the images are to blame for what happens.
    """
    chosen = of_shard(config, shard)
    answered = quarantine.answers(shard, path, chosen.keys)
    rows = [row for batch, answer in answered for row in rows_of(batch, answer, release)]
    stages = {
        "reading_seconds": copying_seconds,
        "decoding_seconds": quarantine.decoding_seconds,
        "waiting_seconds": copying_seconds + quarantine.decoding_seconds,
        "predicting_seconds": quarantine.predicting_seconds,
        "loading_seconds": quarantine.loading_seconds,
    }
    on = Workplace(quarantine.ready.device, quarantine.ready.precision, attempt=task_attempt())
    return _put(rows, chosen, release, replace(config, batch_size=0), on, stages)


def _put(
    rows: list[dict[str, Any]],
    chosen: Selected,
    release: Release,
    config: PredictConfig,
    on: Workplace,
    stages: Mapping[str, float],
) -> ShardReport:
    """Put a shard's answers in place and say what they cost."""
    shard = chosen.shard
    if len(rows) != chosen.images:  # no image may vanish, whatever a reader does
        raise RunFailed(f"{shard} holds {chosen.images} images to predict, {len(rows)} were read; run the same again")
    report = ShardReport(
        shard=str(shard),
        release_id=release.release_id,
        images=len(rows),
        failed=sum(row["reason"] is not None for row in rows),
        writing_seconds=0.0,
        selection=chosen.digest,
        device=on.device,
        batch_size=config.batch_size,
        precision=on.precision,
        attempt=on.attempt,
        tried=on.tried,
        **{name: round(seconds, 3) for name, seconds in stages.items()},
    )
    return _write(rows, report, shard, config)


def _write(rows: Iterable[dict[str, Any]], report: ShardReport, shard: Place, config: PredictConfig) -> ShardReport:
    """Write the rows in order of their keys, so that the same shard always gives the same file."""
    started = time.perf_counter()
    ordered = sorted(rows, key=lambda row: (row["product_id"], row["image_no"], row["image_sha256"]))
    day = ingest_date_of(shard)
    table = pa.Table.from_pylist([{**row, "ingest_date": day} for row in ordered], schema=PREDICTIONS)
    schema = with_report(PREDICTIONS, report)
    with whole_file(prediction_file(config, shard), schema) as writer:
        writer.write_table(table.replace_schema_metadata(schema.metadata))
    return replace(report, writing_seconds=round(time.perf_counter() - started, 3))

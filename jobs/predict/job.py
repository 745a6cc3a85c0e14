"""The predict job: predict the images of some shards with a release, and write one prediction file per shard.

    shelfwise predict --run-date 2026-11-01

Reads images/ingest_date=D/. Writes predictions/run_id=R/, each file atomically, and before it the thumbnails of answers
that wait for a person, to thumbnails/run_id=R/. A shard that has a prediction file of the same release is skipped.
OpenVINO, or Keras and TensorFlow, are imported only inside a task, after its GPU is set.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from dataclasses import astuple, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.dataset.local_copies import on_disk_in_turn, tasks_for
from jobs.dataset.shards import ingest_date_of
from jobs.predict import late_executors, precision, tuning_file
from jobs.predict.config import PredictConfig
from jobs.predict.conversions import converted_files
from jobs.predict.inference import BusyClock, Inference, answers
from jobs.predict.late_executors import HandedBack, handed_back, in_rounds, may_compute
from jobs.predict.networks import (
    ComputeReport,
    clean_worker,
    distribute,
    loaded_networks,
    prepare_process,
    unload_networks,
)
from jobs.predict.prediction_files import Predicted, put
from jobs.predict.quarantine import Quarantine
from jobs.predict.quarantine_helper import HelperSetup
from jobs.predict.reports import PredictSummary, ShardReport, read_report
from jobs.predict.rows import rows_of
from jobs.predict.selection import Selected, of_run, of_shard
from jobs.predict.trial import Trial
from jobs.spark.session import is_cluster, tasks_at_once
from jobs.spark.task import task_attempt, task_cores
from jobs.storage.faults import StoreError
from jobs.storage.places import Place
from jobs.storage.stores import place, uri
from models.known.gate import ImageGate, load_gate
from models.release import Release
from models.spec import Predictor

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from jobs.dataset.reader_processes import ReaderProcesses

log = logging.getLogger(__name__)


def prediction_file(config: PredictConfig, shard: Place) -> Place:
    """Return the path of a shard's prediction file; date and name of the shard make it unique in the run."""
    return config.places.predictions(config.run_id) / f"{ingest_date_of(shard)}--{shard.name}"


def finished_report(config: PredictConfig, chosen: Selected, release_id: str) -> ShardReport | None:
    """Return the report in a shard's prediction file; None unless it is of this release and these selected images."""
    report = _report_of(config, chosen.shard, release_id)
    return report if _is_of(report, chosen) else None


def _report_of(config: PredictConfig, shard: Place, release_id: str) -> ShardReport | None:
    """Return the report in a shard's prediction file; None unless it is of this release."""
    report = read_report(prediction_file(config, shard))
    return report if report and report.release_id == release_id else None


def _is_of(report: ShardReport | None, chosen: Selected) -> bool:
    """Return whether a report is of exactly these selected images."""
    return report is not None and report.selection == chosen.digest


def finished(config: PredictConfig, chosen: Selected, release_id: str) -> bool:
    """Return whether a shard has its prediction file, from this release and for the same selected images."""
    return finished_report(config, chosen, release_id) is not None


def run(
    open_session: Callable[[], AbstractContextManager[SparkSession]],
    config: PredictConfig,
    release: Release,
    *,
    known: Iterable[Selected] = (),
) -> PredictSummary:
    """Run the predict job: predict the unfinished shards of a run in Spark tasks, and add up their reports.

    Args:
        open_session: Opens a Spark session whose tasks own all cores of their executor, as a context manager; it is
            not called if all shards are finished.
        config: Shards to predict, and the home to write to.
        release: Release that `load_release` verified in `config.release_dir`; each task's process verifies it again.
        known: Selected images of shards that the caller has read, see `of_run`.

    Returns:
        Counts, times and the reports of the shards predicted now and before.
    """
    every = of_run(config, known)
    before = [_report_of(config, chosen.shard, release.release_id) for chosen in every]
    todo = [chosen for chosen, report in zip(every, before, strict=True) if not _is_of(report, chosen)]
    skipped = tuple(report for chosen, report in zip(every, before, strict=True) if report and _is_of(report, chosen))
    begun = precision.begun_in(report for report in before if report)
    started = time.perf_counter()
    reports: tuple[ShardReport, ...] = ()
    if todo:
        remembered = tuning_file.known(config.places, release.release_id)
        converted = converted_files(config, release)
        config = replace(config, computing=replace(config.computing, tuned=remembered, converted=converted))
        if not converted:
            precision.plan(config, release, (), begun=begun, shards=len(todo))  # refuses what was begun otherwise
        with open_session() as spark:
            started = time.perf_counter()
            if converted:
                found = precision.processors(spark, cluster=is_cluster(str(spark.sparkContext.master)))
                fresh = precision.uncounted(config, release, found, [chosen.shard for chosen in todo])
                plan = precision.plan(config, release, found, begun=begun, shards=len(fresh))
                config = replace(config, computing=replace(config.computing, plan=plan))
            try:
                reports = tuple(_in_spark(spark, config, release, todo))
            except Exception:
                _remember_finished(config, release, todo)
                raise
        tuning_file.remember(config.places, release.release_id, reports)
        precision.remember(config, release, reports)
    return PredictSummary(
        shards=len(every),
        shards_skipped=len(every) - len(todo),
        images=sum(report.images for report in reports),
        seconds=round(time.perf_counter() - started, 3),
        reports=reports,
        skipped=skipped,
    )


def _remember_finished(config: PredictConfig, release: Release, todo: Sequence[Selected]) -> None:
    """Keep what the finished shards of a run that fails have compared: the run that resumes it skips them."""
    if config.computing.plan.trial_images:
        with suppress(StoreError):  # the run may have failed because its store cannot be reached
            found = [finished_report(config, chosen, release.release_id) for chosen in todo]
            precision.remember(config, release, [report for report in found if report])


def _in_spark(
    spark: SparkSession, config: PredictConfig, release: Release, todo: Sequence[Selected]
) -> list[ShardReport]:
    """Run one task per local shard; a task of a store's shards has several, and copies the next one ahead.

    Shards that executors hand back are sent again, see `jobs.predict.late_executors`.
    """
    distributed = distribute(spark, config.release_dir, release, config.computing.converted)

    # With speculation, a second attempt does not mean that the first one crashed.
    quarantine_attempt = 2 if spark.conf.get("spark.speculation", "false") == "true" else 1

    hold = late_executors.HOLD_SECONDS

    def task(part: Iterable[tuple[str, int]]) -> Iterator[ShardReport | HandedBack]:
        images = {place(name): count for name, count in part}
        if may_compute(config):
            yield from predict_in_turn(images, config, release, distributed, quarantine_attempt=quarantine_attempt)
        else:
            yield handed_back(images, hold_seconds=hold)

    def send(left: Sequence[Selected]) -> list[ShardReport | HandedBack]:
        # The keys of selected images are not sent: a task reads them from the selection file of its shard.
        counts = [(uri(chosen.shard), chosen.images) for chosen in left]
        tasks = tasks_for([chosen.shard for chosen in left], tasks_at_once(spark))
        spark.sparkContext.setJobDescription(f"predict {len(counts)} shards of run {config.run_id}")
        return spark.sparkContext.parallelize(counts, tasks).mapPartitions(task).collect()

    def any_able() -> bool:
        found = precision.processors(spark, cluster=is_cluster(str(spark.sparkContext.master)))
        return any(config.computing.plan.allows(each.name, bfloat16=each.bfloat16) for each in found)

    return in_rounds(send, todo, run_id=config.run_id, any_able=any_able)


def predict_in_turn(
    images: Mapping[Place, int],
    config: PredictConfig,
    release: Release,
    distributed: Release | None,
    *,
    quarantine_attempt: int,
) -> Iterator[ShardReport]:
    """Predict the shards of one Spark task, one after the other.

    Args:
        images: Maps each shard of this task to its number of selected images.
        config: Configuration of the job.
        release: Release that predicts.
        distributed: Release that Spark sent to the executors; None reads `config.release_dir`.
        quarantine_attempt: Number of the first attempt that assumes that an image crashed the attempt before. It
            predicts its first unfinished shard in quarantine, as that shard may contain the image. Later attempts
            predict all unfinished shards in quarantine, so that deadly images in several shards do not use up the
            attempts.

    Yields:
        The report of each shard.
    """
    attempt, suspected = task_attempt(), False
    with ExitStack() as helpers:
        quarantine: Quarantine | None = None
        gate: ImageGate | None = None
        for shard, path, copying_seconds in on_disk_in_turn(list(images)):
            with clean_worker():
                chosen = of_shard(config, shard, images[shard])
                # A worker may crash after it wrote a prediction file and before Spark received the report.
                earlier = finished_report(config, chosen, release.release_id) if attempt or len(images) > 1 else None
                if earlier is not None:
                    yield earlier
                elif attempt < quarantine_attempt or (attempt == quarantine_attempt and suspected):
                    helpers.close()
                    networks = loaded_networks(config, path, distributed)
                    fitted = networks.config_for_device(config)
                    on = replace(networks.compute_report(), copying_seconds=copying_seconds)
                    yield predict_shard(
                        chosen,
                        networks.inference,
                        networks.release,
                        fitted,
                        on=on,
                        path=path,
                        readers=networks.readers,
                        gate=networks.gate,
                        trial=networks.trial,
                    )
                else:
                    unload_networks(may_end=attempt == quarantine_attempt)
                    if quarantine is None:
                        directory = prepare_process(config, distributed)
                        setup = HelperSetup(config, directory, release, cores=task_cores())
                        quarantine = helpers.enter_context(Quarantine(setup))
                        gate = load_gate(release, setup.directory)
                    suspected = True
                    yield predict_in_quarantine(
                        chosen, quarantine, release, config, path, copying_seconds=copying_seconds, gate=gate
                    )


def predict_shard(
    shard: Place | Selected,
    predictor: Predictor | Inference,
    release: Release,
    config: PredictConfig,
    *,
    on: ComputeReport = ComputeReport(),  # noqa: B008 - frozen
    path: Path | None = None,
    readers: ReaderProcesses | None = None,
    gate: ImageGate | None = None,
    trial: Trial | None = None,
) -> ShardReport:
    """Read a shard, predict it and write its prediction file; works with and without Spark.

    Args:
        shard: File of the dataset; or its selected images, if the caller has read them.
        predictor: Predictor of squares of `release.decode_px` pixels; an `Inference` keeps the batch size that fits for
            the next shard.
        release: Release whose categories and thresholds apply.
        config: Configuration with batch size, decoding threads and the run's directory.
        on: Device, precision and engine, for the report.
        path: Copy of the shard on this machine; None if the shard itself is on this machine.
        readers: Processes that read and decode; None reads in threads of this process.
        gate: Decides which images the release knows, see `jobs.predict.rows.rows_of`.
        trial: Compares bfloat16 on some images of the shard; None compares nothing.

    Returns:
        The report of the shard.

    Raises:
        RunFailed: If the reader returned fewer or more images than the shard contains; no file is written then. Run
            the same again.
    """
    from jobs.dataset.petastorm_adapter import ReaderClock
    from jobs.dataset.reading import read_shard

    inference = predictor if isinstance(predictor, Inference) else Inference(predictor)
    chosen = shard if isinstance(shard, Selected) else of_shard(config, shard)
    reading, clock, local = ReaderClock(), BusyClock(), path or Path(str(chosen.shard))
    what: dict[str, Any] = {"batch_size": config.batch_size, "clock": reading}
    what |= {"wanted": chosen.keys, "original": chosen.shard}
    if readers and readers.alive:
        batches = readers.read_shard(local, **what)
    else:
        batches = read_shard(local, side_px=inference.decode_px, workers=config.decode_workers, **what)
    with closing(batches):
        answered = answers(batches, inference, in_flight=on.in_flight, clock=clock, gate=gate)
        rows = list[dict[str, Any]]()
        compared = trial.of_shard(chosen.images, release, gate) if trial else None
        for batch, answer in answered:
            found = list(rows_of(batch, answer, release))
            rows += found
            if compared:
                compared.add(batch, found)
    stages = {
        "reading_seconds": on.copying_seconds + reading.reading_seconds,
        "decoding_seconds": reading.decoding_seconds,
        "waiting_seconds": on.copying_seconds + clock.idle_seconds,
        "predicting_seconds": clock.busy_seconds,
        "loading_seconds": on.loading_seconds,
    }
    counts = astuple(compared.finish()) if compared else ()
    fitted = replace(config, batch_size=min(config.batch_size, inference.limit or config.batch_size))
    # A batch size that did not fit in memory must not be remembered.
    on = replace(on, tried=on.tried and not inference.limit, compared=counts)
    predicted = Predicted(rows, chosen, local, prediction_file(config, chosen.shard), stages)
    return put(predicted, release, fitted, on)


def predict_in_quarantine(
    chosen: Selected,
    quarantine: Quarantine,
    release: Release,
    config: PredictConfig,
    path: Path,
    *,
    copying_seconds: float = 0.0,
    gate: ImageGate | None = None,
) -> ShardReport:
    """Predict a shard like `predict_shard`, but in helper processes that the shard's images may crash.

    Args:
        chosen: Selected images of a shard.
        quarantine: Runs the helper processes.
        release: Release whose categories and thresholds apply.
        config: Configuration with batch size and the run's directory.
        path: The shard, or its copy, on this machine.
        copying_seconds: Time that the task waited for the copy.
        gate: Decides which images the release knows, see `jobs.predict.rows.rows_of`.

    Returns:
        The report of the shard.

    Raises:
        RunFailed: If the helpers crash for another reason than the images; the message names the remedy.
    """
    answered = quarantine.answers(chosen.shard, path, chosen.keys)
    rows = [row for batch, answer in answered for row in rows_of(batch, answer.judged(gate), release)]
    stages = {
        "reading_seconds": copying_seconds,
        "decoding_seconds": quarantine.decoding_seconds,
        "waiting_seconds": copying_seconds + quarantine.decoding_seconds,
        "predicting_seconds": quarantine.predicting_seconds,
        "loading_seconds": quarantine.loading_seconds,
    }
    ready = quarantine.ready
    on = ComputeReport(ready.device, ready.precision, ready.engine, attempt=task_attempt())
    target = prediction_file(config, chosen.shard)
    predicted = Predicted(rows, chosen, path, target, stages, in_quarantine=True)
    return put(predicted, release, replace(config, batch_size=0), on)

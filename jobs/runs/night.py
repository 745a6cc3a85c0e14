"""A nightly run and its steps, in order: ingest, predict, publish.

Opens a Spark session for each step, measures its time and combines the reports of the steps into one summary.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from jobs.catalog.description import Description
from jobs.dataset.ingest_marks import ingest_marked
from jobs.dataset.label_map import LabelMap, keep_label_map
from jobs.dataset.partitions import Partition, partition
from jobs.errors import RunRefused
from jobs.ingest import job as ingest
from jobs.ingest import reports as ingest_reports
from jobs.ingest.config import IngestConfig
from jobs.predict import job as predict
from jobs.predict.config import DEFAULT_BATCH, Computing, PredictConfig
from jobs.runs import publish
from jobs.runs.candidates import offer_candidates
from jobs.runs.claim import Claim, recorded
from jobs.runs.config import RunConfig, RunContext
from jobs.runs.gates import NOTE, decide_gates, noted_gates, printed
from jobs.runs.image_changes import published_note, unpublished_nights
from jobs.runs.inputs import RunInputs, night_inputs
from jobs.spark.config import SparkConfig
from jobs.spark.progress import spark_progress
from jobs.spark.session import cores_of_a_task, master_of, spark_session
from jobs.storage.faults import masked
from models.serving.engines import computed_in_words
from sql.store import ProductDatabase

log = logging.getLogger(__name__)


def ingest_step(spark_config: SparkConfig, config: IngestConfig) -> tuple[dict[str, Any], Partition]:
    """Run the ingest step of a night in a Spark session of its own; keep its report and its label map in the home.

    Returns:
        The report, and the partition that the ingest has written.

    Raises:
        RunRefused: If a full catalog lacks too many of its products; the home keeps the reason.
    """
    started = datetime.now(UTC)
    session = spark_session(spark_config, name="shelfwise ingest")
    with ingest_marked(config.places), session as spark, spark_progress(spark, "ingest"):
        try:
            done = ingest.run(spark, config)
        except RunRefused as refusal:
            ingest_reports.keep_refusal(config.places, config.ingest_date, str(refusal))
            raise
    if config.labels:
        keep_label_map(config.places, config.labels)
    ingested = partition(config.places, config.ingest_date)
    log.info(
        "ingest: %s in the catalog %r, %s unchanged, %s stored, %s rejected, %s named again, %s left with %s products, "
        "%.1f s",
        done.catalog_rows,
        done.catalog_name,
        done.images_unchanged,
        done.images_stored,
        done.images_rejected,
        done.images_named,
        done.images_left,
        done.products_left,
        done.seconds,
    )
    report = {
        **asdict(done),
        "started_at_utc": started.isoformat(),
        "partition_images": ingested.images,
        "partition_rejected": len(ingested.rejections),
        "rejected_by_reason": ingested.rejected_by_reason(),
    }
    ingest_reports.keep_report(config.places, config.ingest_date, report, catalog=masked(config.catalog))
    return report, ingested


def predict_step(context: RunContext, run: RunConfig, inputs: RunInputs) -> dict[str, Any]:
    """Run the predict step of a night or another run in a Spark session of its own, and return its report."""
    spark_config = context.spark
    cores = cores_of_a_task(master_of(spark_config), spark_config.executor_cores)
    config = predict_config(context, run)

    @contextmanager
    def open_session() -> Iterator[Any]:
        session = spark_session(spark_config, name="shelfwise predict", task_cpus=cores, gpu=spark_config.gpu)
        with session as spark, spark_progress(spark, "predict"):
            yield spark

    done = predict.run(open_session, config, context.release, known=inputs.selected)
    document = done.document()
    log.info(
        "predict: %s shards, %s done before, %s images, %s images/s %s (waited %.1f s, predicted %.1f s, wrote %.1f s)",
        done.shards,
        done.shards_skipped,
        done.images,
        done.images_per_second,
        computed_in_words(document) or "on no device",
        document["waiting_seconds"],
        document["predicting_seconds"],
        document["writing_seconds"],
    )
    log.info("predict: %s", document["slowest_stage"])
    return document


def publish_step(
    context: RunContext, database: ProductDatabase, run: RunConfig, claim: Claim, inputs: RunInputs
) -> dict[str, Any]:
    """Run the publish step of a night or another run, and return its report with the note of the run's gates."""
    started = time.perf_counter()
    release = context.release
    earlier = unpublished_nights(database, context.places, run)
    files = publish.collect(predict_config(context, run), release, inputs, earlier=list(earlier))
    gates = decide_gates(database, run, release, files.reports)
    counts = publish.run(
        database,
        files,
        release,
        run,
        gates=gates,
        started_at_utc=claim.started_at_utc,
        seconds={name: step["seconds"] for name, step in inputs.steps.items()},
        summary={**inputs.steps, **published_note(run, inputs, earlier)},
        picture_groups=context.shared_picture_groups,
        fill_products=context.products.own,
        token=claim.token,
    )
    log.info(
        "publish: %s images of %s products, %s products changed, %s left, %s returned, %s rejections",
        counts.images,
        counts.products,
        counts.products_changed,
        counts.products_left,
        counts.products_returned,
        counts.rejections,
    )
    offer_candidates(context, database, run.run_id)
    note = noted_gates(database, run.run_id) or gates.note()  # publish has added the shared pictures
    return {**asdict(counts), "seconds": round(time.perf_counter() - started, 3), NOTE: printed(note)}


def nightly(
    context: RunContext,
    database: ProductDatabase,
    catalog: str,
    run: RunConfig,
    *,
    labels: LabelMap | None = None,
    description: Description | None = None,
    catalog_name: str = "",
    partial: bool = False,
    max_left: float = 0.2,
) -> dict[str, Any]:
    """Run all steps of a night (ingest, predict, publish) under one claim, and return the summary of the run.

    Args:
        context: Places, Spark settings and release.
        database: Migrated database.
        catalog: Path of a directory or a file, or `products`.
        run: The night; its only date is the ingest date.
        labels: The shop's label map, which is kept in the home; None keeps the one that is there.
        description: What the command line says about the catalog.
        catalog_name: Name of the catalog; an empty text is derived from `catalog`.
        partial: Whether the catalog names changes only; then nothing leaves.
        max_left: Largest share of the catalog's products that may leave in one night, in [0, 1].

    Returns:
        The summary of the run.

    Raises:
        UsageError: If the catalog cannot be used; then nothing was written.
        RunRefused: If too many products left, then nothing was written; or if too many images were rejected, then
            nothing was published.
    """
    with recorded(database, run, steps=("ingest", "predict")) as claim:
        config = IngestConfig(
            catalog,
            run.run_date,
            context.places,
            products=context.products,
            http=context.http,
            max_megapixels=context.max_megapixels,
            labels=labels,
            description=description or Description(),
            catalog_name=catalog_name,
            partial=partial,
            max_left=max_left,
        )
        report, ingested = ingest_step(context.spark, config)
        changes = ("images_stored", "images_rejected", "images_named", "images_left")
        claim.record("ingest", report, changed=any(report[name] for name in changes))
        publish.check_rejected(ingested, run)
        return predict_and_publish(context, database, run, claim, night_inputs(ingested, report))


def predict_night(context: RunContext, database: ProductDatabase, run: RunConfig) -> dict[str, Any]:
    """Run only the predict step of a night, and return a summary; another driver can publish the night."""
    with _ingested_night(context, database, run) as (claim, inputs):
        step = _predicted(context, run, claim, inputs)
        claim.end()
        return {"run_id": run.run_id, "release_id": context.release.release_id, **step}


def publish_night(context: RunContext, database: ProductDatabase, run: RunConfig) -> dict[str, Any]:
    """Run only the publish step of a night, and return a summary."""
    with _ingested_night(context, database, run, steps=()) as (claim, inputs):
        step = publish_step(context, database, run, claim, inputs)
        return {"run_id": run.run_id, "release_id": context.release.release_id, **step}


def finish_night(context: RunContext, database: ProductDatabase, run: RunConfig) -> dict[str, Any]:
    """Run the steps of a night after its ingest (predict, publish), and return the summary of the run."""
    with _ingested_night(context, database, run) as (claim, inputs):
        return predict_and_publish(context, database, run, claim, inputs)


@contextmanager
def _ingested_night(
    context: RunContext, database: ProductDatabase, run: RunConfig, *, steps: Sequence[str] = ("predict",)
) -> Iterator[tuple[Claim, RunInputs]]:
    """Claim a night that an earlier command ingested, and read what that command left in the home.

    The report and the start time of the ingest are recorded for the run.
    """
    report = ingest_reports.last_report(context.places, run.run_date)
    started = datetime.fromisoformat(report["started_at_utc"]) if report else None
    with recorded(database, run, steps=steps, started_at_utc=started) as claim:
        if report:
            claim.record("ingest", report, changed=False)
        ingested = partition(context.places, run.run_date)
        publish.check_rejected(ingested, run)
        yield claim, night_inputs(ingested, report)


def predict_and_publish(
    context: RunContext, database: ProductDatabase, run: RunConfig, claim: Claim, inputs: RunInputs
) -> dict[str, Any]:
    """Run the steps predict and publish of a claimed run, which nights and backfills share.

    Args:
        context: Places, Spark settings and release.
        database: Migrated database.
        run: The run.
        claim: Claim on the run.
        inputs: What the driver has read of the run.

    Returns:
        The summary of the run.
    """
    predicted = _predicted(context, run, claim, inputs)
    published = publish_step(context, database, run, claim, inputs)
    gates = published.pop(NOTE)
    return {
        "run_id": run.run_id,
        "kind": run.kind,
        "run_date": run.run_date.isoformat(),
        "release_id": context.release.release_id,
        "state": "published",
        **inputs.steps,
        "predict": predicted,
        "publish": published,
        NOTE: gates,
    }


def _predicted(context: RunContext, run: RunConfig, claim: Claim, inputs: RunInputs) -> dict[str, Any]:
    """Predict a claimed run, and write the report to its row."""
    step = predict_step(context, run, inputs)
    claim.record("predict", step, changed=step["shards"] > step["shards_skipped"])
    return step


def predict_config(context: RunContext, run: RunConfig) -> PredictConfig:
    """Return the predict configuration of a run; publish uses the same one to find the prediction files."""
    return PredictConfig(
        run_id=run.run_id,
        dates=run.dates,
        places=context.places,
        release_dir=context.release_dir.absolute(),
        batch_size=context.batch_size or DEFAULT_BATCH,
        computing=Computing(
            context.spark.gpu,
            context.precision,
            tune=context.batch_size is None,
            engine=context.engine,
            engines_dir=context.engines_dir,
        ),
        selects=run.selects,
        leaves_out=run.leaves_out,
    )

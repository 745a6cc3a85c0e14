"""A night, and its parts, in order: ingest, predict, publish; a backfill is the last two over older partitions.

This is where the jobs meet: it opens Spark for each, times them and turns what they report into one summary.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from jobs import ingest, predict, publish, selection
from jobs.claims import Claim, recorded
from jobs.config import (
    DEFAULT_BATCH,
    Computing,
    HttpLimits,
    IngestConfig,
    Places,
    PredictConfig,
    ProductSource,
    RunConfig,
    SparkConfig,
    UsageError,
)
from jobs.progress import spark_progress
from jobs.shards import ingest_date_of, partition_dates
from jobs.spark import cores_of_a_task, master_of, spark_session
from models.release import Release
from sql.selection import seconds_per_image
from sql.store import ProductDatabase

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workshop:
    """What every step needs.

    Attributes:
        places: Where state lives.
        spark: How Spark is started.
        release: The release that predicts, verified.
        release_dir: Its directory.
        products: The table that the catalog `products` means.
        batch_size: Images a call of the networks; None finds out on an accelerator.
        http: How images are fetched from web servers.
        precision: `auto`, `float32` or `mixed_float16`.
        release_name: What finds the release again when its directory is gone; empty is the directory.
    """

    places: Places
    spark: SparkConfig
    release: Release
    release_dir: Path
    products: ProductSource
    batch_size: int | None = None
    http: HttpLimits = field(default_factory=HttpLimits)
    precision: str = "auto"
    release_name: str = ""


def ingest_step(spark_config: SparkConfig, config: IngestConfig) -> dict[str, Any]:
    """Ingest a catalog and say what was done and what the date's partition now holds."""
    with spark_session(spark_config, name="shelfwise ingest") as spark, spark_progress(spark, "ingest"):
        done = ingest.run(spark, config)
    found = ingest.partition(config.places, config.ingest_date)
    log.info(
        "ingest: %s in the catalog, %s unchanged, %s stored, %s rejected, %.1f s",
        done.catalog_rows,
        done.images_unchanged,
        done.images_stored,
        done.images_rejected,
        done.seconds,
    )
    return {
        **asdict(done),
        "partition_images": found.images,
        "partition_rejected": len(found.rejections),
        "rejected_by_reason": found.rejected_by_reason(),
    }


def predict_step(workshop: Workshop, run: RunConfig) -> dict[str, Any]:
    """Predict a run's shards and say what was done."""
    spark_config = workshop.spark
    cores = cores_of_a_task(master_of(spark_config), spark_config.executor_cores)
    config = predict_config(workshop, run)

    @contextmanager
    def open_session() -> Iterator[Any]:
        session = spark_session(spark_config, name="shelfwise predict", task_cpus=cores, gpu=spark_config.gpu)
        with session as spark, spark_progress(spark, "predict"):
            yield spark

    done = predict.run(open_session, config, workshop.release)
    document = done.document()
    log.info(
        "predict: %s shards, %s done before, %s images, %s images/s (waited %.1f s, predicted %.1f s, wrote %.1f s)",
        done.shards,
        done.shards_skipped,
        done.images,
        done.images_per_second,
        document["waiting_seconds"],
        document["predicting_seconds"],
        document["writing_seconds"],
    )
    log.info("predict: %s", document["slowest_stage"])
    return document


def publish_step(
    workshop: Workshop,
    database: ProductDatabase,
    run: RunConfig,
    claim: Claim,
    *,
    steps: Mapping[str, Any],
) -> dict[str, Any]:
    """Publish a run and say what was written."""
    started = time.perf_counter()
    release = workshop.release
    files = publish.collect(predict_config(workshop, run), release, with_rejections=run.kind == "nightly")
    seconds = {name: step["seconds"] for name, step in steps.items() if "seconds" in step}
    counts = publish.run(
        database,
        files,
        release,
        run,
        started_at_utc=claim.started_at_utc,
        summary={"seconds": seconds, "call": list(run.call), **steps},
        fill_products=workshop.products.own,
        token=claim.token,
    )
    log.info(
        "publish: %s images of %s products, %s products changed, %s rejections",
        counts.images,
        counts.products,
        counts.products_changed,
        counts.rejections,
    )
    return {**asdict(counts), "seconds": round(time.perf_counter() - started, 3)}


def nightly(workshop: Workshop, database: ProductDatabase, catalog: str, run: RunConfig) -> dict[str, Any]:
    """Ingest, predict and publish one night.

    Args:
        workshop: Places, Spark and release.
        database: Migrated.
        catalog: A directory, a file, or `products`.
        run: The night; its one date is the ingest date.

    Returns:
        The run's summary.

    Raises:
        UsageError: If the catalog cannot be used; nothing was written.
        RunFailed: If too many images were rejected; nothing was published.
    """
    with recorded(database, run) as claim:
        config = IngestConfig(catalog, run.run_date, workshop.places, products=workshop.products, http=workshop.http)
        ingested = ingest_step(workshop.spark, config)
        steps: dict[str, Any] = {"ingest": ingested}
        publish.check_rejected(workshop.places, run)
        return _predict_and_publish(workshop, database, run, claim, steps=steps)


def backfill(workshop: Workshop, database: ProductDatabase, run: RunConfig) -> dict[str, Any]:
    """Predict and publish older partitions; no source image is read.

    Args:
        workshop: Places, Spark and release.
        database: Migrated.
        run: Its dates are those of the partitions.

    Returns:
        The run's summary.
    """
    config = predict_config(workshop, run)
    chosen = selection.choose(database, config, run, workshop.release.release_id)
    with recorded(database, run) as claim:
        if run.selects:
            selection.write(config, chosen)
        return _predict_and_publish(workshop, database, run, claim, steps={})


def _predict_and_publish(
    workshop: Workshop, database: ProductDatabase, run: RunConfig, claim: Claim, *, steps: dict[str, Any]
) -> dict[str, Any]:
    """Do what nights and backfills share; `steps` holds the reports of those before."""
    steps["predict"] = predict_step(workshop, run)
    steps["publish"] = publish_step(workshop, database, run, claim, steps=steps)
    return {
        "run_id": run.run_id,
        "kind": run.kind,
        "run_date": run.run_date.isoformat(),
        "release_id": workshop.release.release_id,
        "state": "published",
        **steps,
    }


def backfill_plan(workshop: Workshop, database: ProductDatabase | None, run: RunConfig) -> dict[str, Any]:
    """Say what a backfill would do, and do nothing.

    Args:
        workshop: Places and release.
        database: Migrated; None where nothing was ever published.
        run: What the backfill was asked for.

    Returns:
        Counts, in all and by ingest date, and how long predicting should take by the release's last runs:
        `estimated_seconds`, None if it has none. `release` is what finds the release on other machines too.
    """
    release_id = workshop.release.release_id
    config = predict_config(workshop, run)
    every = selection.choose(database, config, run, release_id)
    todo = [chosen for chosen in every if not predict.finished(config, chosen, release_id)]
    images_to_predict = sum(chosen.images for chosen in todo)
    each = seconds_per_image(database, release_id) if database else None
    by_date = Counter[str]()
    for chosen in every:
        by_date[ingest_date_of(chosen.shard).isoformat()] += chosen.images
    return {
        "run_id": run.run_id,
        "release_id": release_id,
        "release": workshop.release_name or str(workshop.release_dir),
        "dry_run": True,
        "dates": [day.isoformat() for day in run.dates],
        "shards": len(every),
        "shards_to_predict": len(todo),
        "images": sum(by_date.values()),
        "images_to_predict": images_to_predict,
        "images_by_date": dict(by_date),
        "estimated_seconds": None if each is None else round(each * images_to_predict, 1),
    }


def backfill_dates(places: Places, first: date, last: date) -> tuple[date, ...]:
    """Return the ingest dates that a backfill covers.

    Raises:
        UsageError: If the range is empty or holds no partition; says which dates there are.
    """
    if first > last:
        raise UsageError(f"--from {first} is after --to {last}; exchange them")
    found = partition_dates(places.images, first, last)
    if not found:
        there = partition_dates(places.images, date.min, date.max)
        known = f"there are {len(there)}, from {there[0]} to {there[-1]}" if there else "there is none yet"
        raise UsageError(f"no ingested images from {first} to {last}; {known}")
    return tuple(found)


def predict_config(workshop: Workshop, run: RunConfig) -> PredictConfig:
    """Return what predict and publish must agree on for a run."""
    return PredictConfig(
        run_id=run.run_id,
        dates=run.dates,
        places=workshop.places,
        release_dir=workshop.release_dir.absolute(),
        batch_size=workshop.batch_size or DEFAULT_BATCH,
        computing=Computing(workshop.spark.gpu, workshop.precision, tune=workshop.batch_size is None),
        selects=run.selects,
    )

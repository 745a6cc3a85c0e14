"""A dataset of several small shards, and how the tests of this folder start Spark on it."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

from jobs.dataset.schema import IMAGES
from jobs.dataset.shards import ShardWriter
from jobs.predict.config import Computing, PredictConfig
from jobs.predict.job import run
from jobs.predict.reports import PredictSummary
from jobs.spark.config import SparkConfig
from jobs.spark.session import cores_of_a_task, spark_session
from jobs.storage.places import Places
from models.release import Release, load_release
from tests.conftest import picture
from tests.dataset_rows import image_row

DAY = date(2026, 11, 1)


def write_shards(places: Places, *, shards: int, images: int) -> None:
    """Write so many shards of so many images each."""
    for shard in range(shards):
        writer = ShardWriter(places.partition(places.images, DAY), IMAGES, shard_bytes=10**9)
        for number in range(shard * images, (shard + 1) * images):
            writer.add(image_row(f"p{number:05d}", jpeg=picture(number)))
        writer.flush()


def spark_config(places: Places, master: str, *, wait_seconds: int = 120, **properties: str) -> SparkConfig:
    """Return how a session of these tests is started."""
    scratch = places.local_home / "scratch"
    return SparkConfig(
        master, "1g", scratch, shared_dir=places.local_home, wait_seconds=wait_seconds, properties=properties
    )


def all_executors(cores: int) -> dict[str, Any]:
    """Return properties with which Spark begins no task before executors with so many cores have registered.

    Args:
        cores: Cores of all workers of the cluster.
    """
    return {
        "spark.cores.max": str(cores),
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        "spark.scheduler.maxRegisteredResourcesWaitingTime": "100s",
    }


def predict_on(
    master: str, places: Places, release_dir: Path, *, run_id: str, release: Release | None = None, **properties: Any
) -> PredictSummary:
    """Predict the shards on a master."""
    computing = Computing(engines_dir=Path(os.environ["SHELFWISE_ENGINES_DIR"]))
    config = PredictConfig(run_id, (DAY,), places, release_dir, computing=computing)
    spark = spark_config(places, master, **properties)
    cores = cores_of_a_task(master)
    return run(lambda: spark_session(spark, name="test", task_cpus=cores), config, release or load_release(release_dir))

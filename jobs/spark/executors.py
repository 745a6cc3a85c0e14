"""Bringing the project's code to a cluster's executors, and seeing in a first task that they can work with it."""

from __future__ import annotations

import threading
import uuid
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import RunFailed
from jobs.spark.config import SparkConfig
from jobs.spark.probe import Sight, look_around

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_FOLDERS = ("jobs", "models", "sql")


def ship_code(spark: SparkSession, archive: Path) -> None:
    """Send the code that the driver runs: it and the executors must not differ.

    Also where spark-submit was given a wheel: PySpark takes a `.whl` along, but puts it on no executor's path.

    Args:
        spark: A session on a cluster.
        archive: A file to be made for it, which is needed as long as the session lives.
    """
    root = Path(__file__).parents[2]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for folder in _FOLDERS:
            for path in sorted((root / folder).rglob("*")):
                # Releases travel by themselves; sqlite files, caches and the like are not code.
                if path.suffix in (".py", ".sql", ".html", ".properties") and "__pycache__" not in path.parts:
                    file.write(path, path.relative_to(root))
    spark.sparkContext.addPyFile(archive.as_uri())  # of a path, what follows a # would be the name to give it


def first_task(spark: SparkSession, config: SparkConfig, *, gpu: bool) -> Sight:
    """Run a task that does nothing but look around where it is.

    Args:
        spark: A session on a cluster.
        config: How long to wait for an executor, and what it must see.
        gpu: Whether a GPU was demanded, for the message.

    Returns:
        What it saw.

    Raises:
        RunFailed: If no executor took it in time, or if that one lacks something; says what.
    """
    context = spark.sparkContext
    marker = config.shared_dir / f".seen-{uuid.uuid4().hex}" if config.shared_dir else None
    shown = str(marker) if marker else None
    group = f"shelfwise-first-{uuid.uuid4().hex}"
    expired = threading.Event()

    def give_up() -> None:
        expired.set()
        context.cancelJobGroup(group)

    timer = threading.Timer(config.wait_seconds, give_up)
    timer.daemon = True
    try:
        if marker:
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
        context.setJobGroup(group, "see whether an executor is ready")
        timer.start()
        [found] = context.parallelize([shown], 1).map(look_around).collect()
    except Exception as error:
        if expired.is_set():
            wanted = f"{spark.conf.get('spark.executor.cores', '1')} free cores{' and a GPU' if gpu else ''}"
            raise RunFailed(
                f"no executor of {context.master} took a task within {config.wait_seconds} s; see that a worker is "
                f"alive with {wanted} and enough memory"
            ) from error
        raise
    finally:
        timer.cancel()
        if marker:
            marker.unlink(missing_ok=True)
        context.setLocalProperty("spark.jobGroup.id", None)  # type: ignore[arg-type]
        context.setLocalProperty("spark.job.description", None)  # type: ignore[arg-type]
    return judge(found, shown)


def judge(sight: Sight, marker: str | None) -> Sight:
    """Return what an executor saw, unless something is missing there.

    Args:
        sight: From `look_around`.
        marker: The file that it was told to look for.

    Raises:
        RunFailed: If packages are missing, or what the driver writes is not seen.
    """
    if sight.missing:
        raise RunFailed(
            f"the Python of an executor on {sight.host} lacks {', '.join(sight.missing)}; start executors from the "
            "image or environment of jobs/cluster"
        )
    if marker and not sight.sees_marker:
        raise RunFailed(
            f"an executor on {sight.host} does not see {Path(marker).parent}; put SHELFWISE_HOME where all machines "
            "see it"
        )
    return sight

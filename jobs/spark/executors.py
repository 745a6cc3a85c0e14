"""Send the project's code to a cluster's executors, and check in a first task that an executor can run it."""

from __future__ import annotations

import threading
import uuid
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import RunFailed
from jobs.spark.config import SparkConfig
from jobs.spark.probe import Inspection, inspect_executor

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_FOLDERS = ("jobs", "models", "sql")


def ship_code(spark: SparkSession, archive: Path) -> None:
    """Send the driver's code to the executors, so that both run the same version.

    This is needed even if spark-submit was given a wheel: PySpark distributes a `.whl` file, but does not add it to an
    executor's Python path.

    Args:
        spark: Spark session on a cluster.
        archive: ZIP file to write; it must exist as long as the session.
    """
    root = Path(__file__).parents[2]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for folder in _FOLDERS:
            for path in sorted((root / folder).rglob("*")):
                # Releases are sent separately; SQLite files, caches and other files are not code.
                if path.suffix in (".py", ".sql", ".html", ".properties") and "__pycache__" not in path.parts:
                    file.write(path, path.relative_to(root))
    spark.sparkContext.addPyFile(
        archive.as_uri()
    )  # in a plain path, Spark would take text after a # as the file's new name


def first_task(spark: SparkSession, config: SparkConfig, *, gpu: bool) -> Inspection:
    """Run a first task on a cluster that inspects its executor, and check the result.

    Args:
        spark: Spark session on a cluster.
        config: Longest wait for an executor, and the directory that the executor must access.
        gpu: Whether executors were requested with a GPU; for the error message.

    Returns:
        Inspection of the executor that ran the task.

    Raises:
        RunFailed: If no executor started the task in time, or the executor lacks packages or access to the shared
            directory. The message names what is missing.
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
        [inspection] = context.parallelize([shown], 1).map(inspect_executor).collect()
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
    return check_executor(inspection, shown)


def check_executor(inspection: Inspection, marker: str | None) -> Inspection:
    """Raise RunFailed unless the inspected executor has all packages and access to the shared directory.

    Args:
        inspection: Result of `inspect_executor`.
        marker: Path of the file that the executor looked for; None if it looked for none.

    Returns:
        The inspection, unchanged.

    Raises:
        RunFailed: If packages are missing, or the executor cannot access the files that the driver writes.
    """
    if inspection.missing:
        raise RunFailed(
            f"the Python of an executor on {inspection.host} lacks {', '.join(inspection.missing)}; start executors "
            "from the image or environment of jobs/cluster"
        )
    if marker and not inspection.sees_marker:
        raise RunFailed(
            f"an executor on {inspection.host} does not see {Path(marker).parent}; put SHELFWISE_HOME where all "
            "machines see it"
        )
    return inspection

"""Send the project's code to a cluster's executors, and check in a first task on each that it can run the code."""

from __future__ import annotations

import logging
import threading
import time
import uuid
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import RunFailed
from jobs.spark.config import SparkConfig
from jobs.spark.faults import unusable_python
from jobs.spark.probe import Inspection, inspect_executor
from jobs.spark.versions import check_versions

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

_FOLDERS = ("jobs", "models", "sql")
_STATUS_SECONDS = 5.0
"""Longest wait until Spark's record of tasks, which a thread keeps, has the end of a job."""
_MOST_ATTEMPTS = 100_000


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


def first_task(spark: SparkSession, config: SparkConfig, *, gpu: bool) -> None:
    """Wait until an executor of a cluster has run a task.

    Args:
        spark: Spark session on a cluster.
        config: Longest wait for an executor.
        gpu: Whether executors were requested with a GPU; for the error message.

    Raises:
        RunFailed: If no executor started the task in time, or its Python cannot begin one.
    """
    context = spark.sparkContext
    group = f"shelfwise-first-{uuid.uuid4().hex}"
    expired = threading.Event()

    def give_up() -> None:
        expired.set()
        context.cancelJobGroup(group)

    timer = threading.Timer(config.wait_seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        _inspections(context, None, 1, group=group, description="see whether an executor is ready")
    except Exception as error:
        if expired.is_set() and not isinstance(error, RunFailed):
            wanted = f"{spark.conf.get('spark.executor.cores', '1')} free cores{' and a GPU' if gpu else ''}"
            raise RunFailed(
                f"no executor of {context.master} took a task within {config.wait_seconds} s; see that a worker is "
                f"alive with {wanted} and enough memory, and that its Spark is {context.version} like the driver's"
            ) from error
        raise
    finally:
        timer.cancel()


def registered(context: SparkContext) -> int:
    """Return how many executors of a cluster have registered so far, at least 1."""
    # PySpark has no function for this. Java also counts the driver.
    return max(1, int(context._jsc.sc().getExecutorMemoryStatus().size()) - 1)


def check_executors(spark: SparkSession, config: SparkConfig) -> None:
    """Inspect the executors that have registered so far, and compare them with the driver.

    Spark starts at most one task on each executor before it starts a second one anywhere, so as many tasks as there
    are executors reach all of them if all are idle, as they are before a step's work. Executors that start later are
    not inspected.

    Args:
        spark: Spark session on a cluster whose executors are idle.
        config: Directory that executors must access.

    Raises:
        RunFailed: If an executor lacks packages or access to the shared directory, or has other versions than the
            driver with which its tasks cannot run. The message names what is missing or different.
    """
    context = spark.sparkContext
    executors = registered(context)
    marker = config.shared_dir / f".seen-{uuid.uuid4().hex}" if config.shared_dir else None
    shown = str(marker) if marker else None
    try:
        if marker:
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
        group = f"shelfwise-compare-{uuid.uuid4().hex}"
        description = "compare the executors with the driver"
        inspections = _inspections(context, shown, executors, group=group, description=description)
    finally:
        if marker:
            marker.unlink(missing_ok=True)
    for inspection in inspections:
        check_executor(inspection, shown)
    check_versions(inspections, inspect_executor(None))


def _inspections(
    context: SparkContext, marker: str | None, tasks: int, *, group: str, description: str
) -> Sequence[Inspection]:
    """Run so many tasks that each inspect their executor.

    Raises:
        RunFailed: If the Python of an executor could not begin its task, even if Spark repeated that task elsewhere.
    """
    failure: Exception | None = None
    inspections: Sequence[Inspection] = ()
    context.setJobGroup(group, description)
    try:
        inspections = context.parallelize([marker] * tasks, tasks).map(inspect_executor).collect()
    except Exception as error:
        failure = error
    finally:
        context.setLocalProperty("spark.jobGroup.id", None)  # type: ignore[arg-type]
        context.setLocalProperty("spark.job.description", None)  # type: ignore[arg-type]
    for host, message in _failed_attempts(context, group):
        found = unusable_python(message, host=host, spark=context.version)
        if found:
            log.debug("a task failed on %s: %s", host, message)
            raise RunFailed(found) from failure
    if failure:
        raise failure
    return inspections


def _failed_attempts(context: SparkContext, group: str) -> list[tuple[str, str]]:
    """Return the host and the error of each failed attempt of a job's tasks.

    An error that reaches the driver does not name its host, and a task that failed on one executor may have succeeded
    on another one. PySpark has no function for this, so Java's record of the tasks is read.

    Args:
        context: Spark context.
        group: Group of the job, which has ended.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    deadline = time.monotonic() + _STATUS_SECONDS
    with suppress(Py4JError, PySparkException):  # the session is lost, or this is a Spark without such a record
        tracker, store = context.statusTracker(), context._jsc.sc().statusStore()
        while time.monotonic() < deadline:
            jobs = [job for job in map(tracker.getJobInfo, tracker.getJobIdsForGroup(group)) if job]
            if jobs and all(job.status != "RUNNING" for job in jobs):  # what happened to their tasks is recorded first
                tables = [store.taskList(stage, 0, _MOST_ATTEMPTS) for job in jobs for stage in job.stageIds]
                attempts = [table.apply(number) for table in tables for number in range(table.size())]
                failed = [one for one in attempts if one.status() == "FAILED"]
                return [(one.host(), one.errorMessage().get()) for one in failed]
            time.sleep(0.05)
    return []


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
            "machines see it, and set SHELFWISE_SHARED=1 before it is made if executors run as another user"
        )
    return inspection

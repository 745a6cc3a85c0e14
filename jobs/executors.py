"""Bringing the project's code to a cluster's executors, and seeing in a first task that they can work with it."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import threading
import uuid
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.config import RunFailed, SparkConfig

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_FOLDERS = ("jobs", "models", "sql")
_NEEDED = ("cv2", "keras", "numpy", "pandas", "petastorm", "PIL", "pyarrow")


def ship_code(spark: SparkSession, config: SparkConfig) -> None:
    """Send this program's own code, unless spark-submit did with --py-files: driver and executors must not differ."""
    if spark.conf.get("spark.submit.pyFiles", "") or "":
        return
    archive = config.scratch_dir / f"shelfwise-{uuid.uuid4().hex[:12]}.zip"
    root = Path(__file__).parents[1]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for folder in _FOLDERS:
            for path in sorted((root / folder).rglob("*")):
                # Releases travel by themselves; sqlite files, caches and the like are not code.
                if path.suffix in (".py", ".sql", ".html", ".properties") and "__pycache__" not in path.parts:
                    file.write(path, path.relative_to(root))
    spark.sparkContext.addPyFile(str(archive))


def first_task(spark: SparkSession, config: SparkConfig, *, gpu: bool) -> dict[str, Any]:
    """Run a task that does nothing but look around where it is.

    Args:
        spark: A session on a cluster.
        config: How long to wait for an executor, and what it must see.
        gpu: Whether a GPU was demanded, for the message.

    Returns:
        What it found: host and Python's version.

    Raises:
        RunFailed: If no executor took it in time, or if that one lacks something; says what.
    """
    context = spark.sparkContext
    marker = config.shared_dir / f".seen-{uuid.uuid4().hex}" if config.shared_dir else None
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
        shown = str(marker) if marker else None
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
    return dict(found)


def look_around(marker: str | None) -> dict[str, str]:
    """Say where this is, in an executor.

    Args:
        marker: A file that the driver has just made under `SHELFWISE_HOME`.

    Raises:
        RunFailed: If packages are missing here, or what the driver writes is not seen.
    """
    host = socket.gethostname()
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise RunFailed(
            f"the Python of an executor on {host} lacks {', '.join(missing)}; start executors from the image or "
            "environment of jobs/cluster"
        )
    if marker and not os.path.exists(marker):  # noqa: PTH110 - a path of the driver's, as text
        raise RunFailed(
            f"an executor on {host} does not see {Path(marker).parent}; put SHELFWISE_HOME where all machines see it"
        )
    return {"host": host, "python": ".".join(map(str, sys.version_info[:3]))}

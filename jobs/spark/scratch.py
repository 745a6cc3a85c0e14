"""Directory of this process for all that Spark and its Java write to the disk and delete themselves, if they can.

A process that was killed leaves gigabytes of shuffle files, libraries and artifacts. Each process has a directory of
its own below the home's scratch directory, which the next process that starts Spark there removes.
"""

from __future__ import annotations

import atexit
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from models.temporary import temporary_directory

_KEPT = ExitStack()
_directories: dict[Path, Path] = {}
atexit.register(_KEPT.close)


def process_directory(parent: Path) -> Path:
    """Return this process's directory below a scratch directory; it exists until the process ends.

    Java is started once a process and keeps its directory for temporary files, so each session of a process uses the
    same one. The directories of killed processes are removed; those of living ones are locked.

    Args:
        parent: Scratch directory of the home for Spark.
    """
    directory = _directories.get(parent)
    if directory is None or not directory.is_dir():
        directory = _directories[parent] = _KEPT.enter_context(temporary_directory(parent))
    return directory


def directory_options(directory: Path) -> dict[str, str]:
    """Return the Spark properties with which Spark and the driver's Java write into a directory alone.

    Java itself ignores TMPDIR; without its own option it writes to /tmp.
    """
    return {
        "spark.local.dir": str(directory),
        "spark.sql.warehouse.dir": str(directory / "warehouse"),
        "spark.driver.defaultJavaOptions": shlex.quote(f"-Djava.io.tmpdir={directory}"),
    }


@contextmanager
def temporary_files_in(directory: Path) -> Iterator[None]:
    """Make Python's temporary files in a directory within a block: PySpark waits for Java with one."""
    before = tempfile.tempdir
    tempfile.tempdir = str(directory)
    try:
        yield
    finally:
        tempfile.tempdir = before


def move_temporary_files(directory: Path) -> None:
    """Make the Java that spark-submit started write its further temporary files into a directory.

    What spark-submit itself has made in /tmp before stays there if it is killed: an empty directory.
    """
    from pyspark import SparkContext

    SparkContext._ensure_initialized()  # connects to spark-submit's JVM, for which there is no public function
    java: Any = SparkContext._jvm
    java.java.lang.System.setProperty("java.io.tmpdir", str(directory))

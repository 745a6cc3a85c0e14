"""The archive of Spark's classes, which Java writes after the command that made it has ended."""

from __future__ import annotations

import os
import time
from pathlib import Path

from jobs.spark.class_archive import is_whole

_LONGEST_SECONDS = 120


def written_archive(directory: Path) -> Path:
    """Return the archive in a directory as soon as it is whole."""
    ends = time.monotonic() + _LONGEST_SECONDS
    while time.monotonic() < ends:
        for path in directory.glob("spark-*"):
            if is_whole(path):
                return path
        time.sleep(0.2)
    raise TimeoutError(f"no Java wrote an archive into {directory} in {_LONGEST_SECONDS} s")


def archive_option() -> str:
    """Return the option with which a Java of Spark's own uses the archive that a session of the tests has made.

    Empty as long as there is none. The class path of masters, workers and executors is that of drivers.
    """
    directory = os.environ.get("SHELFWISE_JAVA_DIR")
    archive = next(Path(directory).glob("spark-*.jsa"), None) if directory else None
    return f"-XX:SharedArchiveFile={archive}" if archive else ""

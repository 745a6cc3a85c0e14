"""Wait for the archive of Spark's classes, which Java writes after the command that made it has ended."""

from __future__ import annotations

import time
from pathlib import Path

_LONGEST_SECONDS = 120


def written_archive(directory: Path) -> Path:
    """Return the archive in a directory as soon as it is whole: Java writes its beginning last."""
    ends = time.monotonic() + _LONGEST_SECONDS
    while time.monotonic() < ends:
        for path in directory.glob("spark-*"):
            with path.open("rb") as file:
                if any(file.read(4)):
                    return path
        time.sleep(0.2)
    raise TimeoutError(f"no Java wrote an archive into {directory} in {_LONGEST_SECONDS} s")

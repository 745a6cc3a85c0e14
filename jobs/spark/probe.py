"""Inspect the executor on which a task runs.

Only the standard library is imported, because this must run where packages are missing.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from dataclasses import dataclass

NEEDED = (
    *("cv2", "fsspec", "keras", "numpy", "pandas", "petastorm", "PIL", "psycopg", "pyarrow", "sqlalchemy"),
    *("tenacity", "upath", "urllib3"),
)


@dataclass(frozen=True)
class Inspection:
    """What a task found on its executor: host, Python, missing packages, and whether it sees the driver's files.

    Attributes:
        host: Name of the executor's machine.
        python: Version of its Python: `3.11.4`.
        missing: Packages of `NEEDED` that are not installed.
        sees_marker: Whether the driver's file is accessible; True if there is no such file.
    """

    host: str
    python: str
    missing: tuple[str, ...]
    sees_marker: bool


def inspect_executor(marker: str | None) -> Inspection:
    """Find out, in a task, what its executor has: Python, packages, and access to the driver's files.

    Args:
        marker: Path of a file that the driver has just made in `SHELFWISE_HOME`; None if the home is in a store.
    """
    return Inspection(
        host=socket.gethostname(),
        python=".".join(map(str, sys.version_info[:3])),
        missing=tuple(name for name in NEEDED if importlib.util.find_spec(name) is None),
        sees_marker=marker is None or os.path.exists(marker),  # noqa: PTH110 - a path of the driver, sent as text
    )

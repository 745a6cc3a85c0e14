"""What an executor says of itself. Only the standard library is imported: it has to run where packages are missing."""

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
class Sight:
    """What there is where a task runs.

    Attributes:
        host: Its name.
        python: Python's version.
        missing: Packages of `NEEDED` that are not there.
        sees_marker: Whether the driver's file is there; True where there is none to see.
    """

    host: str
    python: str
    missing: tuple[str, ...]
    sees_marker: bool


def look_around(marker: str | None) -> Sight:
    """Say what there is here.

    Args:
        marker: A file that the driver has just made under `SHELFWISE_HOME`; None where that is in a store.
    """
    return Sight(
        host=socket.gethostname(),
        python=".".join(map(str, sys.version_info[:3])),
        missing=tuple(name for name in NEEDED if importlib.util.find_spec(name) is None),
        sees_marker=marker is None or os.path.exists(marker),  # noqa: PTH110 - a path of the driver's, as text
    )

"""Inspect the executor on which a task runs, or the driver.

Only the standard library is imported, because this must run where packages are missing.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

NEEDED = (
    *("cv2", "fsspec", "keras", "numpy", "pandas", "petastorm", "pi_heif", "PIL", "psycopg", "pyarrow"),
    *("sqlalchemy", "tenacity", "upath", "urllib3"),
)
COMPARED = (*NEEDED, "pyspark", "tensorflow", "openvino")
UNKNOWN = "unknown"
"""Version of a package that can be imported and whose metadata is missing."""

# Names of the distributions that install a module, if they are not the module's name. The first is the pinned one.
_DISTRIBUTIONS = {
    "cv2": (
        *("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
        "opencv",
    ),
    "pi_heif": ("pi-heif",),
    "PIL": ("pillow",),
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tensorflow-rocm"),
    "upath": ("universal-pathlib",),
}


@dataclass(frozen=True)
class Inspection:
    """What a task found on its executor: host, Python, packages, and whether it sees the driver's files.

    Attributes:
        host: Name of the executor's machine.
        python: Version of its Python: `3.11.4`.
        missing: Packages of `NEEDED` that are not installed.
        sees_marker: Whether the driver's file is accessible; True if there is no such file.
        versions: Version of each package of `COMPARED` that can be imported, by the name of its distribution.
    """

    host: str
    python: str
    missing: tuple[str, ...]
    sees_marker: bool
    versions: Mapping[str, str] = field(default_factory=dict)


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
        versions=installed_versions(),
    )


def installed_versions() -> dict[str, str]:
    """Return the version of each package of `COMPARED` that this process can import, by its distribution's name."""
    return {
        _distributions(module)[0]: _version(module)
        for module in COMPARED
        if importlib.util.find_spec(module) is not None
    }


def _distributions(module: str) -> tuple[str, ...]:
    return _DISTRIBUTIONS.get(module, (module,))


def _version(module: str) -> str:
    if module == "pyspark":
        # Executors import PySpark from Spark's own archive, which has no metadata; that of site-packages is not used.
        loaded = getattr(sys.modules.get(module), "__version__", None)
        if loaded:
            return str(loaded)
    for name in _distributions(module):
        try:
            # Without the file METADATA, the version is None in spite of its type.
            return importlib.metadata.version(name) or UNKNOWN
        except importlib.metadata.PackageNotFoundError:
            continue
    return UNKNOWN

"""What this program says of itself."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def program_version() -> str:
    """Return shelfwise's version; empty where it runs as mere files, as on a cluster's executors."""
    try:
        return version("shelfwise")
    except PackageNotFoundError:
        return ""

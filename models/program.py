"""Version of this program."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def program_version() -> str:
    """Return the version of shelfwise; an empty string if it is not installed, as on the executors of a cluster."""
    try:
        return version("shelfwise")
    except PackageNotFoundError:
        return ""

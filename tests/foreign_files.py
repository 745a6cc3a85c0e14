"""A project of somebody's own, whose files are called as libraries are, and note when Python takes them for these."""

from __future__ import annotations

from pathlib import Path

MODULES = ("models", "sql", "jobs", "numpy", "pyarrow", "pyspark", "random", "pickle", "ensurepip", "pip")
PACKAGES = ("models/__init__", "models/efficientnet", "models/release", "jobs/__init__", "sql/__init__", "cv2/__init__")
_NOTES = "foreign-files-that-ran"
_PROGRAM = """import sys
with open({notes!r}, "a") as file:
    file.write(f"{{__name__}} of {{sys.orig_argv}}\\n")
raise ImportError("this file is no library")
"""


def in_the_way(directory: Path, names: tuple[str, ...]) -> Path:
    """Write such files.

    Args:
        directory: The project's.
        names: Of the files, from the directory on and without `.py`.

    Returns:
        The directory.
    """
    program = _PROGRAM.format(notes=str(directory / _NOTES))
    for name in names:
        path = directory / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(program, encoding="utf-8")
    return directory


def ran(directory: Path) -> list[str]:
    """Return which of the files were run, and by which process."""
    notes = directory / _NOTES
    return notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []

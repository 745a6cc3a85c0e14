"""Make a foreign project whose files have the names of libraries, and record when Python imports them by mistake."""

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
    """Write files with the names of libraries, which record that they ran and then fail.

    Args:
        directory: Directory of the project.
        names: Paths of the files, relative to the directory and without `.py`.

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
    """Return the names of the files that ran, each with the command line of its process."""
    notes = directory / _NOTES
    return notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []

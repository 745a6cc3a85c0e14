"""The SELECT and the purpose of each view, read from the files of `sql/views/`."""

from __future__ import annotations

from pathlib import Path

VIEWS = Path(__file__).parents[1] / "views"


def view_definitions() -> dict[str, str]:
    """Return the SELECT of each database view by its name, comments included."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(VIEWS.glob("*.sql"))}


def view_comment(definition: str) -> str:
    """Return the purpose in the header comment of a database view."""
    return definition.splitlines()[0].removeprefix("-- Purpose:").strip()

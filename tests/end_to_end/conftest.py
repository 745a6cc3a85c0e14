"""Runs the command line in this process, so that the tests of this folder share one Java."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import main as cli


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)


Shelfwise = Callable[..., Done]


@pytest.fixture
def shelfwise(
    home: Path, tiny_release: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Shelfwise:
    """Call `shelfwise` with these arguments, with the tiny release unless a test sets another."""
    monkeypatch.setenv("SHELFWISE_RELEASE_DIR", str(tiny_release))
    monkeypatch.setenv("SHELFWISE_MASTER", "local[2]")
    monkeypatch.setenv("SHELFWISE_DRIVER_MEMORY", "1g")

    def call(*arguments: object) -> Done:
        monkeypatch.setattr("sys.argv", ["shelfwise", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as leave:
            code = int(leave.code or 0)
        out, err = capfd.readouterr()
        return Done(code, out, err)

    return call


def dump(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table of the embedded database."""
    with sqlite3.connect(home / "shelfwise.db") as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(connection.execute(f'SELECT * FROM "{name}"'), key=repr) for name in names}


def ask(home: Path, statement: str) -> list[tuple[Any, ...]]:
    """Ask the embedded database."""
    with sqlite3.connect(home / "shelfwise.db") as connection:
        return list(connection.execute(statement))

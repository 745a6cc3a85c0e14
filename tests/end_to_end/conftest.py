"""Runs the command line in this process, so that the tests of this folder share one Java."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
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


class Shelfwise:
    """Runs `shelfwise` commands in a home: in this process, or in one that dies at a step of a night."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capfd = monkeypatch, capfd

    def __call__(self, *arguments: object) -> Done:
        """Run a command and return what it left, whatever that is."""
        self._monkeypatch.setattr("sys.argv", ["shelfwise", *map(str, arguments)])
        self._capfd.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as leave:
            code = int(leave.code or 0)
        out, err = self._capfd.readouterr()
        return Done(code, out, err)

    def done(self, *arguments: object) -> Any:
        """Run a command that must succeed, and return its JSON document."""
        done = self(*arguments, "--json")
        assert done.code == 0, done.err
        return done.json

    def night(self, catalog: object, night: str, *options: object) -> Any:
        """Run a night that must succeed, and return its JSON document."""
        return self.done("nightly", "--catalog", catalog, "--run-date", night, *options)

    def at(self, home: Path) -> None:
        """Use another home from now on."""
        self._monkeypatch.setenv("SHELFWISE_HOME", str(home))

    def killed_at(self, step: str, *arguments: object, cwd: Path | None = None) -> None:
        """Run a command in a process that dies by SIGKILL when it comes to a step of `jobs.runs.night`."""
        program = _KILLED.format(step=step, arguments=[str(each) for each in arguments])
        done = subprocess.run([sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr


_KILLED = """
import os, signal, sys
from jobs.cli import main as cli
from jobs.runs import night as nightly
nightly.{step} = lambda *_args, **_options: os.kill(os.getpid(), signal.SIGKILL)
sys.argv = ["shelfwise", *{arguments!r}]
cli.main()
"""


@pytest.fixture
def shelfwise(
    home: Path, tiny_release: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Shelfwise:
    """Call `shelfwise` with these arguments, with the tiny release unless a test sets another."""
    monkeypatch.setenv("SHELFWISE_RELEASE_DIR", str(tiny_release))
    monkeypatch.setenv("SHELFWISE_MASTER", "local[2]")
    monkeypatch.setenv("SHELFWISE_DRIVER_MEMORY", "1g")
    return Shelfwise(monkeypatch, capfd)


def dump(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table of the embedded database."""
    with sqlite3.connect(home / "shelfwise.db") as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(connection.execute(f'SELECT * FROM "{name}"'), key=repr) for name in names}


def ask(home: Path, statement: str) -> list[tuple[Any, ...]]:
    """Ask the embedded database."""
    with sqlite3.connect(home / "shelfwise.db") as connection:
        return list(connection.execute(statement))

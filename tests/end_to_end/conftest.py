"""Runs the command line in this process, so that the tests of this folder share one Java.

The tests of most modules share a Spark session too (`one_spark`): a start of Spark, and of a Python worker that imports
Keras, takes longer than a small night. `test_nights.py` and some others start and end Spark in each step, as users do.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.cli import main as cli
from jobs.runs import night
from jobs.spark.config import SparkConfig
from jobs.spark.faults import spark_errors_explained
from jobs.spark.session import spark_session
from models import fashion_mnist
from tests.standalone import FEW_PARTITIONS

DOWNLOADS = Path(__file__).parents[2] / ".shelfwise" / "downloads"


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


class OneSpark:
    """Gives the steps of all runs one Spark session, and so one Python worker that has imported Keras already.

    Its tasks own both cores, as those of a predict step do."""

    def __init__(self, config: SparkConfig, session: SparkSession) -> None:
        self._config, self._session = config, session

    @contextmanager
    def __call__(self, config: SparkConfig, **options: Any) -> Iterator[SparkSession]:
        """Stand in for `spark_session`: the scratch directory is made and faults are explained as there."""
        own = replace(
            config,
            scratch_dir=self._config.scratch_dir,
            java_dir=self._config.java_dir,
            shared_dir=None,
            properties=config.properties or self._config.properties,
        )
        assert own == self._config, "these settings need a Spark of their own"
        config.scratch_dir.mkdir(parents=True, exist_ok=True)
        with spark_errors_explained():
            yield self._session


@contextmanager
def shared_spark(directory: Path) -> Iterator[None]:
    """Let all runs share one Spark session while the block runs; its scratch directory is below this directory."""
    java = Path(os.environ["SHELFWISE_JAVA_DIR"])
    config = SparkConfig("local[2]", "1g", directory, java_dir=java, properties=FEW_PARTITIONS)
    with pytest.MonkeyPatch.context() as patch, spark_session(config, name="shelfwise", task_cpus=2) as session:
        patch.setattr(night, "spark_session", OneSpark(config, session))
        yield


@pytest.fixture(scope="module")
def one_spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the runs of a module's tests share a Spark session, where Spark's start and end are not what is tested."""
    with shared_spark(tmp_path_factory.mktemp("spark")):
        yield


@pytest.fixture(scope="session")
def articles() -> fashion_mnist.Articles:
    """The official test articles, kept in the clone's own state between runs."""
    return fashion_mnist.load("t10k", cache_dir=DOWNLOADS)


def dump(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table of the embedded database."""
    with sqlite3.connect(home / "shelfwise.db") as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(connection.execute(f'SELECT * FROM "{name}"'), key=repr) for name in names}


def ask(home: Path, statement: str) -> list[tuple[Any, ...]]:
    """Ask the embedded database."""
    with sqlite3.connect(home / "shelfwise.db") as connection:
        return list(connection.execute(statement))

"""Run nights on a standalone cluster, kill or cut off a part of it, and count what is left afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
from upath import UPath

from jobs.storage.stores import place
from tests.event_log import predict_began, predict_tasks
from tests.object_store import ObjectStore
from tests.standalone import QUICK_SUBMIT, ROOT, Standalone

NIGHT = "2026-11-01"
RUN_ID = f"nightly-{NIGHT}"
AWAY_SECONDS = 60.0
EXECUTORS = 2
_NIGHT_SECONDS = 900
_DRIVER = """
import functools, sys
from jobs.cli import main as cli
from jobs.runs import night as nightly
nightly.IngestConfig = functools.partial(nightly.IngestConfig, shard_bytes={shard_bytes})
sys.argv = ["shelfwise", *{arguments!r}]
cli.main()
"""


@dataclass(frozen=True)
class Field:
    """Cluster, catalog and release with which the nights run.

    Attributes:
        cluster: Cluster with two workers.
        catalog: CSV file of the catalog.
        release: Directory of the release that predicts.
        images: Number of rows of the catalog, each with its own product.
        shard_bytes: So small that a night has many shards.
        store: For the nights that keep their dataset and predictions in one.
    """

    cluster: Standalone
    catalog: Path
    release: Path
    images: int
    shard_bytes: int
    store: ObjectStore | None = None


@dataclass(frozen=True)
class Home:
    """Storage of a night: all of it on the disk, or the database on the disk and the files in an object store."""

    disk: Path
    stored: UPath | None = None

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables for this storage."""
        return {"SHELFWISE_HOME": str(self.stored or self.disk), "SHELFWISE_LOCAL_DIR": str(self.disk)}

    def predicted_shards(self) -> int:
        """Return the number of prediction files."""
        places = "predictions/*/*.parquet"
        found = self.stored.fs.glob(f"{self.stored.path}/{places}") if self.stored else self.disk.glob(places)
        return len(list(found))

    def fetch(self) -> None:
        """Copy the files of the object store to the disk, where they are counted."""
        if self.stored:
            self.stored.fs.get(f"{self.stored.path}/", f"{self.disk}/", recursive=True)


@dataclass(frozen=True)
class Outcome:
    """Result of a night.

    Attributes:
        exit_codes: Exit codes of the drivers, in order; the last must be 0.
        seconds: Run time of all drivers together.
        killed_after_seconds: Time until a process was killed, or the store came back; of the last one if there are
            several faults; 0 if one of them met nothing, and without a fault.
        started: Number of tasks that began to predict a shard.
        shards: Of the night.
        images_redone: Predicted again at most: in shards that a task began and did not end, or that were finished.
        rows_lost: Images without an answer in the database.
        rows_double: Rows that are twice in the dataset, the prediction files or the database.
        answers: Category and confidence by product_id.
    """

    exit_codes: tuple[int, ...]
    seconds: float
    killed_after_seconds: float
    started: int
    shards: int
    images_redone: int
    rows_lost: int
    rows_double: int
    answers: dict[str, tuple[str, float]]


Killer = Callable[[Field, "subprocess.Popen[bytes]"], None]


@dataclass(frozen=True)
class Fault:
    """A fault during a night, and whether the files of the night are in an object store."""

    strike: Killer
    in_store: bool = False


def kill_executor(field: Field, driver: subprocess.Popen[bytes]) -> None:
    """Kill one executor's Java process; its Python processes end with it."""
    _one_of(field.cluster.executors, driver).kill()


def kill_python_worker(field: Field, driver: subprocess.Popen[bytes]) -> None:
    """Kill one Python process that runs tasks."""
    _one_of(field.cluster.python_workers, driver).kill()


def kill_driver(field: Field, driver: subprocess.Popen[bytes]) -> None:
    """Kill the driver's Python and Java processes, as if its machine had failed."""
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()  # so that the next fault meets the driver that is started after it


def silence_store(field: Field, driver: subprocess.Popen[bytes]) -> None:
    """Make the object store answer no requests for a minute."""
    if field.store is None or driver.poll() is not None:
        raise LookupError("the night was over, or has no store")
    with field.store.silent():
        time.sleep(AWAY_SECONDS)


FAULTS = {
    "an executor": Fault(kill_executor),
    "a Python worker": Fault(kill_python_worker),
    "the driver": Fault(kill_driver),
    "the object store for a minute": Fault(silence_store, in_store=True),
}
"""Faults by name; add a line for a new fault."""


def _one_of(find: Callable[[], list[psutil.Process]], driver: subprocess.Popen[bytes]) -> psutil.Process:
    """Wait until there are processes and return one of them; between two steps of a night there are none."""
    while driver.poll() is None:
        processes = find()
        if processes:
            return random.choice(processes)
        time.sleep(0.02)
    raise LookupError("the night was over before there was anything to kill")


def night(
    field: Field,
    disk: Path,
    *,
    faults: Sequence[tuple[Fault, int]] = (),
    in_store: bool = False,
    after_seconds: float = 0.0,
) -> Outcome:
    """Run a night, cause faults, and rerun the night until it is published.

    Args:
        field: Cluster, catalog and release.
        disk: Empty directory.
        faults: Faults to cause one after the other, each with the number of shards that are predicted before it, a
            moment that does not depend on the machine. Those behind the death of a driver meet the next one.
        in_store: Whether the files are in the object store even if no fault requires it.
        after_seconds: When the first fault comes at the earliest, counted from the driver's start.

    Returns:
        What it left.
    """
    home = _home(field, disk) if in_store or any(fault.in_store for fault, _ in faults) else Home(disk)
    events = disk.with_name(f"{disk.name}-events")
    events.mkdir(parents=True)
    started = time.monotonic()
    command = ["nightly", "--catalog", str(field.catalog), "--run-date", NIGHT]
    driver = _start(field, home, events, command)
    codes: list[int] = []
    before: tuple[set[Path], int] | None = None
    killed, left = 0.0, list(faults)
    try:
        time.sleep(after_seconds if faults else 0)
        while True:
            # When the night was over already, a fault met nothing.
            with suppress(LookupError, psutil.NoSuchProcess, ProcessLookupError):
                while left and driver.poll() is None:
                    killed = 0.0
                    fault, shards = left[0]
                    while driver.poll() is None and home.predicted_shards() < shards:
                        time.sleep(0.3 if home.stored else 0.02)  # each look is a request that the server answers
                    fault.strike(field, driver)
                    killed = time.monotonic() - started
                    left.pop(0)
            codes.append(driver.wait(_NIGHT_SECONDS))
            before = before or (set(events.iterdir()), home.predicted_shards())
            if codes[-1] == 0 or len(codes) == 4:
                break
            driver = _start(field, home, events, ["runs", "resume", RUN_ID] if _known(disk) else command)
    finally:
        if driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
    seconds = time.monotonic() - started
    home.fetch()
    return _outcome(field, disk, before, tuple(codes), seconds, killed if not left else 0.0)


def _home(field: Field, disk: Path) -> Home:
    assert field.store is not None, "this night needs an object store"
    bucket = f"nights-{uuid.uuid4().hex[:12]}"
    stored = place(f"s3://{bucket}/home")
    assert isinstance(stored, UPath)
    stored.fs.mkdir(bucket)
    return Home(disk, stored)


def _start(field: Field, home: Home, events: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    properties = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": events.as_uri(),
        "spark.eventLog.rolling.enabled": "false",
        "spark.eventLog.compress": "false",
        **{f"spark.executorEnv.{name}": value for name, value in os.environ.items() if name.startswith("AWS_")},
    }
    environment = {
        **os.environ,
        **home.settings,
        "PYTHONPATH": str(ROOT),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_SUBMIT_OPTS": QUICK_SUBMIT,
        "SHELFWISE_MASTER": field.cluster.url,
        "SHELFWISE_RELEASE_DIR": str(field.release),
        "SHELFWISE_DRIVER_MEMORY": "1g",
        "SHELFWISE_SPARK_CONF": json.dumps(properties),
    }
    program = _DRIVER.format(shard_bytes=field.shard_bytes, arguments=arguments)
    with home.disk.with_name(f"{home.disk.name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", program], env=environment, stdout=log, stderr=log, start_new_session=True
        )


def _known(home: Path) -> bool:
    """Return whether the run has a row in the database, so that it can be resumed."""
    with suppress(sqlite3.Error):
        return bool(_ask(home, "SELECT count(*) FROM runs")[0][0])
    return False


def _ask(home: Path, statement: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"file:{home / 'shelfwise.db'}?mode=ro", uri=True) as connection:
        return list(connection.execute(statement))


def _outcome(
    field: Field, home: Path, before: tuple[set[Path], int], codes: tuple[int, ...], seconds: float, killed: float
) -> Outcome:
    stored = _keys(home / "images")
    predicted = _keys(home / "predictions" / f"run_id={RUN_ID}")
    shards = len(list((home / "predictions" / f"run_id={RUN_ID}").glob("*.parquet")))
    answered = _ask(home, "SELECT product_id, image_sha256 FROM category_predictions")
    products = _ask(home, "SELECT product_id, category_id, confidence FROM product_categories")
    events = home.with_name(f"{home.name}-events")
    started, ended = (sum(counts) for counts in zip(*map(predict_tasks, events.iterdir()), strict=True))
    redone = started - ended
    if len(codes) > 1:
        # The killed driver's log is cut: what it had finished is counted by files, and what it had begun at its most.
        logs, finished = before
        in_flight = EXECUTORS if any(map(predict_began, logs)) and finished < shards else 0
        later = sum(predict_tasks(log)[0] for log in events.iterdir() if log not in logs)
        redone = max(0, finished + later - shards) + in_flight
    double = sum(len(keys) - len(set(keys)) for keys in (stored, predicted, answered))
    return Outcome(
        exit_codes=codes,
        seconds=round(seconds, 1),
        killed_after_seconds=round(killed, 1),
        started=started,
        shards=shards,
        images_redone=round(redone * field.images / max(shards, 1)),
        rows_lost=field.images - min(len(set(answered)), len({product for product, _, _ in products})),
        rows_double=double,
        answers={product: (category, round(confidence, 4)) for product, category, confidence in products},
    )


def _keys(root: Path) -> list[tuple[Any, ...]]:
    names = ["product_id", "image_no", "image_sha256"]
    tables = [pq.read_table(path, columns=names) for path in root.rglob("*.parquet")]
    return [tuple(row[name] for name in names) for table in tables for row in table.to_pylist()]

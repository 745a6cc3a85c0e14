"""Nights on a standalone cluster in which something dies, and what is left of them afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

from tests.standalone import ROOT, Standalone

NIGHT = "2026-11-01"
RUN_ID = f"nightly-{NIGHT}"
_NIGHT_SECONDS = 900
_DRIVER = """
import functools, sys
from jobs import cli, nightly
nightly.IngestConfig = functools.partial(nightly.IngestConfig, shard_bytes={shard_bytes})
sys.argv = ["shelfwise", *{arguments!r}]
cli.main()
"""


@dataclass(frozen=True)
class Field:
    """Where nights take place.

    Attributes:
        cluster: Two workers.
        catalog: A CSV.
        release: The release that predicts.
        images: Rows of the catalog, each a product of its own.
        shard_bytes: So small that a night has many shards.
    """

    cluster: Standalone
    catalog: Path
    release: Path
    images: int
    shard_bytes: int


@dataclass(frozen=True)
class Outcome:
    """What a night left.

    Attributes:
        exit_codes: Of the drivers, in order; the last must be 0.
        seconds: All of them together.
        killed_after_seconds: When something was killed; 0 for an undisturbed night.
        started: Tasks that began to predict a shard.
        shards: Of the night.
        images_redone: Predicted again at most: those of the shards that were begun more than once.
        rows_lost: Images without an answer in the database.
        rows_double: Rows that the dataset, the prediction files or the database hold twice.
        answers: By product, its category and confidence.
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


def kill_executor(field: Field, driver: subprocess.Popen[bytes]) -> None:
    """Kill one executor's Java process; its Python processes end with it."""
    _one_of(field.cluster.executors, driver).kill()


def kill_python_worker(field: Field, driver: subprocess.Popen[bytes]) -> None:
    """Kill one process that runs tasks."""
    _one_of(field.cluster.python_workers, driver).kill()


def kill_driver(field: Field, driver: subprocess.Popen[bytes]) -> None:
    """Kill the driver, Python and Java, as when its machine goes away."""
    os.killpg(driver.pid, signal.SIGKILL)


FAULTS: dict[str, Killer] = {
    "an executor": kill_executor,
    "a Python worker": kill_python_worker,
    "the driver": kill_driver,
}
"""What is killed, and how; another fault is another line."""


def _one_of(found: Callable[[], list[psutil.Process]], driver: subprocess.Popen[bytes]) -> psutil.Process:
    """Choose one, as soon as there is one; between two steps of a night there is none."""
    while driver.poll() is None:
        there = found()
        if there:
            return random.choice(there)
        time.sleep(0.02)
    raise LookupError("the night was over before there was anything to kill")


def night(
    field: Field, home: Path, *, fault: Killer | None = None, after_seconds: float = 0.0, predicted_shards: int = 0
) -> Outcome:
    """Run a night, kill something in it, and go on until it is published.

    Args:
        field: Where.
        home: An empty SHELFWISE_HOME.
        fault: What is killed; None disturbs nothing.
        after_seconds: When, counted from the driver's start.
        predicted_shards: And not before so many are predicted; a moment that does not depend on the machine.

    Returns:
        What it left.
    """
    events = home.with_name(f"{home.name}-events")
    events.mkdir(parents=True)
    started = time.monotonic()
    command = ["nightly", "--catalog", str(field.catalog), "--run-date", NIGHT]
    driver = _start(field, home, events, command)
    killed = 0.0
    try:
        if fault:
            time.sleep(after_seconds)
            while driver.poll() is None and len(list(home.glob("predictions/*/*.parquet"))) < predicted_shards:
                time.sleep(0.02)
            try:
                fault(field, driver)
                killed = time.monotonic() - started
            except (LookupError, psutil.NoSuchProcess, ProcessLookupError):
                pass  # it was over already: a fault that met nothing
        codes = [driver.wait(_NIGHT_SECONDS)]
        while codes[-1] != 0 and len(codes) < 4:
            driver = _start(field, home, events, ["runs", "resume", RUN_ID] if _known(home) else command)
            codes.append(driver.wait(_NIGHT_SECONDS))
    finally:
        if driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
    return _outcome(field, home, events, tuple(codes), time.monotonic() - started, killed)


def _start(field: Field, home: Path, events: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    properties = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": events.as_uri(),
        "spark.eventLog.rolling.enabled": "false",
        "spark.eventLog.compress": "false",
    }
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SHELFWISE_HOME": str(home),
        "SHELFWISE_MASTER": field.cluster.url,
        "SHELFWISE_RELEASE_DIR": str(field.release),
        "SHELFWISE_DRIVER_MEMORY": "1g",
        "SHELFWISE_SPARK_CONF": json.dumps(properties),
    }
    program = _DRIVER.format(shard_bytes=field.shard_bytes, arguments=arguments)
    with home.with_name(f"{home.name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", program], env=environment, stdout=log, stderr=log, start_new_session=True
        )


def _known(home: Path) -> bool:
    """Say whether the run has a row, so that it can be resumed."""
    try:
        return bool(_ask(home, "SELECT count(*) FROM runs")[0][0])
    except sqlite3.Error:
        return False


def _ask(home: Path, statement: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"file:{home / 'shelfwise.db'}?mode=ro", uri=True) as connection:
        return list(connection.execute(statement))


def _outcome(field: Field, home: Path, events: Path, codes: tuple[int, ...], seconds: float, killed: float) -> Outcome:
    stored = _keys(home / "images")
    predicted = _keys(home / "predictions" / f"run_id={RUN_ID}")
    answered = _ask(home, "SELECT product_id, image_sha256 FROM category_predictions")
    products = _ask(home, "SELECT product_id, category_id, confidence FROM product_categories")
    shards = len(list((home / "predictions" / f"run_id={RUN_ID}").glob("*.parquet")))
    started = sum(map(_predict_tasks, events.iterdir()))
    double = sum(len(keys) - len(set(keys)) for keys in (stored, predicted, answered))
    return Outcome(
        exit_codes=codes,
        seconds=round(seconds, 1),
        killed_after_seconds=round(killed, 1),
        started=started,
        shards=shards,
        images_redone=round((started - shards) * field.images / max(shards, 1)),
        rows_lost=field.images - min(len(set(answered)), len({product for product, _, _ in products})),
        rows_double=double,
        answers={product: (category, round(confidence, 4)) for product, category, confidence in products},
    )


def _keys(root: Path) -> list[tuple[Any, ...]]:
    names = ["product_id", "image_no", "image_sha256"]
    tables = [pq.read_table(path, columns=names) for path in root.rglob("*.parquet")]
    return [tuple(row[name] for name in names) for table in tables for row in table.to_pylist()]


def _predict_tasks(log: Path) -> int:
    """Count the tasks that began to predict, in one application's event log; a killed driver's ends anywhere."""
    stages: set[int] = set()
    count = 0
    for event in _events(log):
        if event["Event"] == "SparkListenerJobStart":
            described = (event.get("Properties") or {}).get("spark.job.description", "")
            if described.startswith("predict "):
                stages |= set(event["Stage IDs"])
        elif event["Event"] == "SparkListenerTaskStart" and event["Stage ID"] in stages:
            count += 1
    return count


def _events(log: Path) -> Iterator[dict[str, Any]]:
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return

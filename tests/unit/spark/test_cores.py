"""Over how many tasks work is spread: over all executors, also those that come after the first."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.spark import session as spark
from jobs.spark.config import SparkConfig
from jobs.spark.session import tasks_at_once


class Growing:
    """A session whose executors come one after the other."""

    def __init__(self, cores: list[tuple[float, int]], **conf: str) -> None:
        self.started = time.monotonic()
        self.cores = cores
        self.conf: Any = SimpleNamespace(get=conf.get, set=conf.__setitem__)
        self.told = conf

    @property
    def sparkContext(self) -> Any:
        gone = time.monotonic() - self.started
        return SimpleNamespace(defaultParallelism=[count for at, count in self.cores if gone >= at][-1])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark, "GATHERING_SECONDS", 0.4)
    monkeypatch.setattr(spark, "MOST_GATHERING_SECONDS", 2.0)


def test_work_waits_for_executors_that_come_shortly_after_the_first() -> None:
    session: Any = Growing([(0, 2), (0.2, 4), (0.5, 12)])
    spark._set_shuffle_partitions(session, SparkConfig("spark://a:1", "1g", Path("scratch")))
    assert session.told["spark.sql.shuffle.partitions"] == "24"


def test_executors_that_never_stop_coming_are_not_waited_for() -> None:
    session: Any = Growing([(number / 10, number + 1) for number in range(100)])
    started = time.monotonic()
    spark._set_shuffle_partitions(session, SparkConfig("spark://a:1", "1g", Path("scratch")))
    assert time.monotonic() - started < 3.0


@pytest.mark.parametrize(
    ("conf", "tasks"),
    [
        ({}, 8),
        ({"spark.task.cpus": "4"}, 2),
        ({"spark.dynamicAllocation.enabled": "true"}, 8),
        (
            {"spark.dynamicAllocation.enabled": "true", "spark.dynamicAllocation.maxExecutors": "10"}
            | {"spark.executor.cores": "4", "spark.task.cpus": "4"},
            10,
        ),
        ({"spark.dynamicAllocation.maxExecutors": "10", "spark.executor.cores": "4", "spark.task.cpus": "4"}, 2),
    ],
)
def test_tasks_that_can_run_at_the_same_time(conf: dict[str, str], tasks: int) -> None:
    session: Any = Growing([(0, 8)], **conf)
    assert tasks_at_once(session) == tasks

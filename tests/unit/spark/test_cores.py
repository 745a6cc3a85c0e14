"""Over how many tasks work is spread: over all executors, also those that come after the first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.spark.config import SparkConfig
from jobs.spark.session import MOST_GATHERING_SECONDS, spark_session, tasks_at_once
from tests.unit.fake_spark import FakeSpark

CLUSTER = "local-cluster[3,4,1024]"
PARTITIONS = "spark.sql.shuffle.partitions"


def opened(spark: FakeSpark, tmp_path: Path, master: str = CLUSTER, **properties: str) -> FakeSpark:
    with spark_session(SparkConfig(master, "1g", tmp_path, properties=properties), name="test"):
        return spark


def test_work_waits_for_executors_that_come_shortly_after_the_first(
    fake_spark: Callable[..., FakeSpark], tmp_path: Path
) -> None:
    spark = opened(fake_spark([(0, 2), (0.8, 4), (1.7, 12), (60, 100)]), tmp_path)
    assert spark.properties[PARTITIONS] == "24"


def test_executors_that_never_stop_coming_are_not_waited_for(
    fake_spark: Callable[..., FakeSpark], tmp_path: Path
) -> None:
    spark = opened(fake_spark([(number / 2, number + 1) for number in range(1000)]), tmp_path)
    assert MOST_GATHERING_SECONDS <= spark.now < MOST_GATHERING_SECONDS + 1
    assert 2 * 2 * MOST_GATHERING_SECONDS <= int(spark.properties[PARTITIONS]) <= 2 * (2 * MOST_GATHERING_SECONDS + 2)


def test_partitions_that_someone_chose_stay(fake_spark: Callable[..., FakeSpark], tmp_path: Path) -> None:
    assert opened(fake_spark(), tmp_path, **{PARTITIONS: "7"}).properties[PARTITIONS] == "7"


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
    session: Any = FakeSpark([(0, 8)], **conf)
    assert tasks_at_once(session) == tasks


@pytest.mark.parametrize(("master", "quick"), [("local[2]", True), ("local", True), (CLUSTER, False)])
def test_java_compiles_once_where_its_compiler_takes_the_cores_of_the_tasks(
    fake_spark: Callable[..., FakeSpark], tmp_path: Path, *, master: str, quick: bool
) -> None:
    options = opened(fake_spark(), tmp_path, master).properties["spark.driver.extraJavaOptions"].split()
    assert any(option.startswith("-Dlog4j2.configurationFile=") for option in options)
    assert ("-XX:TieredStopAtLevel=1" in options) == quick

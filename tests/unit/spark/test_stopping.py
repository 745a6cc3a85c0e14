"""Leaving a session does not wait for what Spark's own stop waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from jobs.spark.config import SparkConfig
from jobs.spark.session import spark_session
from tests.unit.fake_spark import FakeSpark


def test_the_server_for_accumulators_ends_in_the_background(
    fake_spark: Callable[..., FakeSpark], tmp_path: Path
) -> None:
    """It looks only once a second whether it shall end."""
    spark, may_end, ended = fake_spark(), threading.Event(), threading.Event()

    def shutdown() -> None:
        may_end.wait()
        ended.set()

    spark._accumulatorServer = SimpleNamespace(shutdown=shutdown)  # type: ignore[attr-defined]
    with spark_session(SparkConfig("local[2]", "1g", tmp_path), name="test"):
        pass
    assert spark._accumulatorServer is None, "Spark's own stop would wait for it"  # type: ignore[attr-defined]
    assert not ended.is_set()
    may_end.set()
    assert ended.wait(10)

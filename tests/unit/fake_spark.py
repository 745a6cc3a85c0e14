"""A Spark session without Java: it keeps what it was given, and its executors come at given times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any


@dataclass(frozen=True)
class _Some:
    """An Option of Scala that has a value."""

    value: str

    def get(self) -> str:
        return self.value


class _Table(list[Any]):
    """A collection of Scala."""

    def size(self) -> int:
        return len(self)

    def apply(self, index: int) -> Any:
        return self[index]


class FakeSpark:
    """Stands for `pyspark.sql.SparkSession`, its builder, its context and its configuration.

    Attributes:
        properties: Spark's properties, as the session was built with them and as they were set later.
        code: Files that were sent to the executors.
        failed: Host and error of attempts of tasks that failed, before others of the same tasks succeeded.
        version: Version of Spark.
        now: Time of the session's clock, in seconds.
    """

    def __init__(self, cores: Sequence[tuple[float, int]] = ((0, 8),), **properties: str) -> None:
        """Set up the session.

        Args:
            cores: (time in seconds, cores that have registered by then), in order.
            properties: Spark's properties.
        """
        self._cores = cores
        self.properties: dict[str, str] = {"spark.master": "", **properties}
        self.code: list[str] = []
        self.failed: list[tuple[str, str]] = []
        self.version = "4.3.0"
        self.now = 0.0
        self.builder = self.sparkContext = self
        self.conf = SimpleNamespace(get=self.properties.get, set=self.properties.__setitem__)

    @property
    def defaultParallelism(self) -> int:
        return [count for at, count in self._cores if self.now >= at][-1]

    @property
    def _jsc(self) -> Any:
        """Return Java's context: the executors, of one core each and counted with the driver, and the failed tasks."""
        tasks = [
            SimpleNamespace(
                status=lambda: "FAILED", host=lambda host=host: host, errorMessage=lambda text=text: _Some(text)
            )
            for host, text in self.failed
        ]
        context = SimpleNamespace(
            getExecutorMemoryStatus=lambda: _Table([None] * (self.defaultParallelism + 1)),
            statusStore=lambda: SimpleNamespace(taskList=lambda *_: _Table(tasks)),
        )
        return SimpleNamespace(sc=lambda: context)

    def statusTracker(self) -> Any:
        """Return the tracker, in which each group of jobs has one job that ended."""
        job = SimpleNamespace(status="SUCCEEDED", stageIds=[0])
        return SimpleNamespace(getJobIdsForGroup=lambda _: [0], getJobInfo=lambda _: job)

    def appName(self, _name: str) -> FakeSpark:
        return self

    def master(self, url: str) -> FakeSpark:
        return self.config("spark.master", url)

    def config(self, key: str, value: str) -> FakeSpark:
        self.properties[key] = value
        return self

    def getOrCreate(self) -> FakeSpark:
        return self

    def addPyFile(self, uri: str) -> None:
        self.code.append(uri)

    def setJobGroup(self, *_: str) -> None:
        pass

    def setLocalProperty(self, *_: str) -> None:
        pass

    def parallelize(self, items: Iterable[Any], _parts: int) -> Any:
        """Return a dataset whose tasks run in this process."""
        return SimpleNamespace(
            map=lambda change: SimpleNamespace(collect=lambda: [change(item) for item in items]),
        )

    def stop(self) -> None:
        pass

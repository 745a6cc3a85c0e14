"""Configuration of a Spark session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class SparkConfig:
    """Configuration of a Spark session: its master, memory and directories.

    Attributes:
        master: Master URL: `local[N]`, `spark://…` or another one.
        driver_memory: Memory of the driver's JVM, in Spark's notation: `2g`, `512m`.
        scratch_dir: Directory for shuffles and temporary files.
        shared_dir: Directory that executors must access under the same path as the driver; None if there is none.
        executor_cores: Cores of each executor on a cluster; 0 uses the value given to spark-submit, or else 1.
        gpu: Whether each executor that predicts needs one GPU.
        wait_seconds: Longest wait for the first executor of a cluster, in seconds.
        java_dir: Directory of the archive of Spark's classes, with which Java starts Spark in half the time; None makes
            none. See `jobs.spark.class_archive`.
        properties: Further Spark properties, such as `spark.executor.memory`; they override the ones set by shelfwise.
    """

    master: str
    driver_memory: str
    scratch_dir: Path
    shared_dir: Path | None = None
    executor_cores: int = 0
    gpu: bool = False
    wait_seconds: int = 120
    java_dir: Path | None = None
    properties: Mapping[str, str] = field(default_factory=dict)

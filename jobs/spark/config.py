"""How Spark is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class SparkConfig:
    """How Spark is started.

    Attributes:
        master: `local[N]`, `spark://…` or another master URL.
        driver_memory: `2g`, `512m`.
        scratch_dir: For shuffles and temporary files.
        shared_dir: What executors must see as the driver does; None where they need not.
        executor_cores: Of each executor on a cluster; 0 takes what spark-submit was told, else 1.
        gpu: Whether each executor that predicts shall have one GPU.
        wait_seconds: How long a cluster may take to start the first executor.
        properties: Further properties of Spark, such as `spark.executor.memory`; they win over what is set here.
    """

    master: str
    driver_memory: str
    scratch_dir: Path
    shared_dir: Path | None = None
    executor_cores: int = 0
    gpu: bool = False
    wait_seconds: int = 120
    properties: Mapping[str, str] = field(default_factory=dict)

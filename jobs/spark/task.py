"""What Spark assigned to the task in which the caller runs: GPU, cores, and the number of its attempt."""

from __future__ import annotations

from typing import Any


def task_gpu() -> str | None:
    """Return the address of the GPU that Spark assigned to this task; None without a GPU or outside a task."""
    context = _task()
    gpu = context.resources().get("gpu") if context else None
    return gpu.addresses[0] if gpu else None


def task_cores() -> int | None:
    """Return the number of cores that Spark assigned to this task; None outside a task."""
    context = _task()
    return int(context.cpus()) if context else None


def task_attempt() -> int:
    """Return the number of this Spark task's attempt, from 0: how many attempts were made before."""
    context = _task()
    return int(context.attemptNumber()) if context else 0


def _task() -> Any:
    from pyspark import TaskContext

    return TaskContext.get()

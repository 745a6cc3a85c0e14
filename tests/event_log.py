"""Count the predict tasks of a night in Spark's event log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any


def predict_tasks(log: Path) -> tuple[int, int]:
    """Return the number of started and of successful predict tasks in one application's log.

    The log of a killed driver may end in the middle of a line; the rest of it is ignored.
    """
    stages: set[int] = set()
    started = ended = 0
    for event in _events(log):
        if event["Event"] == "SparkListenerJobStart":
            described = (event.get("Properties") or {}).get("spark.job.description", "")
            if described.startswith("predict "):
                stages |= set(event["Stage IDs"])
        elif event["Event"] == "SparkListenerTaskStart" and event["Stage ID"] in stages:
            started += 1
        elif event["Event"] == "SparkListenerTaskEnd" and event["Stage ID"] in stages:
            ended += event["Task End Reason"]["Reason"] == "Success"
    return started, ended


def predict_began(log: Path) -> bool:
    """Return whether an application has started to predict; Spark writes the start of a job to the log at once."""
    jobs = (event for event in _events(log) if event["Event"] == "SparkListenerJobStart")
    return any((job.get("Properties") or {}).get("spark.job.description", "").startswith("predict ") for job in jobs)


def _events(log: Path) -> Iterator[dict[str, Any]]:
    with suppress(ValueError):
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            yield json.loads(line)

"""Show the progress of running Spark stages, only on a terminal."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_POLL_SECONDS = 0.5


@contextmanager
def spark_progress(spark: SparkSession, description: str) -> Iterator[None]:
    """Show a progress bar with the finished tasks of the running Spark stages, on stderr if it is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    stopped = threading.Event()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("tasks"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        shown = progress.add_task(description, total=None)
        thread = threading.Thread(target=_poll, args=(spark, progress, shown, stopped), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()


def _poll(spark: SparkSession, progress: Progress, shown: object, stopped: threading.Event) -> None:
    tracker = spark.sparkContext.statusTracker()
    while not stopped.wait(_POLL_SECONDS):
        stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
        running = [stage for stage in stages if stage is not None]
        if running:
            done = sum(stage.numCompletedTasks for stage in running)
            progress.update(shown, completed=done, total=sum(stage.numTasks for stage in running))  # type: ignore[arg-type]

"""Progress on a terminal, and nothing anywhere else."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from models.training.recipe import Watch

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
_TELL_SECONDS = 60.0


@contextmanager
def spark_progress(spark: SparkSession, description: str) -> Iterator[None]:
    """Show how many tasks of the running Spark stages are done, on stderr and only if that is a terminal."""
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


@contextmanager
def training_progress() -> Iterator[Callable[[str], Watch]]:
    """Show how far a training is: a bar an epoch on a terminal; in the log a line a minute, and one an epoch."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"))
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal) as progress:
        yield lambda name: _epoch_bars(progress, name)


def _epoch_bars(progress: Progress, name: str) -> Watch:
    bars: dict[int, TaskID] = {}
    told = time.monotonic()

    def watch(epoch: int, step: int, steps: int, figures: dict[str, float]) -> None:
        nonlocal told
        if epoch not in bars:
            bars[epoch] = progress.add_task(f"{name}, epoch {epoch}", total=steps)
        shown = f"{name}, epoch {epoch}: loss {figures.get('loss', 0.0):.4f}"
        progress.update(bars[epoch], completed=step, description=shown)
        if step == steps or time.monotonic() - told > _TELL_SECONDS:
            told = time.monotonic()
            log.info("%s, accuracy %.4f, step %s of %s", shown, figures.get("accuracy", 0.0), step, steps)

    return watch

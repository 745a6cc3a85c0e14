"""Progress of a training: progress bars on a terminal, and log lines."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from models.training.recipe import Watch

log = logging.getLogger(__name__)

_LOG_SECONDS = 60.0


@contextmanager
def training_progress() -> Iterator[Callable[[str], Watch]]:
    """Show the progress of a training: one bar per epoch on a terminal; one log line per minute and per epoch.

    Yields:
        Function that takes a network's name and returns the callback for its training steps.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"))
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal) as progress:
        yield lambda name: _epoch_bars(progress, name)


def _epoch_bars(progress: Progress, name: str) -> Watch:
    bars: dict[int, TaskID] = {}
    logged = time.monotonic()

    def watch(epoch: int, step: int, steps: int, figures: dict[str, float]) -> None:
        nonlocal logged
        if epoch not in bars:
            bars[epoch] = progress.add_task(f"{name}, epoch {epoch}", total=steps)
        shown = f"{name}, epoch {epoch}: loss {figures.get('loss', 0.0):.4f}"
        progress.update(bars[epoch], completed=step, description=shown)
        if step == steps or time.monotonic() - logged > _LOG_SECONDS:
            logged = time.monotonic()
            log.info("%s, accuracy %.4f, step %s of %s", shown, figures.get("accuracy", 0.0), step, steps)

    return watch

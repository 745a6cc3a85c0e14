"""Progress of a training, and of computing features: progress bars on a terminal, and log lines."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from models.training.recipe import Watch

log = logging.getLogger(__name__)

_LOG_SECONDS = 60.0
_ESTIMATE_SECONDS = 5.0
"""Seconds of computing on which the first estimate of the time left is based."""


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


FeatureWatch = Callable[[str, int], Callable[[int], None]]
"""Takes a network's name and its number of images; returns the callback with the number of images that are done."""


@contextmanager
def feature_progress() -> Iterator[FeatureWatch]:
    """Show the progress of computing features: one bar per network on a terminal, and log lines with the time left.

    Yields:
        Function that takes a network's name and the number of images to compute, and returns the callback for those
        that are done.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("images"))
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        yield lambda name, total: _feature_bar(progress, name, total)


def _feature_bar(
    progress: Progress, name: str, total: int, clock: Callable[[], float] = time.monotonic
) -> Callable[[int], None]:
    """Return the callback of one network.

    The first batch does not count for the estimate, as compiling the network takes longer than its images.
    """
    bar = progress.add_task(f"{name}: features", total=total)
    begin: tuple[float, int] | None = None
    logged: float | None = None

    def watch(done: int) -> None:
        nonlocal begin, logged
        now = clock()
        progress.update(bar, completed=done)
        if begin is None:
            begin = (now, done)
            return
        seconds, images = now - begin[0], done - begin[1]
        if not images or seconds < _ESTIMATE_SECONDS or (logged is not None and now - logged < _LOG_SECONDS):
            return
        logged = now
        rate = images / seconds
        left = duration((total - done) / rate)
        log.info("%s: features of %s of %s images, %.1f a second, %s left", name, f"{done:,}", f"{total:,}", rate, left)

    return watch


def duration(seconds: float) -> str:
    """Return a duration in words, rounded up: `40 seconds`, `6 minutes`, `1.5 hours`."""
    if seconds <= 90:
        return f"{math.ceil(seconds)} seconds"
    return f"{math.ceil(seconds / 60)} minutes" if seconds <= 5400 else f"{seconds / 3600:.1f} hours"


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

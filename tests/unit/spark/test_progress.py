"""What is shown while something long runs: bars on a terminal, lines in a log, nothing on a pipe."""

from __future__ import annotations

import functools
import io
import logging
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from jobs.spark import progress
from jobs.spark.progress import spark_progress
from jobs.training import progress as of_training
from jobs.training.progress import training_progress

STAGES = {
    7: SimpleNamespace(numTasks=5, numCompletedTasks=2),
    8: SimpleNamespace(numTasks=4, numCompletedTasks=1),
    9: None,
}
TRACKER = SimpleNamespace(getActiveStageIds=lambda: list(STAGES), getStageInfo=STAGES.get)
SESSION: Any = SimpleNamespace(sparkContext=SimpleNamespace(statusTracker=lambda: TRACKER))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal shows."""
    shown = io.StringIO()
    played = functools.partial(Console, file=shown, force_terminal=True, width=100)
    for module in (progress, of_training):
        monkeypatch.setattr(module, "Console", lambda **_: played())
    return shown


def test_a_terminal_shows_the_tasks_of_all_stages_that_run(
    terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_POLL_SECONDS", 0.01)
    with spark_progress(SESSION, "predict"):
        until = time.monotonic() + 10
        while "3/9" not in terminal.getvalue() and time.monotonic() < until:
            time.sleep(0.05)
    assert "predict" in terminal.getvalue()
    assert "3/9" in terminal.getvalue()


def test_a_terminal_shows_an_epoch_in_a_bar(terminal: io.StringIO) -> None:
    with training_progress() as watch:
        told = watch("xception")
        told(1, 3, 3, {"loss": 0.5, "accuracy": 0.75})
        told(2, 1, 3, {"loss": 0.25})
    for line in ("xception, epoch 1: loss 0.5000", "3/3", "xception, epoch 2: loss 0.2500", "1/3"):
        assert line in terminal.getvalue()


def test_a_pipe_gets_no_bar_and_the_log_a_line_an_epoch_and_one_a_minute(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("jobs.training.progress.time.monotonic", lambda: now[0])
    threads = threading.active_count()
    with caplog.at_level(logging.INFO), training_progress() as watch, spark_progress(SESSION, "predict"):
        assert threading.active_count() == threads
        told = watch("xception")
        for step, seconds in ((1, 10), (2, 61), (3, 70), (4, 80)):
            now[0] = seconds
            told(1, step, 4, {"loss": 0.5, "accuracy": 0.75})
    assert [record.getMessage() for record in caplog.records] == [
        "xception, epoch 1: loss 0.5000, accuracy 0.7500, step 2 of 4",
        "xception, epoch 1: loss 0.5000, accuracy 0.7500, step 4 of 4",
    ]
    assert capsys.readouterr() == ("", "")

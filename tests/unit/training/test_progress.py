"""The estimate of the time that is left for computing features."""

from __future__ import annotations

import pytest
from rich.progress import Progress

from jobs.training.progress import _feature_bar, duration


def lines(caplog: pytest.LogCaptureFixture, moments: list[tuple[float, int]], *, total: int) -> list[str]:
    """Report images as done at some moments, in seconds; return the log lines."""
    caplog.set_level("INFO")
    times = iter([moment for moment, _ in moments])
    with Progress(disable=True) as bars:
        watch = _feature_bar(bars, "xception", total, lambda: next(times))
        for _, done in moments:
            watch(done)
    return [record.getMessage() for record in caplog.records]


def test_the_first_batch_does_not_count_for_the_estimate(caplog: pytest.LogCaptureFixture) -> None:
    """It took 100 seconds, as the network was compiled; the others take 10 seconds for 100 images."""
    found = lines(caplog, [(100, 100), (110, 200)], total=3000)
    assert found == ["xception: features of 200 of 3,000 images, 10.0 a second, 5 minutes left"]


def test_the_estimate_comes_after_seconds_and_then_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    found = lines(caplog, [(0, 32), (3, 64), (6, 96), (20, 200), (65, 600), (67, 632)], total=10_000)
    assert [line.split(" of ")[1] for line in found] == ["96", "632"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 seconds"), (90, "90 seconds"), (91, "2 minutes"), (5400, "90 minutes"), (9000, "2.5 hours")],
)
def test_a_duration_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words

"""A big run whose driver is killed at random moments ends in the rows of one that nothing happened to."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from sql.records import Rows
from sql.store import ProductDatabase, open_database
from tests.extent import extent
from tests.sql import processes, runs
from tests.sql.runs import BOOT, SHIRT, batches, dump, prediction

KILLS = extent(5, of_all=20)
ROWS = extent(40_000, of_all=100_000)
BATCH = 5000

Nights = tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def nights() -> Nights:
    """One night of half the products, then one that changes these and adds as many."""
    first = [prediction(f"p{n:06d}", SHIRT, 0.5, content="A") for n in range(0, ROWS, 2)]
    second = [prediction(f"p{n:06d}", (SHIRT, BOOT)[n % 3 > 0], 0.9, content="B", night=1) for n in range(ROWS)]
    return first, second


class Steps:
    """The steps of a publish as they begin: batches that are staged, then statements."""

    def __init__(self, database: ProductDatabase, begun: Callable[[int], object]) -> None:
        self._count, self._begun = 0, begun

        @sa.event.listens_for(database.engine, "before_cursor_execute")
        def statement(*_arguments: object) -> None:
            self._begin()

    def _begin(self) -> None:
        self._begun(self._count)
        self._count += 1

    def batches(self, rows: list[tuple[Any, ...]]) -> Iterator[Rows]:
        for batch in batches(rows, BATCH):
            self._begin()
            yield batch


def publish_big(url: str, rows: list[tuple[Any, ...]], night: int, begun: Callable[[int], object] = int) -> None:
    database = open_database(url)
    database.publish(
        runs.run_record(night),
        predictions=Steps(database, begun).batches(rows),
        rejections=[],
        products=[],
        categories=runs.CATEGORIES,
        release=runs.RELEASE,
        combine=runs.combine,
    )


def timed(url: str, rows: list[tuple[Any, ...]], night: int) -> list[float]:
    """Publish, and return how many seconds each step took."""
    moments: list[float] = []
    publish_big(url, rows, night, lambda _step: moments.append(time.monotonic()))
    moments.append(time.monotonic())
    return [later - earlier for earlier, later in itertools.pairwise(moments)]


def moment(seconds: list[float], chosen: random.Random) -> tuple[int, float]:
    """Choose a moment of a run, each as likely as any other: a step, and how long after its begin.

    Not the seconds since the start: a machine that is busier or less busy than at the measurement would be killed too
    early each time, or not at all.
    """
    at = chosen.uniform(0, sum(seconds))
    for step, took in enumerate(seconds):
        if at < took:
            return step, at
        at -= took
    return len(seconds) - 1, seconds[-1]


def killed(url: str, rows: list[tuple[Any, ...]], night: int, step: int, delay: float) -> int | None:
    """Publish in a process that is killed so many seconds after it began a step. Return its exit code."""

    def begun(number: int) -> None:
        if number == step:
            threading.Timer(delay, processes.kill_itself).start()

    child = processes.start(lambda: publish_big(url, rows, night, begun))
    child.join()
    return child.exitcode


def counted(url: str) -> tuple[int, int]:
    """Count predictions and published runs in one statement: the server may still be ending what a dead driver sent."""
    statement = sa.text("""
        SELECT
            (SELECT count(*) FROM category_predictions) AS predictions,
            (SELECT count(*) FROM runs WHERE state = 'published') AS published
    """)
    with open_database(url).engine.connect() as connection:
        row = connection.execute(statement).one()
        return row.predictions, row.published


@pytest.mark.timeout(600)
def test_killed_at_random_moments_of_a_big_run(
    new_url: Callable[[], str], copy_url: Callable[[str], str], nights: Nights, engine_name: str
) -> None:
    first, second = nights
    url = new_url()
    publish_big(url, first, 0)
    clean = copy_url(url)
    seconds = timed(clean, second, 1)
    chosen = random.Random(engine_name)
    struck = 0
    for _ in range(KILLS):
        struck += killed(url, second, 1, *moment(seconds, chosen)) == -9
        assert counted(url) in ((len(first), 1), (len(first) + len(second), 2))
    # Only a kill after the last statement had been sent may come too late.
    assert struck >= KILLS - max(1, KILLS // 10), f"only {struck} attempts were killed in time"
    publish_big(url, second, 1)
    assert dump(open_database(url)) == dump(open_database(clean))

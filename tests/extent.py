"""How far a test goes in what it leaves to chance: less far in `make check`, farther in `make check-all`.

Tests that hypothesis makes inputs for draw the same ones each time in `make check`, and new ones in `make check-all`
(`tests/conftest.py`).
"""

from __future__ import annotations

import os

ALL = os.environ.get("SHELFWISE_TEST_ALL") == "1"


def extent(usual: int, *, of_all: int) -> int:
    """Return how many repetitions, inputs or rows a test takes that draws its moments or inputs at random.

    Args:
        usual: Number in the usual run; enough that each promise is tested.
        of_all: Number where `SHELFWISE_TEST_ALL` is 1.
    """
    return of_all if ALL else usual


def steps(first: int, last: int, *, usual: int = 4) -> list[int]:
    """Return the steps at which a test strikes: all where `SHELFWISE_TEST_ALL` is 1, else some, with both ends.

    Args:
        first: First step.
        last: Last step, included.
        usual: In the usual run, every how many-th step is taken; the first and the last always are.
    """
    taken = range(first, last + 1, 1 if ALL else usual)
    return sorted({*taken, last})

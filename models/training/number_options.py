"""Numbers on a command line of argparse: what a word must be, and one sentence where it is not."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable, Collection
from typing import Any

MOST_SEED = 2**32 - 1
"""What NumPy and Keras take."""


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return what reads a whole number.

    Args:
        least: The smallest that is taken.
        most: The largest; None is any.

    Returns:
        A `type` of argparse, which raises ArgumentTypeError.
    """
    expected = f"a whole number of at least {least}" if most is None else f"a whole number from {least} to {most}"

    def read(word: str) -> int:
        try:
            number = int(word)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            raise ArgumentTypeError(f"expected {expected}, received {word!r}")
        return number

    return read


def rate(word: str) -> float:
    """Read a learning rate: a finite number of at least 0.

    Raises:
        ArgumentTypeError: If it is none.
    """
    number = _number(word)
    if not 0 <= number < math.inf:
        raise ArgumentTypeError(f"expected a number of at least 0, as 1e-4, received {word!r}")
    return number


def share(word: str) -> float:
    """Read a share in [0, 1).

    Raises:
        ArgumentTypeError: If it is none.
    """
    number = _number(word)
    if not 0 <= number < 1:
        raise ArgumentTypeError(f"expected a share from 0 to below 1, received {word!r}")
    return number


def for_networks(read: Callable[[str], Any], networks: Collection[str]) -> Callable[[str], str]:
    """Return what checks a value for all networks, or `NETWORK=VALUE` for one, and gives it back as it was typed.

    Args:
        read: What the value must be.
        networks: Their names.

    Returns:
        A `type` of argparse, which raises ArgumentTypeError.
    """

    def check(word: str) -> str:
        name, separator, value = word.partition("=")
        if separator and name not in networks:
            raise ArgumentTypeError(f"there is no network {name!r}; expected {' or '.join(networks)} before the =")
        read(value if separator else word)
        return word

    return check


def _number(word: str) -> float:
    """Return the number that a word is, or NaN, which is in no range."""
    try:
        return float(word)
    except ValueError:
        return math.nan

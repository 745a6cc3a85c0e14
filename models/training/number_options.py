"""Parse and check numbers on a command line of argparse; a wrong number gives a message of one sentence."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable, Collection
from typing import Any

MOST_SEED = 2**32 - 1
"""Largest random seed that NumPy and Keras accept."""


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a parser of whole numbers within limits.

    Args:
        least: Smallest accepted number.
        most: Largest accepted number; None means no limit.

    Returns:
        A `type` for argparse, which raises ArgumentTypeError for other words.
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
    """Parse a learning rate: a finite number of at least 0.

    Raises:
        ArgumentTypeError: If the word is not such a number.
    """
    number = _number(word)
    if not 0 <= number < math.inf:
        raise ArgumentTypeError(f"expected a number of at least 0, as 1e-4, received {word!r}")
    return number


def share(word: str) -> float:
    """Parse a share in [0, 1).

    Raises:
        ArgumentTypeError: If the word is not such a number.
    """
    number = _number(word)
    if not 0 <= number < 1:
        raise ArgumentTypeError(f"expected a share from 0 to below 1, received {word!r}")
    return number


def for_networks(read: Callable[[str], Any], networks: Collection[str]) -> Callable[[str], str]:
    """Return a check of an option that has a value for all networks, or `NETWORK=VALUE` for one.

    Args:
        read: Parser that checks the value.
        networks: Names of the networks.

    Returns:
        A `type` for argparse, which returns the word unchanged or raises ArgumentTypeError.
    """

    def check(word: str) -> str:
        name, separator, value = word.partition("=")
        if separator and name not in networks:
            raise ArgumentTypeError(f"there is no network {name!r}; expected {' or '.join(networks)} before the =")
        read(value if separator else word)
        return word

    return check


def _number(word: str) -> float:
    """Parse a number; return NaN, which is outside of every range, if the word is not a number."""
    try:
        return float(word)
    except ValueError:
        return math.nan

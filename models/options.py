"""Options of `shelfwise` and of the programs of models/: kinds of numbers, values for single networks, and help."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import click

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
"""Context settings of a command."""


Value = TypeVar("Value")
PerNetwork = tuple[tuple[str, Value], ...]
"""Values of an option in the order of the command line, each with the name of its network, or "" if it is for all."""


class NumberRange(click.FloatRange):
    """A finite number within limits; `nan`, which would pass every limit, and `inf` are refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse and check a number."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


class LearningRate(NumberRange):
    """A learning rate. With 0 nothing would be learned, and a release would be made of random weights.

    The same holds for rates that are lost by rounding when they are added to a weight.
    """

    def __init__(self) -> None:
        super().__init__(0, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse and check a learning rate."""
        rate = super().convert(value, param, ctx)
        if rate < LEAST_RATE:
            self.fail(f"{rate:g} is too small to change a weight; give at least {LEAST_RATE:g}, as in 1e-4", param, ctx)
        return rate


LEAST_RATE = 1e-9
"""Smallest learning rate: AdamW's steps are about as long, and a weight of 0.02 in float32 has steps of 2e-9."""

RATE = LearningRate()

SHARE = NumberRange(0, 1, max_open=True)
"""A share in [0, 1)."""

SEED = click.IntRange(0, 2**32 - 1)
"""A random seed that NumPy and Keras accept."""


def recipe_options(command: Callable[..., Any]) -> Any:
    """Add the options of a training: epochs, learning rates and loss, named like the fields of `Recipe`."""
    options = (
        click.option(
            "--head-epochs",
            type=click.IntRange(0),
            show_default="2, or 0 for a network that starts from nothing",
            help="Epochs of the first phase, in which only the head is trained.",
        ),
        click.option(
            "--epochs", type=click.IntRange(0), default=8, show_default=True, help="Most epochs of the second phase."
        ),
        click.option(
            "--patience",
            type=click.IntRange(1),
            default=3,
            show_default=True,
            help="Epochs without a lower validation loss after which training stops.",
        ),
        click.option(
            "--head-learning-rate",
            type=RATE,
            default=1e-3,
            show_default=True,
            help="Learning rate of the first phase.",
        ),
        click.option(
            "--learning-rate",
            type=RATE,
            default=1e-4,
            show_default=True,
            help="Highest learning rate of the second phase.",
        ),
        click.option(
            "--warm-up",
            type=SHARE,
            default=0.0,
            help="Share of the steps of the second phase in which the learning rate rises to its value; by default 0.",
        ),
        click.option(
            "--label-smoothing",
            type=SHARE,
            default=0.0,
            show_default=True,
            help="Share of each label that is spread evenly over all categories.",
        ),
        click.option(
            "--class-weights/--no-class-weights",
            default=False,
            show_default=True,
            help="Give rare categories more weight in the loss: more of them are found, but confidences fit the "
            "catalog less.",
        ),
        click.option("--mixed-precision", is_flag=True, help="Compute in half precision where that is faster."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def per_network(networks: Collection[str], option: str, kind: click.ParamType[Any], text: str) -> Callable[[Any], Any]:
    """Return a decorator that adds an option with a value for all networks, or `NETWORK=VALUE` for one; repeatable.

    Args:
        networks: Names of the networks.
        option: Name of the option, with its dashes. The command receives it as a `PerNetwork`.
        kind: Type of the values.
        text: Help, without how the values are given.
    """

    def pair(word: str, param: click.Parameter, context: click.Context) -> tuple[str, Any]:
        network, separator, value = word.partition("=")
        if separator and network in networks:
            return network, kind.convert(value, param, context)
        if separator and kind is not click.STRING:  # a path may contain a =
            known = " or ".join(networks)
            raise click.BadParameter(f"there is no network {network!r}; expected {known} before the =", context, param)
        return "", kind.convert(word, param, context)

    def pairs(context: click.Context, param: click.Parameter, words: Sequence[str]) -> PerNetwork[Any]:
        return tuple(pair(word, param, context) for word in words)

    text += " VALUE applies to all networks, NETWORK=VALUE to one. Repeatable."
    return click.option(option, metavar="VALUE", multiple=True, callback=pairs, help=text)


def value_of(values: PerNetwork[Value], network: str, default: Value) -> Value:
    """Return the last value for a network, else the last one for all networks, else the default."""
    by_network = dict(values)
    return by_network.get(network, by_network.get("", default))

"""What `shelfwise runs resume` calls again is what was called, option by option."""

from __future__ import annotations

from datetime import date
from typing import Any

import click
import pytest

from jobs.cli.main import main_group
from jobs.cli.resume import FINISH_NIGHT, STEPS, arguments

RESUMABLE = ("nightly", "backfill", "predict", "publish", FINISH_NIGHT)
_ANYWHERE = {"--run-date": "2026-11-01", "--from": "2026-11-01", "--to": "2026-11-01", "--catalog": "shop.csv"}


def command(name: str) -> click.Command:
    return main_group.commands[name]


def options_of(name: str) -> list[click.Option]:
    return [option for option in command(name).params if isinstance(option, click.Option) and option.name != "as_json"]


def values_for(option: click.Option) -> list[Any]:
    """Values that are easily taken for none, and an ordinary one."""
    if option.is_flag:
        return [False, True]
    if isinstance(option.type, click.IntRange):
        return [option.type.min or 0, 7]
    if isinstance(option.type, click.FloatRange):
        return [0, 0.0, 1.0, 0.25]
    if isinstance(option.type, click.Choice):
        return list(option.type.choices)
    if option.opts[0] in ("--run-date", "--from", "--to"):
        return [date(2026, 11, 1)]
    texts = ["0", "False", "-x", "two words"]
    return texts if option.opts[0] == "--catalog-name" else ["", *texts]  # a blank name is refused


CASES = [
    (name, option.opts[0], value) for name in RESUMABLE for option in options_of(name) for value in values_for(option)
]


@pytest.mark.parametrize(("name", "option", "value"), CASES)
def test_every_option_of_a_run_is_recorded_and_parsed_again(name: str, option: str, value: Any) -> None:
    """--max-rejected 0 was once lost, as 0.0 equals False."""
    called = command(name)
    given = [] if value is False else [option] if value is True else [option, str(value)]
    needed = [
        word
        for each in options_of(name)
        if each.required and each.opts[0] != option
        for word in (each.opts[0], _ANYWHERE[each.opts[0]])
    ]
    context = called.make_context(name, [*needed, *given])
    again = called.make_context(name, arguments(context, {})[1:])
    assert again.params == context.params
    (parameter,) = (each for each in options_of(name) if each.opts[0] == option)
    assert again.params[str(parameter.name)] == value


def test_the_steps_of_a_night_and_their_resume_command_have_the_same_options() -> None:
    taken = {name: [(option.name, option.opts, option.default) for option in options_of(name)] for name in STEPS}
    expected = [(option.name, option.opts, option.default) for option in options_of(FINISH_NIGHT)]
    assert taken == dict.fromkeys(STEPS, expected)

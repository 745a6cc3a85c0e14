"""Run a program in this process as its command line does, and give it the networks of tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click
import pytest


def exit_code(program: click.Command, words: Sequence[str]) -> object:
    """Run a program to its end; return its exit code."""
    with pytest.raises(SystemExit) as stopped:
        program.main(list(words))
    return stopped.value.code


def offer_networks(program: click.Command, names: Iterable[str], patch: pytest.MonkeyPatch) -> None:
    """Let a program's `--network` take other names."""
    [option] = [option for option in program.params if option.name == "network"]
    patch.setattr(option, "type", click.Choice(list(names)))

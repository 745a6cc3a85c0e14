"""The programs of the project beside `shelfwise`: their help, and the commands that documents name."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from models.release import MANIFEST, SHIPPED, load_release

ROOT = Path(__file__).parents[3]
PROGRAMS = ("models.train_arrays", "models.train_fashion_mnist", "models.lite0", "jobs.demo.nights")


def program(module: str) -> click.Command:
    found = importlib.import_module(module).main
    assert isinstance(found, click.Command)
    return found


def help_of(module: str) -> str:
    return program(module).get_help(click.Context(program(module), info_name=module, terminal_width=100))


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the module and the arguments of each command that starts a program, in a text of shell lines."""
    for line in text.replace("\\\n", " ").splitlines():
        if match := re.search(r"python (?:-P )?-m ((?:models|jobs)\.\S+) (.*)", line):
            yield match[1], shlex.split(match[2])


@pytest.mark.parametrize("module", PROGRAMS)
def test_help_has_an_example_that_parses(module: str) -> None:
    shown = list(commands(help_of(module).partition("Example:")[2]))
    assert {name for name, _ in shown} == {module}
    for _, words in shown:
        program(module).make_context(module, words)


@pytest.mark.parametrize("module", PROGRAMS)
def test_help_says_what_every_option_and_argument_is_for(module: str) -> None:
    for each in program(module).params:
        if isinstance(each, click.Option):
            assert each.help, each.name
        else:
            assert str(each.name).upper() in (program(module).help or ""), each.name


def test_the_commands_of_releases_and_recipes_parse() -> None:
    told = json.loads((SHIPPED / MANIFEST).read_text(encoding="utf-8"))["training"]["command"]
    documents = [path.read_text(encoding="utf-8") for path in (ROOT / "models" / "recipes").glob("*.md")]
    named = [command for text in (told, *documents) for command in commands(text)]
    assert {module for module, _ in named} == {*PROGRAMS} - {"models.train_arrays"}
    assert len(named) == 8
    for module, words in named:
        program(module).make_context(module, words)


def test_the_recipe_of_the_shipped_release_has_its_figures() -> None:
    """It kept those of the release before, whose thresholds were others."""
    metrics = load_release(SHIPPED).metrics
    recipe = (ROOT / "models" / "recipes" / "fashion-mnist.md").read_text(encoding="utf-8")
    table = recipe.split("## What was measured")[1].split("The same articles as a night")[0]
    told = dict(re.findall(r"^\| (.+?) \| ([\d.]+) \|$", table, re.MULTILINE))
    assert {name: float(value) for name, value in told.items()} == {
        "EfficientNetB0 alone": metrics["efficientnetb0_test_accuracy"],
        "Xception alone": metrics["xception_test_accuracy"],
        "both together": metrics["ensemble_test_accuracy"],
        "calibration error, 15 bins of equal mass": metrics["ensemble_test_calibration_error"],
        "published without a person": metrics["automatic_share"],
        "of these right": metrics["automatic_precision"],
    }

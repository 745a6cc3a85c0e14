"""Numbers and values for single networks on a command line: one sentence for each that cannot be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from models import train_arrays, train_fashion_mnist
from models.options import RATE, SEED, SHARE, per_network, value_of
from tests.programs import exit_code

NETWORKS = {"one": 1, "two": 2}


def read(kind: click.ParamType[Any], *words: str) -> Any:
    """Return what a command receives of the option `--x`, by network."""
    command = click.Command("test", params=[])
    per_network(NETWORKS, "--x", kind, "Text.")(command)
    given = [part for word in words for part in ("--x", word)]
    return command.make_context("test", given).params["x"]


def test_numbers_are_read() -> None:
    assert read(RATE, "1", "2.5e-4") == (("", 1.0), ("", 2.5e-4))
    assert read(SHARE, "0", ".15") == (("", 0.0), ("", 0.15))
    assert read(SEED, "0", "4294967295") == (("", 0), ("", 2**32 - 1))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (RATE, ("", "many", "0", "1e-999", "1e-40", "9e-10", "-1e-9", "nan", "inf", "-inf")),
        (SHARE, ("", "half", "-0.1", "1", "1.5", "nan", "inf")),
        (SEED, ("", "many", "1.5", "-1", "4294967296", "nan", "1e2")),
    ],
)
def test_numbers_outside_of_their_range_are_refused(kind: click.ParamType[Any], words: tuple[str, ...]) -> None:
    for word in words:
        with pytest.raises(click.BadParameter):
            read(kind, word)


def test_a_value_applies_to_all_networks_or_to_one_and_the_last_one_wins() -> None:
    values = read(click.IntRange(1), "12", "two=3", "7", "two=4")
    assert values == (("", 12), ("two", 3), ("", 7), ("two", 4))
    assert [value_of(values, name, 0) for name in NETWORKS] == [7, 4]
    assert [value_of(read(SHARE, "two=0"), name, 0.5) for name in NETWORKS] == [0.5, 0.0]
    assert value_of(read(RATE), "one", 0.5) == 0.5


def test_a_path_may_contain_an_equals_sign() -> None:
    values = read(click.STRING, "a=b.weights.h5", "two=c=d.weights.h5")
    assert [value_of(values, name, "") for name in NETWORKS] == ["a=b.weights.h5", "c=d.weights.h5"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--batch-size", "0"], "'--batch-size': 0 is not in the range x>=1."),
        (["--batch-size", "-8"], "'--batch-size': -8 is not in the range x>=1."),
        (["--batch-size", "many"], "'--batch-size': 'many' is not a valid integer range."),
        (["--learning-rate", "nan"], "'--learning-rate': 'nan' is not a number"),
        (["--learning-rate", "-0.1"], "'--learning-rate': -0.1 is not in the range x>0."),
        (["--learning-rate", "0"], "'--learning-rate': 0.0 is not in the range x>0."),
        (["--head-learning-rate", "0"], "'--head-learning-rate': 0.0 is not in the range x>0."),
        (["--learning-rate", "1e-40"], "'--learning-rate': 1e-40 is too small to change a weight; give at least 1e-09"),
        (["--learning-rate=-1e-4"], "'--learning-rate': -0.0001 is not in the range x>0."),
        (["--head-learning-rate", "inf"], "'--head-learning-rate': 'inf' is not a number"),
        (["--epochs", "-1"], "'--epochs': -1 is not in the range x>=0."),
        (["--head-epochs", "-2"], "'--head-epochs': -2 is not in the range x>=0."),
        (["--patience", "nan"], "'--patience': 'nan' is not a valid integer range."),
        (["--patience", "-3"], "'--patience': -3 is not in the range x>=1."),
        (["--warm-up", "1"], "'--warm-up': 1.0 is not in the range 0<=x<1."),
        (["--label-smoothing", "nan"], "'--label-smoothing': 'nan' is not a number"),
        (["--seed", "-1"], "'--seed': -1 is not in the range 0<=x<=4294967295."),
        (["--input-px", "0"], "'--input-px': 0 is not in the range x>=1."),
        (["--network", "inception"], "'--network': 'inception' is not one of 'efficientnetb0', "),
    ],
)
def test_train_arrays_refuses_impossible_numbers(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--arrays", str(tmp_path / "a.npz"), "--work-dir", str(tmp_path / "work"), "--output", "a.keras"]
    assert exit_code(train_arrays.main, ["--network", "xception", "--input-px", "71", *place, *words]) == 2
    assert f"\nError: Invalid value for {sentence}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--epochs", "xception=many"], "'--epochs': 'many' is not a valid integer range."),
        (["--epochs", "0"], "'--epochs': 0 is not in the range x>=1."),
        (
            ["--epochs", "inception=3"],
            "'--epochs': there is no network 'inception'; expected efficientnetb0 or xception before the =",
        ),
        (["--learning-rate", "xception=nan"], "'--learning-rate': 'nan' is not a number"),
        (["--label-smoothing", "efficientnetb0="], "'--label-smoothing': '' is not a valid float range."),
        (["--start-share", "1"], "'--start-share': 1.0 is not in the range 0<=x<1."),
        (["--start-share", "half"], "'--start-share': 'half' is not a valid float range."),
        (["--start-share", "-0.1"], "'--start-share': -0.1 is not in the range 0<=x<1."),
        (["--augmentation", "xception=strong"], "'--augmentation': 'strong' is not one of 'full', 'light'."),
        (["--network", "inception"], "'--network': 'inception' is not one of 'efficientnetb0', 'xception'."),
        (["--seed", "4294967296"], "'--seed': 4294967296 is not in the range 0<=x<=4294967295."),
        (["--limit", "-5"], "'--limit': -5 is not in the range x>=0."),
    ],
)
def test_train_fashion_mnist_refuses_impossible_numbers(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--work-dir", str(tmp_path / "work"), "--output", str(tmp_path / "out"), "--release-id", "a-1"]
    assert exit_code(train_fashion_mnist.main, [*place, *words]) == 2
    assert f"\nError: Invalid value for {sentence}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

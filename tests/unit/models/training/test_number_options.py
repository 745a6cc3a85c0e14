"""Numbers that the trainings' own command lines are given: one sentence for each that cannot be meant."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from models import train_arrays, train_fashion_mnist
from models.training.number_options import for_networks, rate, share, whole

BATCH = "argument --batch-size: expected a whole number of at least 1, received"
RATE = "expected a number of at least 0, as 1e-4, received"
SHARE = "expected a share from 0 to below 1, received"
SEED = "argument --seed: expected a whole number from 0 to 4294967295, received"


def test_numbers_are_read() -> None:
    assert [whole(0)("0"), whole(1, 7)("7")] == [0, 7]
    assert [rate("0"), rate("2.5e-4"), share("0"), share(".15")] == [0.0, 2.5e-4, 0.0, 0.15]
    both = for_networks(whole(1), ["one", "two"])
    assert [both("12"), both("two=3")] == ["12", "two=3"]


@pytest.mark.parametrize("word", ["", "many", "1.5", "-1", "0", "8", "nan", "1e2"])
def test_what_is_no_whole_number_in_the_range_is_refused(word: str) -> None:
    with pytest.raises(ArgumentTypeError, match=f"expected a whole number from 1 to 7, received '{word}'"):
        whole(1, 7)(word)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--batch-size", "0"], f"{BATCH} '0'"),
        (["--batch-size", "-8"], f"{BATCH} '-8'"),
        (["--batch-size", "many"], f"{BATCH} 'many'"),
        (["--learning-rate", "nan"], f"argument --learning-rate: {RATE} 'nan'"),
        (["--learning-rate", "-0.1"], f"argument --learning-rate: {RATE} '-0.1'"),
        (["--learning-rate=-1e-4"], f"argument --learning-rate: {RATE} '-1e-4'"),
        (["--head-learning-rate", "inf"], f"argument --head-learning-rate: {RATE} 'inf'"),
        (["--epochs", "-1"], "argument --epochs: expected a whole number of at least 0, received '-1'"),
        (["--head-epochs", "-2"], "argument --head-epochs: expected a whole number of at least 0, received '-2'"),
        (["--patience", "nan"], "argument --patience: expected a whole number of at least 1, received 'nan'"),
        (["--patience", "-3"], "argument --patience: expected a whole number of at least 1, received '-3'"),
        (["--warm-up", "1"], f"argument --warm-up: {SHARE} '1'"),
        (["--label-smoothing", "nan"], f"argument --label-smoothing: {SHARE} 'nan'"),
        (["--seed", "-1"], f"{SEED} '-1'"),
        (["--input-px", "0"], "argument --input-px: expected a whole number of at least 1, received '0'"),
    ],
)
def test_training_from_arrays_refuses_them(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--arrays", str(tmp_path / "a.npz"), "--work-dir", str(tmp_path / "work"), "--output", "a.keras"]
    with pytest.raises(SystemExit) as stopped:
        train_arrays.main(["--network", "xception", "--input-px", "71", *place, *words])
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--epochs", "xception=many"], "argument --epochs: expected a whole number of at least 1, received 'many'"),
        (["--epochs", "0"], "argument --epochs: expected a whole number of at least 1, received '0'"),
        (
            ["--epochs", "inception=3"],
            "there is no network 'inception'; expected efficientnetb0 or xception before the =",
        ),
        (["--learning-rate", "xception=nan"], f"argument --learning-rate: {RATE} 'nan'"),
        (["--label-smoothing", "efficientnetb0="], f"argument --label-smoothing: {SHARE} ''"),
        (["--start-share", "1"], f"argument --start-share: {SHARE} '1'"),
        (["--start-share", "half"], f"argument --start-share: {SHARE} 'half'"),
        (["--start-share", "-0.1"], f"argument --start-share: {SHARE} '-0.1'"),
        (["--seed", "4294967296"], f"{SEED} '4294967296'"),
        (["--limit", "-5"], "argument --limit: expected a whole number of at least 0, received '-5'"),
    ],
)
def test_training_on_articles_refuses_them(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--work-dir", str(tmp_path / "work"), "--output", str(tmp_path / "out"), "--release-id", "a-1"]
    with pytest.raises(SystemExit) as stopped:
        train_fashion_mnist.main([*place, *words])
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

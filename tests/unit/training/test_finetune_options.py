"""What is typed for finetune, and what it is told: phases for networks that have none are refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from jobs.cli.training import finetune
from jobs.errors import UsageError
from jobs.releases import aliases as releases
from jobs.releases.calibrate import Promise
from jobs.settings import Settings
from jobs.training import finetune as job
from models.release import SHIPPED
from sql.store import open_database


def config_of(monkeypatch: pytest.MonkeyPatch, home: Path, *words: str) -> Any:
    """Return what the job is told by a command line."""
    told: list[Any] = []
    monkeypatch.setenv("SHELFWISE_HOME", str(home))

    def run(config: Any, *, watch: Any) -> dict[str, Any]:
        told.append(config)
        return {}

    monkeypatch.setattr(job, "run", run)
    CliRunner().invoke(finetune, ["--release-id", "r-1", *words], catch_exceptions=False, standalone_mode=False)
    return told[0]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--start-from", "nothing", "--head-epochs", "1"], "trained whole; leave --head-epochs out"),
        (["--start-from", "nothing", "--unfreeze-from", "block6a"], "give --unfreeze-from as NETWORK=BLOCK"),
        (["--start-from", "xception=nothing", "--unfreeze-from", "block6"], "xception starts from nothing"),
        (["--start-from", "nothing", "--epochs", "0"], "with 0 epochs, of the head and after it, nothing is trained"),
        (["--head-epochs", "0", "--epochs", "0"], "with 0 epochs, of the head and after it, nothing is trained"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=sentence):
        config_of(monkeypatch, tmp_path, *words)


@pytest.mark.parametrize(
    "words", [["--learning-rate", "nan"], ["--floor", "nan"], ["--target-precision", "nan"], ["--learning-rate", "inf"]]
)
def test_nan_and_inf_are_refused(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is within all limits; as a floor it would be noticed when the release is written, after the training."""
    with pytest.raises(click.BadParameter, match=f"'{words[1]}' is not a number"):
        config_of(monkeypatch, tmp_path, *words)


def test_the_recorded_command_is_quoted_for_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--leave-out", "Home & Garden"]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/shelfwise", "finetune", *words])
    assert config_of(monkeypatch, tmp_path, *words).command == "shelfwise finetune --leave-out 'Home & Garden'"


def test_start_from_accepts_an_alias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFWISE_HOME", str(tmp_path))
    database = open_database(Settings().url)
    database.upgrade()
    releases.promote(Settings(), database, SHIPPED.name, "challenger")
    plans = config_of(monkeypatch, tmp_path, "--start-from", "challenger").networks
    assert {plan.start for plan in plans} == {str(SHIPPED)}


def test_class_weights_are_off_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With weights, confidences would speak of another catalog than the one that is tagged."""
    plain, weighted = (config_of(monkeypatch, tmp_path, *words).networks for words in ([], ["--class-weights"]))
    assert [plan.recipe.class_weights for plan in (*plain, *weighted)] == [False, False, True, True]


def test_target_precision_and_floor_are_passed_to_the_thresholds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert config_of(monkeypatch, tmp_path).promise == Promise(0.95, 0.2)
    assert config_of(monkeypatch, tmp_path, "--target-precision", "0.9", "--floor", "0.1").promise == Promise(0.9, 0.1)


def test_a_precision_is_promised_of_each_category_or_of_the_catalog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert config_of(monkeypatch, tmp_path).promise.by == "category"
    assert config_of(monkeypatch, tmp_path, "--promise", "catalog").promise == Promise(by="catalog")
    with pytest.raises(click.BadParameter, match="'shop' is not one of 'category', 'catalog'"):
        config_of(monkeypatch, tmp_path, "--promise", "shop")


def test_the_head_is_trained_first_unless_the_network_starts_from_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--start-from", "imagenet", "--start-from", "xception=nothing"]
    plans = config_of(monkeypatch, tmp_path, *words, "--unfreeze-from", "efficientnetb0=block6").networks
    assert [(plan.recipe.head_epochs, plan.recipe.unfreeze_from) for plan in plans] == [(2, "block6"), (0, "")]
    plans = config_of(monkeypatch, tmp_path, *words, "--head-epochs", "5").networks
    assert [plan.recipe.head_epochs for plan in plans] == [5, 0]

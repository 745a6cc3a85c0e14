"""The main figures of an evaluation as text, as a person reads it who decides on a release."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.cli import main as cli
from jobs.evaluation.config import EvaluateConfig
from jobs.evaluation.evaluate import run
from jobs.evaluation.markdown import markdown
from jobs.storage.places import Places
from models.release import Release
from models.spec import Category, Images, Predictions
from tests.labelled import BLUE, COLOURS, GREEN, RED, ColourPredictor, write_labelled

ODD = "toys.`\nred"
"""A category_id that only a release of another program has, so that a text which is the same is not changed."""


@pytest.fixture
def places(home: Path) -> Places:
    """A home with products of categories that one release knows, or two, or none."""
    labels = [(RED, 0), (GREEN, 2), (BLUE, 2), (ODD, 0), ("dull", 0)]
    labels += [(f"late{number:02d}", 0) for number in range(12)]
    found = Places(home)
    write_labelled(found, [(f"p{number:02d}", label, [colour]) for number, (label, colour) in enumerate(labels)])
    return found


def load_with(*leaves: str) -> Any:
    """Return what loads `shop-1`, which names colours, and any other release with these categories."""

    def load(place: Path) -> tuple[ColourPredictor, Release, None]:
        own = place.name != "shop-1"
        categories = tuple(Category(leaf, leaf) for leaf in leaves) if own else COLOURS.categories
        gates = {RED: 0.5} if own else dict.fromkeys((RED, GREEN, BLUE))
        release = replace(COLOURS, release_id=place.name, categories=categories, thresholds=gates)
        return ColourPredictor(), release, None

    return load


def compared(config: EvaluateConfig, *leaves: str) -> str:
    return markdown(run([Path("shop-1"), Path("shop-2")], config, load_with(*leaves))[0])


def test_two_releases_that_were_compared(places: Places) -> None:
    text = compared(EvaluateConfig(places, category_ids=(ODD,)), RED, GREEN, "toys.car")
    assert "| accuracy on all products | right where the other is wrong |\n" in text
    assert "| shop-1 | 0.5000 | 0 |\n| shop-2 | 0.5000 | 0 |\n" in text
    assert "| shop-1 | 0.0000 | - | 0.5000 |\n| shop-2 | 1.0000 | 0.5000 | 0.5000 |\n" in text
    assert "comes by chance with probability 1." in text
    assert "as not both releases know their categories: 15 (`cold.blue`, `toys. red`, `dull`, `late00`" in text
    assert "Measured without" not in text


def test_each_release_has_the_products_on_which_it_alone_is_right(places: Places) -> None:
    class Blind(ColourPredictor):
        def predict(self, images: Images) -> Predictions:
            return super().predict(np.zeros_like(images))

    def load(place: Path) -> tuple[ColourPredictor, Release, None]:
        predictor = ColourPredictor() if place.name == "shop-1" else Blind()
        return predictor, replace(COLOURS, release_id=place.name), None

    text = markdown(run([Path("shop-1"), Path("shop-2")], EvaluateConfig(places, category_ids=(ODD,)), load)[0])
    assert "| shop-1 | 0.6667 | 1 |\n| shop-2 | 0.3333 | 0 |\n" in text


def test_two_releases_of_which_only_one_knows_the_products(places: Places) -> None:
    config = EvaluateConfig(places, leave_out=("dull",), category_ids=(ODD,))
    text = compared(config, ODD, "toys.car", "toys.kite")
    assert "| shop-1" not in text
    assert "| shop-2 | 1.0000 | - |\n" in text
    assert "There is no comparison: no labelled product has a category that both shop-1 and shop-2 know" in text
    assert "Measured without `dull`." in text
    assert "Products left out, as shop-2 does not know their categories: 15 (`warm.red`, `cold.green`, " in text
    assert "`late06` and 5 more)." in text


def test_one_release(places: Places) -> None:
    document = run([Path("shop-1")], EvaluateConfig(places, known_only=True, category_ids=(ODD,)), load_with())[0]
    text = markdown(document)
    assert text.startswith("| release | accuracy on all products |\n| --- | --- |\n| shop-1 | 0.6667 |\n\n")
    assert "| release | published automatically | right of these | calibration error |\n" in text
    assert "| shop-1 | 0.0000 | - | 0.3667 |\n" in text
    assert "by chance" not in text
    assert "as shop-1 does not know their categories: 14 (`toys. red`, `dull`, " in text


@pytest.fixture
def evaluate(
    places: Places, tiny_release: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Call `shelfwise evaluate` with these options; return its exit code, and what it prints on stdout and stderr."""
    monkeypatch.setenv("SHELFWISE_RELEASE_DIR", str(tiny_release))
    monkeypatch.setattr("jobs.evaluation.evaluate.load_predictor", load_with())

    def call(*options: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["shelfwise", "evaluate", "--known-only", *options])
        code = 0
        try:
            cli.main()
        except SystemExit as left:
            code = int(left.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_the_command_prints_one_format(evaluate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.evaluation.evaluate.load_predictor", lambda _place: load_with()(Path("shop-1")))
    code, text, _ = evaluate("--format", "markdown")
    assert code == 0
    assert text.splitlines()[2] == "| shop-1 | 0.6667 |"
    assert "evaluation.json" not in text, "what is passed on to a page names no files"
    documents = [json.loads(evaluate(*form)[1]) for form in (("--json",), ("--format", "json"))]
    assert documents[0] == documents[1]
    assert markdown(documents[0]) == text
    plain = [evaluate(*form)[1] for form in ((), ("--format", "text"))]
    assert plain[0] == plain[1]
    assert "top1: 0.6667" in plain[0]


def test_two_formats_are_a_wrong_call(evaluate: Any) -> None:
    code, out, error = evaluate("--json", "--format", "markdown")
    assert (code, out) == (2, "")
    assert "--json asks for another format than --format markdown" in error

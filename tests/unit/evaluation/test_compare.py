"""Two releases on the same products, be their categories the same or not."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.errors import UsageError
from jobs.evaluation.config import EvaluateConfig
from jobs.evaluation.evaluate import compare, run
from jobs.evaluation.page import write
from jobs.evaluation.product_predictions import measure
from models.release import Release
from models.spec import Category, Images, Predictions
from tests.labelled import BLUE, COLOURS, GREEN, RED, ColourPredictor, measuring, write_labelled

PRODUCTS: list[tuple[str, str | None, list[int]]] = [
    ("p1", RED, [0]),
    ("p2", GREEN, [1]),
    ("p3", BLUE, [1]),  # answered green
    ("p4", BLUE, [0]),  # answered red
    ("p5", RED, [0, 0, 2]),
]
SHOP = (RED, GREEN, "cold.sky")
"""Another shop's name for what is blue."""


class Blind(ColourPredictor):
    """Answers red whatever it sees."""

    def predict(self, images: Images) -> Predictions:
        return super().predict(np.zeros_like(images))


def release_of(name: str, leaves: tuple[str, ...]) -> Release:
    categories = tuple(Category(leaf, leaf) for leaf in leaves)
    return replace(COLOURS, release_id=name, taxonomy_version=f"of-{name}", categories=categories)


def compared(config: EvaluateConfig, second: tuple[str, ...]) -> dict[str, Any]:
    """Compare `old`, which knows red, green and blue, with `new`, which is blind and knows others."""
    sides = {"old": (ColourPredictor(), COLOURS), "new": (Blind(), release_of("new", second))}

    def load(place: Path) -> tuple[ColourPredictor, Release, None]:
        predictor, release = sides[place.name]
        return predictor, replace(release, release_id=place.name), None

    return run([Path("old"), Path("new")], config, load)[0]


@pytest.fixture
def config(tmp_path: Path) -> EvaluateConfig:
    return measuring(tmp_path, PRODUCTS)


def test_two_releases_are_compared_product_by_product(config: EvaluateConfig) -> None:
    first, second = (measure(one, COLOURS, config.images(), config) for one in (ColourPredictor(), Blind()))
    found = compare(first, second, (COLOURS, replace(COLOURS, release_id="blind")))
    assert (found["both"], found["only_first"], found["only_second"], found["neither"]) == (2, 1, 0, 2)
    assert found["accuracy"] == {"colours-1": pytest.approx(3 / 5), "blind": pytest.approx(2 / 5)}
    green = next(row for row in found["categories"] if row["category_id"] == GREEN)
    assert (green["only_first"], green["only_second"]) == (1, 0)


def test_releases_are_compared_on_the_categories_that_both_know(config: EvaluateConfig) -> None:
    """Products of a category that one of them lacks are left out, also where it is the new one's own."""
    write_labelled(config.places, [("p6", "cold.sky", [2]), ("p7", "warm.late", [0])], version=1)
    document = compared(config, SHOP)
    pair = document["comparison"]
    assert document["products"] == 3, "p1, p2 and p5"
    assert (pair["first"], pair["second"]) == ("old", "new")
    assert pair["accuracy"] == {"old": 1.0, "new": pytest.approx(2 / 3)}
    assert (pair["both"], pair["only_first"], pair["only_second"], pair["neither"]) == (2, 1, 0, 0)
    assert [row["category_id"] for row in pair["categories"]] == [RED, GREEN]
    assert pair["left_out"] == {"products": 4, "categories": 3, "named": [BLUE, "cold.sky", "warm.late"]}
    assert "reason" not in pair


def test_a_comparison_shows_the_automatic_share_of_both_releases(config: EvaluateConfig, tmp_path: Path) -> None:
    """By the gates of each: of the old one's answers red goes out, of the new one's nothing."""
    old = replace(COLOURS, release_id="old", thresholds={RED: 0.9, GREEN: None, BLUE: None})
    new = replace(COLOURS, release_id="new", thresholds=dict.fromkeys((RED, GREEN, BLUE), 0.95))
    predictors = {"old": ColourPredictor(), "new": Blind()}
    releases = {"old": old, "new": new}
    document, measured, _ = run(
        [Path("old"), Path("new")], config, lambda place: (predictors[place.name], releases[place.name], None)
    )
    pair = document["comparison"]
    # p1 rightly and p4 wrongly, at 0.9; p5 is red at less than that.
    assert pair["automatic"] == {"old": {"share": 2 / 5, "precision": 0.5}, "new": {"share": 0.0, "precision": None}}
    old_error = (0.1 + 0.1 + 0.9 + 0.9 + 1.15 / 3) / 5
    assert pair["calibration_error"] == {"old": pytest.approx(old_error), "new": pytest.approx((2 * 0.1 + 3 * 0.9) / 5)}
    assert document["levels"][0]["calibration"]["after"] == pytest.approx(old_error)
    page = write(tmp_path / "out", document, measured, old, config.places)[1].read_text(encoding="utf-8")
    rows = page[page.index("of the same products") :]
    for name, told in {
        "of the same products": ["old", "new"],
        "right at first answer": ["0.6000", "0.4000"],
        "published without a person": ["0.4000", "0.0000"],
        "of these right": ["0.5000", ""],
        "calibration error": ["0.4767", "0.5800"],
    }.items():
        row = rows[rows.index(name) :].split("</tr>")[0]
        assert re.findall(r"<t[hd][^>]*>([^<]*)</t", row) == told


def test_each_release_answers_with_all_its_categories(config: EvaluateConfig) -> None:
    """Blue is not compared, and yet who takes a green product for it is wrong."""
    write_labelled(config.places, [("p6", GREEN, [2])], version=1)
    assert compared(config, SHOP)["comparison"]["accuracy"]["old"] == pytest.approx(3 / 4)


def test_releases_with_the_same_categories_leave_no_product_out(config: EvaluateConfig) -> None:
    left_out = compared(config, (BLUE, GREEN, RED))["comparison"]["left_out"]
    assert left_out == {"products": 0, "categories": 0, "named": []}


def test_without_common_categories_the_new_release_is_measured_alone(config: EvaluateConfig) -> None:
    write_labelled(config.places, [("p6", "toys.car", [0]), ("p7", "toys.doll", [1])], version=1)
    document = compared(config, ("toys.car", "toys.doll", "toys.kite"))
    assert (document["release_id"], document["products"], document["levels"][0]["top1"]) == ("new", 2, 0.5)
    pair = document["comparison"]
    assert pair["reason"] == ("no labelled product has a category that both old and new know, so new is measured alone")
    assert (pair["first"], pair["second"], pair["accuracy"]) == ("old", "new", {"new": 0.5})
    assert pair["left_out"] == {"products": 5, "categories": 3, "named": [RED, BLUE, GREEN]}


def test_a_release_that_knows_none_of_the_labels_is_refused(config: EvaluateConfig) -> None:
    sentence = r"new \(taxonomy of-new\) was .* none of the 3 labels .* such as cold.blue.*such as toys.a.* --release"
    new = release_of("new", ("toys.a", "toys.b", "toys.c"))
    for call in (
        lambda: compared(config, ("toys.a", "toys.b", "toys.c")),
        lambda: run([Path("new")], config, lambda place: (Blind(), new, None)),
    ):
        with pytest.raises(UsageError, match=sentence):
            call()


def test_measuring_one_release_refuses_labels_that_it_does_not_know(config: EvaluateConfig) -> None:
    with pytest.raises(UsageError, match=r"labelled 'cold.blue', which release new .* does not know"):
        run([Path("new")], config, lambda place: (Blind(), release_of("new", SHOP), None))


def test_the_error_for_a_parent_label_names_a_category_below_it(config: EvaluateConfig) -> None:
    """The products fit, and their labels are not deep enough."""
    deeper = (f"{RED}.dark", f"{GREEN}.dark", f"{BLUE}.dark")
    with pytest.raises(UsageError, match=r"with one of the categories below it, such as cold.blue.dark"):
        compared(config, deeper)


def test_the_page_shows_which_products_were_left_out(config: EvaluateConfig, tmp_path: Path) -> None:
    many = [(f"q{number:02d}", f"late.<b>{number:02d}", [0]) for number in range(12)]
    write_labelled(config.places, many, version=1)
    config = replace(config, category_ids=tuple(label for _, label, _ in many))  # else they would become late-b.00
    measured = measure(ColourPredictor(), COLOURS, replace(config, leave_out=("late",)).images(), config)
    document = compared(config, SHOP)
    page = write(tmp_path / "one", document, measured, COLOURS, config.places)[1].read_text(encoding="utf-8")
    assert "14 products of 13 categories left out, as\n  not both releases know them: " in page
    assert "<bdi>cold.blue</bdi>, <bdi>late.&lt;b&gt;00</bdi>," in page
    assert "and 3 more." in page
    assert "McNemar" in page
    alone = compared(config, ("late.<b>00", "toys.a", "toys.b"))
    page = write(tmp_path / "two", alone, measured, COLOURS, config.places)[1].read_text(encoding="utf-8")
    assert "There is no comparison: no labelled product has a category that both old and new know" in page
    assert "McNemar" not in page

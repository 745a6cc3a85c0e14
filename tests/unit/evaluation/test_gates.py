"""What an evaluation says of images that the release does not know, with a played gate and played groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jobs.evaluation.gates
from jobs.evaluation import evaluate
from jobs.evaluation.config import EvaluateConfig
from jobs.evaluation.evaluate import figures, run
from jobs.evaluation.gates import JudgedImages, LabelledGates
from jobs.evaluation.image_predictions import answered, features_of
from jobs.evaluation.page import write
from jobs.evaluation.product_predictions import Measured, measure
from jobs.storage.places import Places
from models.answers.groups import ImageCount
from models.answers.reasons import REVIEW_REASONS
from models.known.gate import ImageGate
from models.release import Release
from models.spec import Images, Predictions
from sql.records import REVIEW_REASONS as MEANINGS
from tests.labelled import BLUE, COLOURS, GREEN, RED, ColourPredictor, write_labelled
from tests.played_gate import PlayedGate, knowing

IS_RED, IS_GREEN, IS_BLUE = range(3)
"""Feature of the brightest channel: a gate with it takes images of that colour for foreign."""

REMEDY = f"shelfwise release calibrate {COLOURS.release_id} --release-id NEW"
Counts = Mapping[str, ImageCount]


class Groups:
    """Stands for `models.answers.groups`: holds back what a test names, and notes which counts it was given."""

    def __init__(self) -> None:
        self.held, self.night, self.counts = list[str](), False, list[Counts]()

    def foreign_groups(self, counts: Counts) -> list[str]:
        """Return the named categories that have images."""
        self.counts.append(counts)
        return [name for name in counts if name in self.held]

    def foreign_whole(self, counts: Counts) -> bool:
        """Return whether the test plays a foreign night."""
        return self.night


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> Groups:
    played = Groups()
    monkeypatch.setattr(jobs.evaluation.gates, "foreign_groups", played.foreign_groups)
    monkeypatch.setattr(jobs.evaluation.gates, "foreign_whole", played.foreign_whole)
    return played


def measured_by(config: EvaluateConfig, gate: ImageGate | None, release: Release | None = None) -> Measured:
    return measure(ColourPredictor(), release or knowing(COLOURS), config.images(), config, gate)


def answers_of(measured: Measured) -> dict[str, tuple[str | None, str, str | None]]:
    """Return the category, status and reason of each product."""
    answers = zip(measured.product_ids, measured.answers, strict=True)
    return {name: (answer.category_id, answer.status, answer.review_reason) for name, answer in answers}


def test_an_image_that_the_release_does_not_know_has_no_say_beside_others(
    config: EvaluateConfig, groups: Groups
) -> None:
    """Of p5 two images are red and one, which is foreign, is blue."""
    without = measured_by(config, None)
    assert answers_of(without)["p5"] == (RED, "review", "below_threshold")
    found = measured_by(config, PlayedGate(IS_BLUE))
    assert answers_of(found)["p5"] == (RED, "auto", None)
    assert found.confidences.tolist() == pytest.approx([0.9] * 5)
    assert found.levels[0].raw_confidences.tolist() == pytest.approx([0.9, 0.475, 0.475, 0.9, 0.9])
    assert {name: answers_of(found)[name] for name in ("p1", "p2", "p3", "p4")} == {
        name: answers_of(without)[name] for name in ("p1", "p2", "p3", "p4")
    }
    assert found.gates.by_leaf == {RED: ImageCount(4, 0), GREEN: ImageCount(2, 0), BLUE: ImageCount(1, 1)}
    assert groups.counts == [found.gates.by_leaf]


def test_each_network_answers_a_product_from_the_images_that_decide(config: EvaluateConfig, groups: Groups) -> None:
    """Without its two red images p5 is blue to both networks."""
    found = measured_by(config, PlayedGate(IS_RED))
    leaf = found.levels[0]
    assert {name: leaf.names[winners[4]] for name, winners in leaf.by_network.items()} == {
        "efficientnetb0": BLUE,
        "xception": BLUE,
    }


def test_a_product_of_foreign_images_alone_goes_to_a_person(config: EvaluateConfig, groups: Groups) -> None:
    found = measured_by(config, PlayedGate(IS_RED))
    assert answers_of(found) == {
        "p1": (RED, "review", "foreign_image"),
        "p2": (GREEN, "auto", None),
        "p3": (GREEN, "auto", None),
        "p4": (RED, "review", "foreign_image"),
        "p5": (BLUE, "auto", None),
    }
    document = figures(found, knowing(COLOURS))
    assert document["review_reasons"] == {"foreign_image": 2}
    assert document["decisions"]["auto"]["products"] == 3
    gate = document["gate"]
    assert (gate["state"], gate["images"], gate["foreign"], gate["not_computed"]) == ("computed", 7, 4, 0)
    assert gate["scores"]["p99"] >= gate["scores"]["median"] > 1


@pytest.mark.parametrize(
    ("held", "products"),
    [
        ([GREEN], {"p2", "p3"}),
        ([RED], {"p1", "p4", "p5"}),
        ([BLUE], set()),
        ([RED, GREEN], {"p1", "p2", "p3", "p4", "p5"}),
    ],
)
def test_answers_of_a_foreign_group_are_held_back(
    config: EvaluateConfig, groups: Groups, held: list[str], products: set[str]
) -> None:
    """The only blue image is foreign itself, and has no say in its product's answer."""
    groups.held = held
    found = measured_by(config, PlayedGate(IS_BLUE))
    assert found.gates.foreign_groups == tuple(held)
    without = dict.fromkeys(found.product_ids, ("auto", None))
    assert {name: (status, reason) for name, (_, status, reason) in answers_of(found).items()} == {
        **without,
        **dict.fromkeys(products, ("review", "foreign_group")),
    }
    rows = figures(found, knowing(COLOURS))["gate"]["foreign_groups"]
    assert [row["category_id"] for row in rows] == held
    assert all(row["images"] == found.gates.by_leaf[row["category_id"]].images for row in rows)


def test_a_foreign_group_is_found_by_the_best_leaf_also_where_the_answer_is_another(
    config: EvaluateConfig, groups: Groups
) -> None:
    """The answers are `cold`, a parent of the leaves; the images were put into the leaf green."""
    groups.held = [GREEN]
    release = replace(knowing(COLOURS), thresholds={GREEN: None, RED: None, BLUE: None, "cold": 0.9})
    found = answers_of(measured_by(config, PlayedGate(IS_BLUE), release))
    assert found["p2"] == found["p3"] == ("cold", "review", "foreign_group")
    assert found["p1"] == (RED, "review", "below_threshold")


def test_all_answers_of_a_foreign_night_are_held_back(config: EvaluateConfig, groups: Groups) -> None:
    groups.night, groups.held = True, [GREEN]
    found = measured_by(config, PlayedGate(IS_RED))
    assert {reason for _, _, reason in answers_of(found).values()} == {"foreign_night"}
    assert {status for _, status, _ in answers_of(found).values()} == {"review"}
    gate = figures(found, knowing(COLOURS))["gate"]
    assert (gate["foreign_night"], gate["foreign_groups"]) == (True, [])


class Overflowing(ColourPredictor):
    """Has no finite features for blue images."""

    def predict(self, images: Images) -> Predictions:
        found = super().predict(images)
        values = found.features["efficientnetb0"]
        values[values[:, IS_BLUE] > 1] = np.nan
        return found


def test_images_without_a_score_hold_their_products_back_and_are_counted(
    config: EvaluateConfig, groups: Groups
) -> None:
    """Of p5 two images are red; the blue one has a say, and it could not be computed whether it is known."""
    write_labelled(config.places, [("p7", BLUE, [2])], version=1)
    found = measure(Overflowing(), knowing(COLOURS), config.images(), config, PlayedGate(IS_GREEN))
    assert answers_of(found)["p7"] == (BLUE, "review", "gate_closed")
    assert answers_of(found)["p5"] == (RED, "review", "gate_closed")
    assert found.confidences[found.product_ids.index("p5")] == pytest.approx((0.9 + 0.9 + 0.05) / 3)
    gate = figures(found, knowing(COLOURS))["gate"]
    assert (gate["state"], gate["not_computed"], gate["images"], gate["foreign"]) == ("closed", 2, 6, 2)
    assert np.isfinite(list(gate["scores"].values())).all()


def test_without_any_score_no_group_is_looked_at(config: EvaluateConfig, groups: Groups) -> None:
    groups.night = True

    class Featureless(ColourPredictor):
        def predict(self, images: Images) -> Predictions:
            return replace(super().predict(images), features={})

    found = measure(Featureless(), knowing(COLOURS), config.images(), config, PlayedGate(IS_GREEN))
    assert {reason for _, _, reason in answers_of(found).values()} == {"gate_closed"}
    assert (found.gates, groups.counts) == (LabelledGates("closed", not_computed=7, remedy=REMEDY), [])


def test_a_release_without_a_description_trusts_every_image(config: EvaluateConfig, groups: Groups) -> None:
    found = measured_by(config, None, COLOURS)
    assert figures(found, COLOURS)["gate"] == {
        "state": "open",
        "images": 0,
        "foreign": 0,
        "not_computed": 0,
        "foreign_night": False,
        "foreign_groups": [],
        "scores": {},
        "remedy": REMEDY,
    }
    assert groups.counts == []


def test_images_are_judged_once_in_the_batches_that_were_predicted(config: EvaluateConfig) -> None:
    """The only image of p0 does not decode, and nobody judges it."""
    write_labelled(config.places, [("p0", RED, [-1])], version=1)
    gate, images = PlayedGate(IS_BLUE), config.images()
    found = answered(ColourPredictor(), images[::-1], config, gate=gate)
    assert (gate.calls, found.failed) == ([4, 3], 1)
    assert found.untrusted == [None] * 6 + ["foreign_image"], "p5's last image, in order of product and image_no"
    assert found.scores is not None
    assert (found.scores > 1).tolist() == [False] * 6 + [True]


def test_a_deciding_image_is_one_that_is_not_foreign_or_whose_product_has_foreign_ones_alone() -> None:
    foreign, closed = "foreign_image", "gate_closed"
    reasons = [foreign, None, foreign, foreign, None, closed, foreign]
    images = JudgedImages(np.zeros(7, np.int32), np.array([0, 0, 1, 1, 2, 3, 3]), reasons, np.zeros(7))
    assert images.deciding.tolist() == [False, True, True, True, True, True, False]


def test_features_are_those_of_each_image_in_order_of_the_products(tmp_path: Path) -> None:
    places = Places(tmp_path)
    write_labelled(places, [("p3", BLUE, [2, 0]), ("p1", RED, [-1, 0, 1]), ("p2", GREEN, [1])])
    config = EvaluateConfig(places, batch_size=2)
    found = features_of(ColourPredictor(), config.images()[::-1], config)
    assert list(found.products) == ["p1", "p1", "p2", "p3", "p3"], "p1's first image does not decode"
    assert list(found.contents) == ["p1-1-0", "p1-2-0", "p2-0-0", "p3-0-0", "p3-1-0"]
    assert found.features["efficientnetb0"].argmax(axis=1).tolist() == [0, 1, 1, 2, 0]
    assert found.features["xception"].argmax(axis=1).tolist() == [2, 1, 1, 0, 2], "in its own order of the channels"
    assert {values.dtype for values in found.features.values()} == {np.dtype(np.float32)}
    nothing = features_of(ColourPredictor(), [], config)
    assert (len(nothing.products), len(nothing.contents), dict(nothing.features)) == (0, 0, {})


@pytest.fixture
def compared(config: EvaluateConfig, groups: Groups) -> tuple[dict[str, Any], Measured, Release]:
    """A release without a gate against one that takes red images for foreign, and green ones for a foreign group."""
    groups.held = [GREEN]
    sides: dict[str, tuple[Release, ImageGate | None]] = {
        "old": (COLOURS, None),
        "new": (knowing(COLOURS), PlayedGate(IS_RED)),
    }

    def load(place: Path) -> tuple[ColourPredictor, Release, ImageGate | None]:
        release, gate = sides[place.name]
        return ColourPredictor(), replace(release, release_id=place.name), gate

    return run([Path("old"), Path("new")], config, load)


def test_a_release_with_a_gate_is_compared_with_one_without(
    compared: tuple[dict[str, Any], Measured, Release],
) -> None:
    pair = compared[0]["comparison"]
    assert {name: gate["state"] for name, gate in pair["gate"].items()} == {"old": "open", "new": "computed"}
    assert pair["gate"]["new"]["foreign"] == 4
    assert pair["automatic"]["old"]["share"] == pytest.approx(4 / 5)
    assert pair["automatic"]["new"]["share"] == pytest.approx(1 / 5)


def page_of(config: EvaluateConfig, document: dict[str, Any], measured: Measured, release: Release) -> str:
    page = write(Path(str(config.places.home)) / "out", document, measured, release, config.places)[1].read_text(
        encoding="utf-8"
    )
    return " ".join(page.split())


def test_the_page_of_a_comparison_shows_both_gates(
    config: EvaluateConfig, compared: tuple[dict[str, Any], Measured, Release]
) -> None:
    page = page_of(config, *compared)
    row = page[page.index("images beyond its limit") :].split("</tr>")[0]
    assert "<td>not looked at</td><td>4 of 7</td>" in row
    assert "has no description of the images that it knows" in page


def test_the_page_shows_the_reasons_the_limit_and_the_held_groups(config: EvaluateConfig, groups: Groups) -> None:
    groups.held = [GREEN]
    write_labelled(config.places, [("p7", BLUE, [2])], version=1)

    def load(_: Path) -> tuple[ColourPredictor, Release, ImageGate | None]:
        return Overflowing(), knowing(COLOURS), PlayedGate(IS_RED)

    page = page_of(config, *run([Path("one")], config, load))
    assert "4 of 6 images are unlike those that the release was calibrated on" in page
    assert "There is no score for 2 more images" in page
    assert f"<bdi>{GREEN}</bdi></td><td>2</td><td>0</td>" in page
    for reason, products in {"gate_closed": 2, "foreign_group": 2, "foreign_image": 2}.items():
        row = page[page.index(f">{reason}</td>") :].split("</tr>")[0]
        assert f"<td>{products}</td>" in row
        assert MEANINGS[reason].replace("`", "") in row.replace("`", "")
    assert "has no description" not in page


def test_every_reason_has_its_meaning_on_the_page() -> None:
    assert tuple(MEANINGS) == REVIEW_REASONS


def test_a_release_is_loaded_with_its_gate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gate, built = PlayedGate(), ColourPredictor()
    given: list[object] = []

    def note(result: object) -> Callable[..., object]:
        return lambda *arguments: given.append(arguments) or result  # type: ignore[func-returns-value]

    monkeypatch.setattr(evaluate, "load_release", lambda _: COLOURS)
    monkeypatch.setattr(evaluate, "load_gate", note(gate))
    monkeypatch.setattr("models.serving.predictor.EnsemblePredictor", note(built))
    assert evaluate.load_predictor(tmp_path) == (built, COLOURS, gate)
    assert given == [(COLOURS, tmp_path)] * 2

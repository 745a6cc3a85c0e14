"""Evaluation over a real dataset and a fake predictor: every figure is known beforehand."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from jobs.cli.training import _short
from jobs.errors import RunFailed, UsageError
from jobs.evaluation.config import EvaluateConfig
from jobs.evaluation.evaluate import decisions, figures, run, usual_part
from jobs.evaluation.image_predictions import Answered
from jobs.evaluation.page import _matrix, worst_mistakes, write
from jobs.evaluation.product_predictions import Measured, combined_by_product, measure
from models.answers.calibration import combine
from models.answers.promises import CURVE, CategoryPromise
from models.release import Release
from models.spec import Category, Images, Predictions
from tests.labelled import BLUE, COLOURS, DAY, GREEN, RED, ColourPredictor, measuring, write_labelled


def measured_on(config: EvaluateConfig, release: Release = COLOURS) -> Measured:
    return measure(ColourPredictor(), release, config.images(), config)


def load(directory: Path) -> tuple[ColourPredictor, Release, None]:
    return ColourPredictor(), replace(COLOURS, release_id=directory.name), None


def test_a_product_is_answered_from_all_its_images(config: EvaluateConfig) -> None:
    found = measured_on(config)
    assert found.product_ids == ("p1", "p2", "p3", "p4", "p5")
    assert found.labels.tolist() == [0, 1, 2, 2, 0]
    assert found.hits.tolist() == [True, True, False, False, True]
    assert found.confidences.tolist() == pytest.approx([0.9, 0.9, 0.9, 0.9, (0.9 + 0.9 + 0.05) / 3])
    assert (found.images, found.failed) == (7, 0)


def test_metrics_match_values_computed_by_hand(config: EvaluateConfig) -> None:
    document, _, _ = run([Path("one")], config, load)
    leaf, group = document["levels"]
    assert (document["products"], document["images"], leaf["leaf"], group["leaf"]) == (5, 7, True, False)
    assert leaf["top1"] == pytest.approx(3 / 5)
    assert group["top1"] == pytest.approx(4 / 5)  # green for blue is still cold
    assert [row["category_id"] for row in group["categories"]] == ["cold", "warm"]
    # The second network takes p2's and p3's green for blue, so p2 is wrong and p3 is right with it alone.
    assert leaf["networks"] == {"efficientnetb0": pytest.approx(3 / 5), "xception": pytest.approx(3 / 5)}
    assert (leaf["agreement"], group["agreement"]) == (pytest.approx(3 / 5), 1.0)
    assert leaf["accuracy_where_networks_differ"] == pytest.approx(1 / 2)
    assert json.loads(json.dumps(document)) is not None


class Sharpened(ColourPredictor):
    """Calibrated by a temperature of a half: every probability is squared and normalised."""

    def predict(self, images: Images) -> Predictions:
        by_network = super().predict(images).by_network
        return Predictions(combine(by_network, weights=dict.fromkeys(by_network, 0.5), temperature=0.5), by_network)


def test_calibration_of_every_level_matches_values_computed_by_hand(config: EvaluateConfig) -> None:
    """Before: p1 is 0.9, p2 and p3 0.475 for a leaf and 0.95 for cold, p4 wrongly 0.9, p5 (0.9 + 0.9 + 0.05) / 3."""
    document, _, _ = run([Path("one")], config, lambda place: (Sharpened(), COLOURS, None))
    leaf, group = document["levels"]
    sure, even, cold = 0.81 / 0.815, 0.225625 / 0.45375, 0.45125 / 0.45375
    mixed = (2 * sure + 0.0025 / 0.815) / 3
    expected = {
        "leaf before": [0.1, 0.525, 0.475, 0.9, 1.15 / 3],
        "leaf after": [1 - sure, 1 - even, even, sure, 1 - mixed],
        "group before": [0.1, 0.05, 0.05, 0.9, 1.15 / 3],
        "group after": [1 - sure, 1 - cold, 1 - cold, sure, 1 - mixed],
    }
    for name, level in (("leaf", leaf), ("group", group)):
        for when in ("before", "after"):
            assert level["calibration"][when] == pytest.approx(np.mean(expected[f"{name} {when}"]), abs=1e-5), when
        assert len(level["calibration"]["reliability"]) == len(level["calibration"]["reliability_before"]) == 5
        assert level["calibration"]["reliability"][-1][0] == pytest.approx(sure if name == "leaf" else cold, abs=1e-5)
        assert level["calibration"]["reliability_before"][-1][0] == pytest.approx(0.9 if name == "leaf" else 0.95)
        assert level["risk_coverage"][-1][1:] == (1.0, pytest.approx(1 - level["top1"]))
    told = _short(document)
    assert told["calibration_error"] < told["calibration_error_before"] == leaf["calibration"]["before"]


@pytest.mark.parametrize(
    ("training", "part"),
    [
        ({}, "all"),
        ({"imported_from": "b0.keras"}, "all"),
        ({"train_images": 70}, "test"),
        ({"imported_from": "b0.keras", "calibrated_on_part": "train"}, "test"),
    ],
)
def test_a_release_fitted_on_the_catalog_is_measured_on_the_part_test(training: dict[str, object], part: str) -> None:
    release = replace(COLOURS, training=training)
    assert usual_part([release])[0] == usual_part([COLOURS, release])[0] == part
    assert ("colours-1 may have been fitted" in usual_part([COLOURS, release])[1]) == (part == "test")


def test_decisions_are_the_same_as_in_serving(config: EvaluateConfig) -> None:
    policy = replace(COLOURS, thresholds={RED: 0.9, GREEN: None, "cold": 0.9})
    found = decisions(measured_on(config, policy), policy)
    assert found["auto"] == {"products": 2, "share": 2 / 5, "precision": 0.5}  # p1 and, wrongly, p4
    assert found["suggested_above_leaf"] == {"products": 2, "share": 2 / 5, "precision": 1.0}  # p2 and p3
    assert found["review"] == {"products": 1, "share": 1 / 5, "precision": 1.0}  # p5
    assert found["unknown"]["products"] == 0


def test_an_evaluation_has_the_promise_of_each_category_and_what_was_published(config: EvaluateConfig) -> None:
    promises = {
        RED: CategoryPromise("own", examples=300, above=299, right=298),
        GREEN: CategoryPromise("pool", "cold", examples=40, above=40, right=40),
        BLUE: CategoryPromise("pool", "cold", examples=30, above=25, right=25),
    }
    curve = [{"target_precision": 0.9, "category": 0.62, "catalog": 0.72}]
    release = replace(
        COLOURS,
        thresholds={RED: 0.85, GREEN: 0.45, BLUE: 0.45},
        promises=promises,
        training={"target_precision": 0.95, CURVE: curve},
    )
    document = figures(measured_on(config, release), release)
    assert (document["target_precision"], document[CURVE]) == (0.95, curve)
    rows = {row["category_id"]: row for row in document["promises"]}
    assert list(rows) == [RED, GREEN, BLUE]
    # p1 is red and p4 is blue, answered red; p2 is green and p3 is blue, answered green; p5 is unsure.
    assert {name: (row["published"], row["published_right"]) for name, row in rows.items()} == {
        RED: (2, 1),
        GREEN: (2, 1),
        BLUE: (0, 0),
    }
    assert document["decisions"]["auto"]["products"] == 4
    assert {name: (row["kind"], row["members"], row["threshold"]) for name, row in rows.items()} == {
        RED: ("own", 1, 0.85),
        GREEN: ("pool", 2, 0.45),
        BLUE: ("pool", 2, 0.45),
    }
    assert "on average over these 2 categories below cold, in the shares seen in calibration" in rows[BLUE]["text"]


def test_a_newer_content_replaces_the_older_one(config: EvaluateConfig) -> None:
    write_labelled(config.places, [("p4", BLUE, [2])], day=date(2026, 11, 2), version=1)
    assert measured_on(config).hits.tolist() == [True, True, False, True, True]
    before = replace(config, last=DAY)
    assert measured_on(before).hits.tolist() == [True, True, False, False, True]


def test_an_image_content_that_returned_is_measured_once(config: EvaluateConfig) -> None:
    """The first night's picture of p1 gave way to another one and is there again: two files hold the same content."""
    write_labelled(config.places, [("p1", RED, [2])], day=date(2026, 11, 2), version=1)
    write_labelled(config.places, [("p1", RED, [0])], day=date(2026, 11, 3), version=0)
    found = measured_on(config)
    assert (found.images, found.hits.tolist()) == (7, [True, True, False, False, True])


def test_before_and_after_differ_by_the_temperature_alone(config: EvaluateConfig) -> None:
    """Also for products of several images, of each of which no more than the best categories are stored."""
    categories = tuple(Category(f"c{number:02d}", f"C{number}") for number in range(16))
    release = replace(COLOURS, categories=categories)
    images = [replace(image, category_id="c03") for image in config.images()]
    rows = np.random.default_rng(3).dirichlet(np.full(16, 0.8), (2, len(images))).astype(np.float32)
    parts = {"efficientnetb0": rows[0], "xception": rows[1]}
    for temperature, same in ((1.0, True), (0.5, False)):
        answered = combine(parts, weights=dict.fromkeys(parts, 0.5), temperature=temperature)
        found = combined_by_product(release, Answered(images, {**parts, "": answered}))
        assert np.allclose(found.raw, found.confidences, atol=1e-5) == same


def test_an_image_that_no_longer_decodes_is_counted_and_left_out(config: EvaluateConfig) -> None:
    write_labelled(config.places, [("p9", RED, [-1])], version=2)
    found = measured_on(config)
    assert ("p9" in found.product_ids, found.failed) == (False, 1)


def test_the_page_stands_alone_and_escapes_what_catalogs_say(config: EvaluateConfig, tmp_path: Path) -> None:
    write_labelled(config.places, [("<script>alert(1)</script>", BLUE, [0])], version=3)
    document, measured, release = run([Path("one"), Path("two")], config, load)
    as_json, page = write(tmp_path / "out", document, measured, release, config.places)
    text = page.read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "http" not in text.replace("http-equiv", "")
    assert text.count("data:image/webp;base64,UklGR") == 3
    assert text.count("<svg") == 4, "two for each of two levels"
    assert json.loads(as_json.read_text(encoding="utf-8"))["comparison"]["p_value"] == 1.0


def test_the_evaluation_records_left_out_categories_and_dates(config: EvaluateConfig, tmp_path: Path) -> None:
    def told(config: EvaluateConfig) -> tuple[dict[str, object], dict[str, object], str]:
        as_json, page = write(tmp_path, *run([Path("one")], config, load), config.places)
        document = json.loads(as_json.read_text(encoding="utf-8"))
        head = page.read_text(encoding="utf-8").split("Taxonomy")[0]
        names = ("leave_out", "first", "last")
        shown = _short(document)
        return {name: document[name] for name in names}, {n: shown[n] for n in names if n in shown}, head

    everything, short, head = told(config)
    assert (everything, short) == ({"leave_out": [], "first": None, "last": None}, {})
    assert "all parts." in head
    given = {"leave_out": [BLUE, RED], "first": DAY.isoformat(), "last": "2026-11-02"}
    part, short, head = told(replace(config, leave_out=(BLUE, RED), first=DAY, last=date(2026, 11, 2)))
    assert (part, short) == (given, {**given, "leave_out": f"{BLUE}, {RED}"})
    assert f"without <bdi>{BLUE}</bdi>, <bdi>{RED}</bdi>, ingested from 2026-11-01 to 2026-11-02." in head
    assert "all parts, ingested to 2026-11-01." in told(replace(config, last=DAY))[2]


def test_known_only_leaves_out_categories_that_the_release_does_not_know(
    config: EvaluateConfig, tmp_path: Path
) -> None:
    """A release of `--min-products` knows fewer categories than the catalog has."""
    write_labelled(config.places, [("p7", "warm.orange", [0]), ("p8", "warm.pink", [0]), ("p9", "warm.pink", [0])])
    with pytest.raises(UsageError, match=r"does not know 2 labels .* give --known-only, or --leave-out @FILE"):
        run([Path("one")], config, load)
    found = run([Path("one")], replace(config, known_only=True), load)
    document = found[0]
    assert document["products"] == 5
    assert document["left_out"] == {"products": 3, "categories": 2, "named": ["warm.pink", "warm.orange"]}
    assert _short(document)["left_out"] == document["left_out"]
    page = write(tmp_path, *found, config.places)[1].read_text(encoding="utf-8")
    assert "all parts, without 3 products of 2 categories that the release does not know." in page


def test_known_only_leaves_out_nothing_if_the_release_knows_all_categories(
    config: EvaluateConfig, tmp_path: Path
) -> None:
    plain, asked = (run([Path("one")], one, load)[0] for one in (config, replace(config, known_only=True)))
    assert (plain.pop("left_out"), asked.pop("left_out")["products"]) == (None, 0)
    assert plain == asked


def test_a_page_of_many_categories_names_the_confusions(config: EvaluateConfig, tmp_path: Path) -> None:
    document, measured, release = run([Path("one")], config, load)
    leaf = document["levels"][0]
    leaf["categories"] = [{**leaf["categories"][0], "category_id": f"c{number:03d}"} for number in range(200)]
    alone = [(f"c{number:03d}", f"c{number:03d}", 7) for number in range(200)]
    leaf["confusion"] = [*alone, ("c003", "c170", 5), ("c004", "c009", 2)]
    told, page = write(tmp_path, document, measured, release, config.places)
    assert json.loads(told.read_text(encoding="utf-8")) == json.loads(json.dumps(document))
    assert '        ["c003", "c170", 5],\n' in told.read_text(encoding="utf-8")
    text = page.read_text(encoding="utf-8")
    assert text.count('<table class="confusion">') == 1, "that of the two groups"
    start = text.index("What was taken for what")
    assert start < text.index("c003", start) < text.index("c170", start) < text.index("c004", start)
    assert len(text) < 300_000


@pytest.mark.parametrize(("categories", "shown"), [(60, True), (61, False)])
def test_the_confusion_matrix_has_true_categories_as_rows_and_answers_as_columns(categories: int, shown: bool) -> None:
    names = [f"c{number:02d}" for number in range(categories)]
    level = {
        "categories": [{"category_id": name} for name in names],
        "confusion": [("c01", "c01", 9), ("c01", "c59", 4)],
    }
    matrix = _matrix(level)
    assert (matrix is not None) == shown
    if matrix:
        assert (matrix[1][1], matrix[1][59], matrix[59][1], sum(map(sum, matrix))) == (9, 4, 0, 13)


def test_known_only_still_refuses_labels_that_are_parents(config: EvaluateConfig) -> None:
    """That label is a mistake in the catalog, and not a category of which the release has not learned."""
    write_labelled(config.places, [("p7", "warm", [0])])
    with pytest.raises(UsageError, match=r"labelled 'warm', which is not a leaf of .* label them with one"):
        run([Path("one")], replace(config, known_only=True), load)


def test_known_only_refuses_parents_also_if_no_label_is_known(tmp_path: Path) -> None:
    config = measuring(tmp_path, [("p1", "warm", [0]), ("p2", "hats", [1])])
    with pytest.raises(UsageError, match=r"labelled 'warm', which is not a leaf of"):
        run([Path("one")], replace(config, known_only=True), load)


def test_a_release_of_one_network_has_no_agreement(config: EvaluateConfig) -> None:
    class Alone(ColourPredictor):
        """Answers by the first network."""

        def predict(self, images: Images) -> Predictions:
            first = super().predict(images).by_network["efficientnetb0"]
            return Predictions(first, {"efficientnetb0": first})

    release = replace(COLOURS, networks=(replace(COLOURS.networks[0], ensemble_weight=1.0),))
    document, _, _ = run([Path("one")], config, lambda place: (Alone(), release, None))
    assert document["levels"][0]["agreement"] is None


def test_a_page_that_cannot_be_written_gives_one_sentence(config: EvaluateConfig, tmp_path: Path) -> None:
    document, measured, release = run([Path("one")], config, load)
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(RunFailed, match=r"cannot be written to .*file.* choose another --output"):
        write(tmp_path / "file" / "out", document, measured, release, config.places)


def test_the_worst_mistakes_are_those_with_the_highest_confidence(config: EvaluateConfig) -> None:
    mistakes = worst_mistakes(measured_on(config), COLOURS, config.places, count=1)
    assert [(one.answered, one.labelled) for one in mistakes] == [(GREEN, BLUE)]
    assert mistakes[0].confidence == pytest.approx(0.9)


def test_categories_are_in_the_releases_order_not_the_alphabets(config: EvaluateConfig) -> None:
    assert [category.category_id for category in COLOURS.categories] != sorted(
        c.category_id for c in COLOURS.categories
    )
    assert isinstance(COLOURS.categories[0], Category)
    assert measured_on(config).labels[0] == 0

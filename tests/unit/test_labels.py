"""The labels of a dataset: whose last word counts, which are refused, and which part a product is in."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from jobs.config import Places, UsageError
from jobs.labels import labelled_images, part_of
from jobs.measure import EvaluateConfig
from tests.labelled import BLUE, DAY, GREEN, RED, relabel, write_labelled
from tests.unit.test_evaluate import PRODUCTS, measured_on


@pytest.fixture
def config(tmp_path: Path) -> EvaluateConfig:
    places = Places(tmp_path)
    write_labelled(places, PRODUCTS)
    return EvaluateConfig(places, batch_size=4)


def test_an_unknown_label_is_named(config: EvaluateConfig) -> None:
    write_labelled(config.places, [("p8", "warm.orange", [0, 0])])
    with pytest.raises(UsageError, match=r"2 images are labelled 'warm.orange', which release colours-1 .* 3 cat"):
        measured_on(config)


def test_a_parent_is_no_label(config: EvaluateConfig) -> None:
    write_labelled(config.places, [("p8", "cold", [1])])
    with pytest.raises(UsageError, match=r"'cold', which is not a leaf .* such as cold.blue, cold.green"):
        measured_on(config)


def test_images_without_any_label(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), [("p1", None, [0]), ("p2", " ", [1])])
    with pytest.raises(UsageError, match="none of 2 ingested images has a category"):
        labelled_images(Places(tmp_path))


def test_no_images_at_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run `shelfwise ingest`"):
        labelled_images(Places(tmp_path))


def test_a_product_with_two_labels(config: EvaluateConfig) -> None:
    write_labelled(config.places, [("p1", GREEN, [0, 0])], day=date(2026, 11, 3), version=1)
    write_labelled(config.places, [("p1", RED, [0])], day=date(2026, 11, 4), version=2)
    with pytest.raises(UsageError, match=r"'p1' has two categories, 'warm.red' and 'cold.green'"):
        labelled_images(config.places)


def test_a_label_that_was_corrected_in_the_catalog_counts(config: EvaluateConfig) -> None:
    """Its image is unchanged and not stored again: what the catalog says since is the label."""
    relabel(config.places, {"p4": RED, "p6": f" {BLUE} ", "p2": None, "never-stored": RED}, day=date(2026, 11, 2))
    labels = {image.product_id: image.category_id for image in labelled_images(config.places)}
    assert labels == {"p1": RED, "p3": BLUE, "p4": RED, "p5": RED, "p6": BLUE}, "and p2 has none any more"
    before = {image.product_id: image.category_id for image in labelled_images(config.places, last=DAY)}
    assert (before["p4"], before["p2"], "p6" in before) == (BLUE, GREEN, False), "what was known by that date"


def test_of_two_corrections_the_later_one_counts_and_a_later_content_brings_its_own(config: EvaluateConfig) -> None:
    relabel(config.places, {"p1": GREEN}, hour=18)
    relabel(config.places, {"p1": BLUE, "p3": GREEN}, hour=15)
    write_labelled(config.places, [("p3", RED, [0])], version=20)
    labels = {image.product_id: image.category_id for image in labelled_images(config.places)}
    assert (labels["p1"], labels["p3"]) == (GREEN, RED)


def test_a_product_that_had_two_labels_is_mended_in_the_catalog(config: EvaluateConfig) -> None:
    write_labelled(config.places, [("p1", GREEN, [0, 0])], version=1)
    write_labelled(config.places, [("p1", RED, [0])], version=2)
    relabel(config.places, {"p1": GREEN})
    assert {image.category_id for image in labelled_images(config.places) if image.product_id == "p1"} == {GREEN}


def test_a_product_stays_in_its_part_whatever_else_is_in_the_catalog() -> None:
    """Fixed for good: a product that changed sides would be learned from and then measured on."""
    expected = {"p1": "train", "a1": "test", "a8": "test", "article-00003": "validation"}
    assert {name: part_of(name) for name in expected} == expected
    parts = [part_of(f"product-{number}") for number in range(5_000)]
    assert parts.count("test") == pytest.approx(500, abs=80)
    assert parts.count("validation") == pytest.approx(500, abs=80)


def test_all_images_of_a_product_are_in_one_part(tmp_path: Path) -> None:
    places = Places(tmp_path)
    write_labelled(places, [(f"p{number}", RED, [0, 1, 2]) for number in range(40)])
    sides = {
        part: {image.product_id for image in labelled_images(places, part=part)}
        for part in ("train", "validation", "test")
    }
    assert sum(map(len, sides.values())) == 40
    assert not sides["train"] & (sides["validation"] | sides["test"])


def test_an_empty_part_is_a_sentence(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), [("p1", RED, [0])])
    empty = next(part for part in ("validation", "test") if part_of("p1") != part)
    with pytest.raises(UsageError, match="no labelled product is in the part"):
        EvaluateConfig(Places(tmp_path), part=empty).images()

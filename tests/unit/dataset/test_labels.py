"""The labels of a dataset: whose last word counts, which are refused, and which part a product is in."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from jobs.dataset.labels import LabelledImage, by_part, check_labels, labelled_images
from jobs.dataset.parts import PARTS, part_of
from jobs.errors import UsageError
from jobs.evaluation.config import EvaluateConfig
from jobs.storage.places import Places
from tests.labelled import BLUE, DAY, GREEN, RED, relabel, write_labelled
from tests.unit.evaluation.test_evaluate import measured_on

NIGHT_2, NIGHT_3 = DAY + timedelta(days=1), DAY + timedelta(days=2)


def test_an_unknown_label_is_named(config: EvaluateConfig) -> None:
    write_labelled(config.places, [("p8", "warm.orange", [0, 0])])
    with pytest.raises(UsageError, match=r"2 images are labelled 'warm.orange', which release colours-1 .* 3 cat"):
        measured_on(config)


def test_a_label_that_is_a_parent_is_refused(config: EvaluateConfig) -> None:
    write_labelled(config.places, [("p8", "cold", [1])])
    with pytest.raises(UsageError, match=r"'cold', which is not a leaf .* such as cold.blue, cold.green"):
        measured_on(config)


def test_all_labels_that_a_release_does_not_know_are_reported_at_once(config: EvaluateConfig) -> None:
    write_labelled(config.places, [(f"q{number}", f"hats.{number % 6}", [0]) for number in range(9)])
    with pytest.raises(UsageError) as told:
        measured_on(config)
    assert (
        "does not know 6 labels of images: 'hats.0' (2), 'hats.1' (2), 'hats.2' (2), 'hats.3' (1) and 2 more; expe"
        in (str(told.value))
    )
    assert str(told.value).endswith("give --known-only, or --leave-out @FILE, a text file of one a line")
    write_labelled(config.places, [("r1", "cold", [1, 1]), ("r2", "warm", [0])])
    with pytest.raises(
        UsageError,
        match=r"2 labels are not leaves of .*: 'cold' \(2\), 'warm' \(1\); label what has each .* cold.blue, ",
    ):
        measured_on(config)


@pytest.mark.parametrize("count", [1, 1250])
@pytest.mark.parametrize("characters", [12, 25, 38, 45, 3000])
def test_an_error_about_labels_has_at_most_400_characters(count: int, characters: int, tmp_path: Path) -> None:
    names = [f"{number:{'-' if characters < 3000 else chr(0xE000)}>{characters}}" for number in range(count)]
    images = [LabelledImage(f"p{number}", 0, "", name, tmp_path) for number, name in enumerate(names)]
    for leaves in ([f"{name}.leaf" for name in names], [f"other.{name}" for name in names]):
        with pytest.raises(UsageError) as told:
            check_labels(images, leaves, taxonomy="taxonomy shop.csv")
        assert 100 < len(str(told.value)) <= 400
    write_labelled(Places(tmp_path), [(name, name, [0, 0]) for name in names[:50]])
    relabel(Places(tmp_path), {name: f"other.{name}" for name in names[:50]}, ingest_no=0, image_no=2)
    with pytest.raises(UsageError, match="two categories") as told:
        labelled_images(Places(tmp_path))
    assert len(str(told.value)) <= 400


def test_images_without_any_label_are_refused(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), [("p1", None, [0]), ("p2", " ", [1])])
    with pytest.raises(UsageError, match="none of 2 ingested images has a category"):
        labelled_images(Places(tmp_path))


def test_an_empty_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run `shelfwise ingest`"):
        labelled_images(Places(tmp_path))


def labels_of(places: Places, product_id: str) -> list[str]:
    return [image.category_id for image in labelled_images(places) if image.product_id == product_id]


def test_two_labels_of_a_product_in_one_ingest_are_refused(config: EvaluateConfig) -> None:
    """What an earlier ingest said does not matter any more."""
    write_labelled(config.places, [("p5", GREEN, [0])], day=NIGHT_2, version=1)
    relabel(config.places, {"p5": RED}, day=NIGHT_2, ingest_no=1, image_no=1)
    with pytest.raises(
        UsageError, match=r"'p5' has two .* 'cold.green' and 'warm.red', both of ingest date 2026-11-02"
    ):
        labelled_images(config.places)
    write_labelled(config.places, [("p1", BLUE, [0])], day=NIGHT_2, version=1)
    relabel(config.places, {"p1": RED}, day=NIGHT_2, ingest_no=1, image_no=1)
    with pytest.raises(
        UsageError, match=r"2 products have two .*: 'p1' \('cold.blue' and 'warm.red'\), 'p5' \('cold.green' and"
    ):
        labelled_images(config.places)
    relabel(config.places, {"p1": RED}, day=NIGHT_3)
    relabel(config.places, {"p5": BLUE}, day=NIGHT_3, image_no=2)
    assert labels_of(config.places, "p5") == [BLUE] * 3


@pytest.mark.parametrize("image_no", [0, 1])
def test_an_image_that_left_the_catalog_gets_the_label_of_its_product(config: EvaluateConfig, image_no: int) -> None:
    """Nothing is heard of it any more when its product's label is corrected, or taken away."""
    write_labelled(config.places, [("p7", GREEN, [1, 1])], version=1)
    relabel(config.places, {"p7": RED}, day=NIGHT_2, ingest_no=1, image_no=image_no)
    assert labels_of(config.places, "p7") == [RED, RED]
    then = [image.category_id for image in labelled_images(config.places, last=DAY) if image.product_id == "p7"]
    assert then == [GREEN, GREEN], "what was known by that date"
    relabel(config.places, {"p7": None}, day=NIGHT_3, ingest_no=1, image_no=image_no)
    assert labels_of(config.places, "p7") == []
    relabel(config.places, {"p7": BLUE}, day=NIGHT_3, ingest_no=1, image_no=1 - image_no)
    assert labels_of(config.places, "p7") == [BLUE, BLUE], "of one date the label counts, not the empty cell"


def test_an_image_without_a_label_does_not_change_its_products_label(config: EvaluateConfig) -> None:
    """A catalog may fill the column in a product's first row alone."""
    write_labelled(config.places, [("p7", GREEN, [1])], version=1)
    relabel(config.places, {"p7": None}, day=NIGHT_2, image_no=1)  # as of a second image, whose title was changed
    assert labels_of(config.places, "p7") == [GREEN]


def test_left_out_categories_are_excluded_with_everything_below_them(config: EvaluateConfig) -> None:
    def left(*names: str) -> list[str]:
        return [image.product_id for image in labelled_images(config.places, leave_out=names)]

    write_labelled(config.places, [("p7", "cold.green-grey", [1]), ("p8", "cold.green.dark", [1])])
    assert left(GREEN) == ["p1", "p3", "p4", "p5", "p5", "p5", "p7"], "and what is below it, no namesake"
    assert left("cold") == ["p1", "p5", "p5", "p5"]
    assert left(BLUE, "warm") == ["p2", "p7", "p8"]
    for unknown in ("warm.re", "cold.", ""):
        with pytest.raises(
            UsageError, match=rf"labelled '{unknown}' or below .* the 5 labels, such as cold.blue, cold"
        ):
            left(RED, unknown)
    with pytest.raises(UsageError, match=r"with 2 categories of --leave-out or below them: 'hats', 'shoes'; take"):
        left("shoes", RED, "hats")
    with pytest.raises(UsageError, match="categories of all labelled products"):
        left("cold", "warm")


def test_an_unknown_label_can_be_left_out(config: EvaluateConfig) -> None:
    write_labelled(config.places, [("p8", "warm.orange", [0, 0])])
    with pytest.raises(UsageError, match=r"give --known-only, or --leave-out 'warm.orange'"):
        measured_on(config)
    assert "p8" not in measured_on(replace(config, leave_out=("warm.orange",))).product_ids


def test_a_picture_that_products_share_is_in_one_part(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Here `a1` and `a8` are in test, `article-00003` in validation and `p1` in train."""
    products = [(name, RED, [0, 1]) for name in ("p1", "a1", "article-00003")]
    caplog.set_level(logging.INFO, "jobs.dataset.labels")
    places = Places(tmp_path)
    write_labelled(places, products)
    before = labelled_images(places)
    assert sum(map(len, by_part(before).values())) == len(before)
    assert not caplog.messages, "nothing is shared"

    variants = [(name, RED, [0, 0]) for name in ("p2", "article-00003", "a8", "a1")]
    write_labelled(places, variants, content="shared by all", version=1)
    write_labelled(places, [("p1", RED, [0]), ("article-00003", RED, [0])], content="shared by two", version=2)
    every = labelled_images(places)
    sides = {part: labelled_images(places, part=part) for part in PARTS}
    assert {part: [(one.product_id, one.image_no) for one in found] for part, found in sides.items()} == {
        "test": [("a1", 0), ("a8", 0)],
        "validation": [("article-00003", 0)],
        "train": [("p1", 1)],
    }
    assert by_part(every) == sides
    assert [message.split()[0] for message in caplog.messages] == ["2", "1", "3"], "of train, of validation, of both"
    assert len(every) == 7, "all products drop nothing"


@pytest.mark.parametrize(("first", "kept"), [("p1", "train"), ("article-00003", "validation"), ("a1", "test")])
def test_a_picture_stays_in_the_part_that_had_it_first(first: str, kept: str, tmp_path: Path) -> None:
    """A variant that comes with a later catalog takes nothing out of what was learned, and is not measured on it."""
    places = Places(tmp_path)
    write_labelled(places, [(first, RED, [0])], content="shared")
    before = labelled_images(places, part=kept)
    later = [name for name in ("p1", "article-00003", "a1") if name != first]
    write_labelled(places, [(name, RED, [0]) for name in later], day=date(2026, 12, 1), content="shared", version=1)
    assert {part: labelled_images(places, part=part) for part in PARTS} == {
        **{part: [] for part in PARTS},
        kept: before,
    }


def test_a_label_that_was_corrected_in_the_catalog_counts(config: EvaluateConfig) -> None:
    """Its image is unchanged and not stored again: what the catalog says since is the label."""
    relabel(config.places, {"p4": RED, "p6": f" {BLUE} ", "p2": None, "never-stored": RED}, day=NIGHT_2)
    labels = {image.product_id: image.category_id for image in labelled_images(config.places)}
    assert labels == {"p1": RED, "p3": BLUE, "p4": RED, "p5": RED, "p6": BLUE}, "and p2 has none any more"
    before = {image.product_id: image.category_id for image in labelled_images(config.places, last=DAY)}
    assert (before["p4"], before["p2"], "p6" in before) == (BLUE, GREEN, False), "what was known by that date"


def test_the_later_of_two_corrections_counts_and_a_later_content_has_its_own_label(config: EvaluateConfig) -> None:
    relabel(config.places, {"p1": GREEN}, ingest_no=18)
    relabel(config.places, {"p1": BLUE, "p3": GREEN}, ingest_no=15)
    write_labelled(config.places, [("p3", RED, [0])], version=20)
    labels = {image.product_id: image.category_id for image in labelled_images(config.places)}
    assert (labels["p1"], labels["p3"]) == (GREEN, RED)


def test_a_product_with_two_labels_can_be_corrected_in_the_catalog(config: EvaluateConfig) -> None:
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


def test_an_empty_part_gives_one_sentence(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), [("p1", RED, [0])])
    empty = next(part for part in ("validation", "test") if part_of("p1") != part)
    with pytest.raises(UsageError, match="no labelled product is in the part"):
        EvaluateConfig(Places(tmp_path), part=empty).images()

"""A picture that products share: whose it is, whatever is labelled, chosen or replaced when somebody asks.

`a1` and `a8` are in the part test, `article-00003` is in validation, `p1` and `p2` are in train.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.dataset.catalog_labels import dataset_files
from jobs.dataset.labels import LabelledImage, by_part, labelled_images
from jobs.errors import RunFailed
from jobs.evaluation.config import EvaluateConfig
from jobs.storage.places import Places
from jobs.training.selection import Selection, training_set
from jobs.training.training_record import TrainingRecord
from tests.labelled import BLUE, DAY, GREEN, RED, relabel, write_labelled

NIGHT_2, NIGHT_3 = DAY + timedelta(days=1), DAY + timedelta(days=2)
EARLIER = DAY - timedelta(days=1)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A home in which p2 and a8 have a picture of their own."""
    write_labelled(Places(tmp_path), [("p2", RED, [0]), ("a8", RED, [0])])
    return Places(tmp_path)


def give(places: Places, product_id: str, day: date, *, label: str | None = RED, content: str = "shared") -> None:
    write_labelled(places, [(product_id, label, [0])], day=day, content=content, version=2)


def pictures(images: Iterable[LabelledImage]) -> set[str]:
    return {image.image_sha256 for image in images}


def learned(places: Places, **chosen: Any) -> set[str]:
    return pictures(by_part(labelled_images(places, **chosen))["train"])


def measured(places: Places, **chosen: Any) -> set[str]:
    return pictures(EvaluateConfig(places, part="test", **chosen).images())


def test_a_picture_whose_owner_has_no_label_yet_is_not_trained_on(places: Places) -> None:
    """It may get one when the training is over."""
    give(places, "p1", DAY)
    give(places, "a1", DAY, label=None)
    assert learned(places) == {"p2-0-0"}
    relabel(places, {"a1": RED}, day=NIGHT_2)
    assert measured(places) == {"a8-0-0", "shared"}
    assert learned(places) == {"p2-0-0"}


def test_a_picture_whose_owner_lost_its_label_is_not_measured_on(places: Places) -> None:
    """What was learned stays learned."""
    give(places, "p1", DAY)
    give(places, "a1", NIGHT_2)
    assert learned(places) == {"p2-0-0", "shared"}
    relabel(places, {"p1": None}, day=NIGHT_3)
    assert measured(places) == {"a8-0-0"}


@pytest.mark.parametrize(("first", "last"), [(NIGHT_2, date.max), (NIGHT_2, NIGHT_2), (NIGHT_3, date.max)])
def test_a_picture_whose_owner_came_before_the_first_date_stays_in_its_part(
    first: date, last: date, places: Places
) -> None:
    give(places, "a1", DAY)
    for day in (NIGHT_2, NIGHT_3):
        give(places, "p1", day)
    assert pictures(labelled_images(places, first=first, last=last)) == {"shared"}
    assert learned(places, first=first, last=last) == set()
    assert measured(places) == {"a8-0-0", "shared"}


def test_a_measurement_of_later_dates_excludes_pictures_trained_on_before(places: Places) -> None:
    give(places, "p1", DAY)
    write_labelled(places, [("a1", RED, [0])], day=NIGHT_2, version=1)
    write_labelled(places, [("a8", RED, [0])], day=NIGHT_2, content="shared", version=2)
    assert learned(places) == {"p2-0-0", "shared"}
    assert measured(places) == measured(places, first=NIGHT_2) == {"a1-0-1"}
    assert "shared" in pictures(EvaluateConfig(places, first=NIGHT_2).images()), "every product drops nothing"


def test_a_picture_that_its_owner_replaced_stays_in_its_part(places: Places) -> None:
    give(places, "p1", DAY)
    assert learned(places) == {"p2-0-0", "shared"}
    give(places, "p1", NIGHT_2, content="newer")
    give(places, "a1", NIGHT_2)
    assert learned(places) == {"p2-0-0", "newer"}
    assert measured(places) == {"a8-0-0"}


def test_a_picture_whose_owner_is_in_a_left_out_category_is_not_trained_on(places: Places) -> None:
    give(places, "p1", DAY)
    give(places, "a1", DAY, label=GREEN)
    assert learned(places, leave_out=[GREEN]) == {"p2-0-0"}
    assert measured(places) == {"a8-0-0", "shared"}


def test_a_measurement_excludes_pictures_trained_on_in_a_left_out_category(places: Places) -> None:
    give(places, "p1", DAY, label=GREEN)
    give(places, "a1", NIGHT_2)
    assert learned(places) == {"p2-0-0", "shared"}
    assert measured(places, leave_out=[GREEN]) == {"a8-0-0"}


@pytest.fixture
def chosen(tmp_path: Path) -> Selection:
    """Sixty products of two categories on the second night, on the first one a1 with the picture of p1."""
    home = Places(tmp_path)
    give(home, "a1", DAY, label=BLUE)
    write_labelled(home, [(f"q{number}", (RED, GREEN)[number % 2], [0]) for number in range(60)], day=NIGHT_2)
    give(home, "p1", NIGHT_2)
    return Selection(home, min_products=10)


def test_a_picture_whose_owner_has_a_category_of_too_few_products_is_not_trained_on(chosen: Selection) -> None:
    found = training_set(chosen)
    assert found.category_ids == (GREEN, RED)
    assert not any("shared" in pictures(side) for side in found.sides.values())
    assert "shared" in measured(chosen.places)


@pytest.mark.parametrize("first", [date.min, NIGHT_2])
def test_a_resumed_training_keeps_its_pictures(first: date, chosen: Selection) -> None:
    """A missed night that is ingested meanwhile had pictures of its products before, as far as the dataset tells."""
    chosen = replace(chosen, first=first)
    before = training_set(chosen)
    assert sum(map(len, before.sides.values())) == 60
    picture = before.sides["train"][0].image_sha256
    for day in (EARLIER, DAY, NIGHT_2, NIGHT_3):
        give(chosen.places, "a8", day, content=picture)
    after = training_set(chosen, TrainingRecord(before.files, {}))
    assert (after.sides, after.data_sha256, after.files) == (before.sides, before.data_sha256, before.files)
    assert picture not in pictures(training_set(chosen).sides["train"])


def test_later_dates_do_not_change_the_owner_of_a_picture(places: Places) -> None:
    give(places, "p1", DAY)
    before = labelled_images(places)
    for product_id in ("a1", "article-00003"):
        give(places, product_id, NIGHT_2)
    assert labelled_images(places, last=DAY) == before
    assert learned(places) == {"p2-0-0", "shared"}


def test_a_damaged_file_from_before_the_first_date_is_named(places: Places) -> None:
    give(places, "p1", NIGHT_2)
    (places.home / dataset_files(places, last=DAY)[0]).write_bytes(b"no Parquet")
    with pytest.raises(RunFailed, match=r"ingest_date=2026-11-01/part-.* cannot be read"):
        labelled_images(places, first=NIGHT_2)

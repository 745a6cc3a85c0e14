"""The groups of variants: which group of a product counts, and that a group is in one part, with its pictures.

By their own names `p1` and `p2` are in the part train, `a1` and `a8` in test, `article-00003` in validation.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.dataset.labels import LabelledImage, by_part, labelled_images
from jobs.dataset.parts import PARTS, GroupRow, group_of, part_of
from jobs.dataset.schema import IMAGES
from jobs.dataset.shards import ShardWriter, columns_of, shards
from jobs.errors import RunFailed
from jobs.evaluation.config import EvaluateConfig
from jobs.storage.places import Places
from jobs.training.selection import Selection, training_set
from tests.dataset_rows import image_row, without_groups
from tests.labelled import DAY, GREEN, RED, relabel, write_labelled

NIGHT_2, NIGHT_3 = DAY + timedelta(days=1), DAY + timedelta(days=2)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def parts(places: Places, *, first: date = date.min, last: date = date.max) -> dict[str, str]:
    """Return the part of each product."""
    sides = by_part(labelled_images(places, first=first, last=last))
    return {image.product_id: part for part, images in sides.items() for image in images}


@pytest.mark.parametrize(
    ("rows", "group_id"),
    [
        ([], ""),
        ([(0, 1, "")], ""),
        ([(0, 1, "g")], "g"),
        ([(0, 1, ""), (0, 2, "g")], "g"),
        ([(0, 2, "h"), (0, 1, "g")], "h"),
        ([(0, 1, "g"), (0, 2, "")], ""),
        ([(0, 1, "g"), (1, 1, ""), (1, 2, "")], "g"),  # a column that is filled in the first row alone
        ([(0, 1, "g"), (1, 1, "g"), (0, 2, "h")], "h"),  # image 1 has left the catalog
        ([(0, 1, "g"), (1, 1, "g"), (0, 2, "")], ""),
        ([(0, 1, "h"), (1, 1, "g")], "g"),
        ([(0, 1, "g"), (1, 1, "g"), (0, 2, ""), (1, 2, "h")], "h"),
    ],
)
def test_the_group_of_the_newest_row_counts(rows: list[tuple[int, int, str]], group_id: str) -> None:
    """Rows are (image_no, ingest_no, group_id)."""
    assert group_of([(image_no, (DAY, number), name) for image_no, number, name in rows]) == group_id
    assert group_of([(image_no, (DAY + timedelta(days=night), 1), name) for image_no, night, name in rows]) == group_id


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.tuples(st.sampled_from([DAY, NIGHT_2]), st.integers(1, 2)), st.sampled_from("gh ")),
    unique_by=lambda row: row[:2],
)


@given(ROWS, st.randoms())
def test_the_order_in_which_rows_are_read_does_not_matter(rows: list[GroupRow], random: object) -> None:
    rows = [(image_no, ingest, name.strip()) for image_no, ingest, name in rows]
    other = rows.copy()
    random.shuffle(other)  # type: ignore[attr-defined]
    assert group_of(rows) == group_of(other)


def test_variants_of_an_article_are_in_one_part(places: Places) -> None:
    for group in range(30):
        names = [f"p{group}-{variant}" for variant in range(5)]
        write_labelled(places, [(name, RED, [0]) for name in names], version=group, group_id=f"article {group}")
    found = parts(places)
    assert len(found) == 150
    of_group = defaultdict(set)
    for product_id, part in found.items():
        of_group[product_id.partition("-")[0]].add(part)
    assert {group: list(of_it) for group, of_it in of_group.items()} == {
        f"p{group}": [part_of(f"article {group}")] for group in range(30)
    }
    assert set(found.values()) == set(PARTS)
    assert any(part_of(product_id) != part for product_id, part in found.items())


def test_a_parent_article_is_in_the_part_of_its_variants(places: Places) -> None:
    """Its own row has no group_id; the rows of its variants have its product_id."""
    write_labelled(places, [("p1", RED, [0]), ("p2", RED, [0])], group_id="a1")
    write_labelled(places, [("a1", RED, [0])], version=1)
    assert parts(places) == {"p1": "test", "p2": "test", "a1": "test"}


def test_a_group_that_comes_later_moves_the_product_from_that_date_on(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0, 0])])
    relabel(places, {"p1": RED}, day=NIGHT_2, group_id="a1")
    relabel(places, {"p1": RED}, day=NIGHT_3)
    assert [parts(places, last=day)["p1"] for day in (DAY, NIGHT_2, NIGHT_3)] == ["train", "test", "train"]


@pytest.mark.parametrize("stored", [True, False])
def test_a_group_from_before_the_first_date_counts(places: Places, stored: bool) -> None:
    """The catalog names the group in the row of image 0 alone, and later dates have image 1 alone."""
    write_labelled(places, [("p1", RED, [0])], group_id="a1" if stored else None)
    if not stored:
        relabel(places, {"p1": RED}, group_id="a1")
    writer = ShardWriter(places.partition(places.images, NIGHT_2), IMAGES, shard_bytes=10**9)
    writer.add(image_row("p1", image_no=1, category=RED))
    writer.flush()
    assert parts(places) == parts(places, first=NIGHT_2) == {"p1": "test"}


def test_a_picture_belongs_to_the_part_of_its_products_group(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0])], content="shared", group_id="a1")
    write_labelled(places, [("p2", RED, [0])], content="shared", version=1)
    assert parts(places) == {"p1": "test"}, "p2 would learn what p1 measures"
    assert EvaluateConfig(places, part="test").images() == [
        image for image in labelled_images(places) if image.product_id == "p1"
    ]
    relabel(places, {"p2": RED}, day=NIGHT_2, group_id="a1")
    assert parts(places) == {"p1": "test", "p2": "test"}


def test_a_picture_that_a_group_had_before_the_first_date_stays_in_its_part(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0])], content="shared", group_id="a1")
    write_labelled(places, [("p2", RED, [0])], day=NIGHT_2, content="shared", version=1)
    write_labelled(places, [("a8", RED, [0])], day=NIGHT_2, version=2)
    assert parts(places, first=NIGHT_2) == {"a8": "test"}


def test_products_of_one_group_are_in_one_group_of_a_training(places: Places) -> None:
    """So they are in one fold of a cross-fitting, and their parent with them."""
    for group in range(40):
        names = [f"p{group}-{variant}" for variant in range(2)]
        write_labelled(
            places, [(name, (RED, GREEN)[group % 2], [0]) for name in names], group_id=f"article-{group:05d}"
        )
        write_labelled(places, [(f"article-{group:05d}", (RED, GREEN)[group % 2], [0])], version=1)
    groups = training_set(Selection(places)).groups
    assert len(groups) == 120
    assert len(set(groups.values())) == 40
    for group in range(40):
        assert len({groups[name] for name in (f"p{group}-0", f"p{group}-1", f"article-{group:05d}")}) == 1


def test_files_without_the_column_are_read_as_rows_without_a_group(places: Places) -> None:
    """An earlier version wrote them."""
    write_labelled(places, [("p1", RED, [0]), ("a1", RED, [0])])
    relabel(places, {"p1": GREEN}, day=NIGHT_2)
    with_the_column = labelled_images(places)
    assert without_groups(places.home) == 2  # type: ignore[arg-type]
    assert labelled_images(places) == with_the_column
    assert all(image.group_id == "" for image in with_the_column)
    assert parts(places) == {"p1": "train", "a1": "test"}
    relabel(places, {"p1": RED}, day=NIGHT_3, group_id="a1")
    assert parts(places) == parts(places, first=DAY) == {"p1": "test", "a1": "test"}


def test_a_missing_column_of_another_kind_is_refused(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0])])
    with pytest.raises(RunFailed, match="was written by another version: it lacks colour"):
        list(columns_of(shards(places.images, [DAY]), ["product_id", "colour"]))


def test_an_image_without_a_group_is_its_own_group() -> None:
    image = LabelledImage("p1", 0, "c", RED, Path())
    assert (image.group, image.part) == ("p1", "train")
    grouped = LabelledImage("p1", 0, "c", RED, Path(), group_id="a1")
    assert (grouped.group, grouped.part) == ("a1", "test")

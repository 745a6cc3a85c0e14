"""Only what a catalog names now teaches and measures: deleted pictures, shrunk and returned products, late nights."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.dataset.catalog_labels import dataset_files
from jobs.dataset.labels import LabelledImage, data_sha256, labelled_images
from jobs.dataset.reading import read_shard
from jobs.dataset.schema import image_keys
from jobs.errors import UsageError
from jobs.storage.places import Places
from tests.dataset_rows import seen_row, without_groups
from tests.labelled import BLUE, DAY, GREEN, RED, relabel, write_labelled, write_seen

NIGHT_2, NIGHT_3, NIGHT_4 = (DAY + timedelta(days=number) for number in (1, 2, 3))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def left(product_id: str, *numbers: int, **columns: Any) -> list[dict[str, Any]]:
    return [seen_row(product_id, "left", image_no=image_no, **columns) for image_no in numbers or (0,)]


def named(product_id: str, *numbers: int, **columns: Any) -> list[dict[str, Any]]:
    return [seen_row(product_id, "named", image_no=image_no, **columns) for image_no in numbers or (0,)]


def keys(images: list[LabelledImage]) -> list[tuple[str, int, str]]:
    return [(image.product_id, image.image_no, image.category_id) for image in images]


def test_deleted_mislabelled_pictures_teach_nothing(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0, 1]), ("p2", GREEN, [1])])
    write_seen(places, NIGHT_2, *left("p1", 1))
    assert keys(labelled_images(places)) == [("p1", 0, RED), ("p2", 0, GREEN)]
    assert len(labelled_images(places, last=DAY)) == 3, "on that night it was still there"


def test_the_label_of_a_deleted_picture_has_no_say(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0, 1])])
    relabel(places, {"p1": BLUE}, day=NIGHT_2, image_no=1)
    assert {image.category_id for image in labelled_images(places)} == {BLUE}
    write_seen(places, NIGHT_3, *left("p1", 1))
    assert keys(labelled_images(places)) == [("p1", 0, RED)]


def test_a_product_that_shrank_from_3_images_to_2_teaches_2(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0, 1, 2])])
    write_seen(places, NIGHT_2, *left("p1", 2))
    assert [image.image_no for image in labelled_images(places)] == [0, 1]


def test_a_new_order_of_the_same_pictures_changes_no_label(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0, 1]), ("p2", GREEN, [1])])
    before = labelled_images(places)
    moves = [("p1-1-0", 0), ("p1-0-0", 1)]
    rows = [seen_row("p1", "unchanged", image_no=number, image_sha256=content) for content, number in moves]
    write_seen(places, NIGHT_2, *rows)
    after = labelled_images(places)
    assert {(image.key, image.category_id) for image in after} == {(image.key, image.category_id) for image in before}
    assert [(image.image_no, image.image_sha256) for image in after[:2]] == [(0, "p1-1-0"), (1, "p1-0-0")]
    assert found_in_their_shards(after) == {image.key for image in after}


def found_in_their_shards(images: list[LabelledImage]) -> set[tuple[str, int, str]]:
    found = set()
    for shard in {image.shard for image in images}:
        wanted = {image.key for image in images if image.shard == shard}
        for batch in read_shard(Path(str(shard)), side_px=8, batch_size=4, workers=1, wanted=wanted):
            found |= set(image_keys(batch.columns))
    return found


def test_a_picture_moved_to_a_new_position_is_read_where_its_bytes_are(places: Places) -> None:
    """Position 0 has a new picture, and its old one is at position 1 now."""
    write_labelled(places, [("p1", RED, [0])])
    write_labelled(places, [("p1", RED, [1])], day=NIGHT_2, version=2)
    write_seen(places, NIGHT_2, seen_row("p1", "unchanged", image_no=1, image_sha256="p1-0-0", ingest_no=2))
    images = labelled_images(places)
    assert [(image.image_no, image.image_sha256, image.key[1]) for image in images] == [
        (0, "p1-0-2", 0),
        (1, "p1-0-0", 0),
    ]
    assert found_in_their_shards(images) == {image.key for image in images}


def test_the_same_content_at_two_positions_of_a_product_is_one_labelled_image(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0, 0])], content="same")
    write_labelled(places, [("p2", RED, [0])], content="same")
    assert keys(labelled_images(places)) == [("p1", 0, RED), ("p2", 0, RED)]
    write_seen(places, NIGHT_2, *left("p1", 0))
    assert keys(labelled_images(places)) == [("p1", 1, RED), ("p2", 0, RED)]


def test_a_product_that_left_has_no_label_and_when_it_returns_it_has(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0, 1]), ("p2", GREEN, [1])])
    before = data_sha256(labelled_images(places))
    write_seen(places, NIGHT_2, *left("p1", 0, 1))
    assert keys(labelled_images(places)) == [("p2", 0, GREEN)]
    write_seen(places, NIGHT_3, *named("p1", 0, 1))
    assert data_sha256(labelled_images(places)) == before


def test_a_dataset_of_which_all_has_left_is_refused_in_one_sentence(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0, 1])])
    write_seen(places, NIGHT_2, *left("p1", 0, 1))
    with pytest.raises(UsageError, match=r"^all 2 ingested images have left their catalogs; ingest a "):
        labelled_images(places)


def test_a_late_night_removes_nothing_that_a_later_night_names(places: Places) -> None:
    """The second night, read after the third, brings p2; the third night did not name it, but names p1."""
    write_labelled(places, [("p1", RED, [0])])
    write_seen(places, NIGHT_3, *named("p1"))
    write_seen(places, NIGHT_2, *left("p1", ingest_no=7), seen_row("p2", "left", counts_from=NIGHT_3.isoformat()))
    write_labelled(places, [("p2", GREEN, [1])], day=NIGHT_2)
    assert keys(labelled_images(places)) == [("p1", 0, RED)]
    assert keys(labelled_images(places, last=NIGHT_2)) == [("p2", 0, GREEN)], "as things stood that night"


def test_a_picture_that_one_of_two_catalogs_names_is_labelled(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0])])
    write_seen(places, NIGHT_2, *named("p1", catalog_name="outlet"))
    write_seen(places, NIGHT_3, *left("p1"))
    assert keys(labelled_images(places)) == [("p1", 0, RED)]
    write_seen(places, NIGHT_4, *left("p1", catalog_name="outlet"))
    with pytest.raises(UsageError, match="have left their catalogs"):
        labelled_images(places)


@pytest.mark.parametrize("by_its_picture", [True, False])
def test_a_catalog_that_named_an_image_before_the_first_date_counts(places: Places, *, by_its_picture: bool) -> None:
    """The outlet brings a new picture after the first date, and then leaves; the shop has named the image before."""
    write_labelled(places, [("p1", RED, [0]), ("p2", GREEN, [1])], catalog_name="shop" if by_its_picture else "outlet")
    if not by_its_picture:
        write_seen(places, NIGHT_2, *named("p1"))
    write_labelled(places, [("p1", RED, [1])], day=NIGHT_3, version=3, catalog_name="outlet")
    write_seen(places, NIGHT_4, *left("p1", catalog_name="outlet"))
    assert keys(labelled_images(places, first=NIGHT_3)) == [("p1", 0, RED)]


def test_files_of_an_earlier_version_work(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0]), ("p2", GREEN, [1])])
    write_seen(places, NIGHT_2, seen_row("p1", "unchanged", image_sha256="p1-0-0"))
    for file in places.home.rglob("*.parquet"):
        table = pq.read_table(file, partitioning=None)
        lacking = [name for name in ("catalog_name", "counts_from") if name in table.column_names]
        pq.write_table(table.drop_columns(lacking), file, row_group_size=64)
    assert without_groups(places.local_home) == 2
    assert keys(labelled_images(places)) == [("p1", 0, RED), ("p2", 0, GREEN)]
    write_seen(places, NIGHT_3, *left("p2", catalog_name=""))
    assert keys(labelled_images(places)) == [("p1", 0, RED)], "a full catalog of any name stands for the one without"


def test_a_resumed_training_has_the_labels_it_was_begun_with(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0]), ("p2", GREEN, [1]), ("p3", BLUE, [2])])
    write_seen(places, NIGHT_2, *left("p1"))
    begun = frozenset(dataset_files(places))
    write_seen(places, NIGHT_3, *left("p2"))
    assert keys(labelled_images(places, files=begun)) == [("p2", 0, GREEN), ("p3", 0, BLUE)]
    assert keys(labelled_images(places)) == [("p3", 0, BLUE)]

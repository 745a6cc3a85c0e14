"""The pictures of the review pages: of our own dataset alone, of the right product, and never an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.review.pictures import Pictures
from jobs.storage.places import Places
from sql.review.records import Pictured
from tests.labelled import write_labelled
from tests.unit.predict.test_predict_loop import DAY
from tests.unit.review.pictured_night import RUN_ID, colour, kept_of, key, lines, night, shard_of


def test_each_picture_is_that_of_its_product_and_each_file_is_opened_once(places: Places, opened: list[Path]) -> None:
    night_of = night(places)
    opened.clear()
    found = Pictures(places).thumbnails(night_of)
    assert list(map(colour, (found[key(picture)] for picture in night_of))) == [n % 3 for n in range(150)]
    assert opened == [kept_of(places)]


def test_row_groups_are_read_once(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    read = pq.ParquetFile.read_row_group

    def noting(file: pq.ParquetFile, group: int, **options: Any) -> Any:
        groups.append(group)
        return read(file, group, **options)

    night_of = night(places)
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noting)
    assert len(Pictures(places).thumbnails(night_of)) == 150
    assert sorted(groups) == [0, 1, 2]


def test_what_was_shown_is_kept_in_memory_up_to_a_number_of_bytes(places: Places, opened: list[Path]) -> None:
    night_of = night(places)
    pictures = Pictures(places)
    first = pictures.thumbnails(night_of)
    large = pictures.large(night_of[0])
    opened.clear()
    assert pictures.thumbnails(night_of) == first
    assert pictures.large(night_of[0]) == large
    assert opened == []
    size = max(len(content) for content in first.values())
    small = Pictures(places, cache_bytes=2 * 10 * size)
    small.thumbnails(night_of)
    opened.clear()
    assert len(small.thumbnails(night_of)) == 150
    assert opened == [kept_of(places)]
    assert len(small._thumbnails) >= 10
    assert small._thumbnails.size_bytes <= 10 * size


def test_a_large_picture_is_the_stored_image(places: Places) -> None:
    night_of = night(places)
    stored = {row["product_id"]: row["jpeg"] for row in pq.read_table(shard_of(places), partitioning=None).to_pylist()}
    for picture in (night_of[0], night_of[70], replace(night_of[149], picture_at="")):
        assert Pictures(places).large(picture) == stored[picture.product_id]


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: replace(picture, product_id="p0004"),
        lambda picture: replace(picture, image_sha256="0" * 64),
        lambda picture: replace(picture, ingest_date=DAY + timedelta(days=1)),
    ],
    ids=["product", "content", "date"],
)
def test_a_picture_of_another_product_content_or_date_is_none(
    places: Places, change: Callable[[Pictured], Pictured], caplog: pytest.LogCaptureFixture
) -> None:
    wrong = change(night(places)[1])
    pictures = Pictures(places)
    assert pictures.thumbnails([wrong]) == {}
    assert len(lines(caplog)) == 1
    assert "1 of 1 pictures cannot be shown" in lines(caplog)[0]
    assert pictures.large(wrong) is None


def test_a_thumbnail_that_another_try_has_put_elsewhere_is_made_again(places: Places) -> None:
    """The database says where the thumbnail of an earlier try was; another product's is there now."""
    night_of = night(places)
    at = night_of[1].picture_at.rpartition("#")[0]
    moved = replace(night_of[1], picture_at=f"{at}#149")
    beyond = replace(night_of[2], picture_at=night_of[2].picture_at.rpartition("#")[0] + "#100000")
    found = Pictures(places).thumbnails([moved, beyond])
    assert {name: colour(content) for (name, _), content in found.items()} == {"p0001": 1, "p0002": 2}
    lost = replace(night_of[4], picture_at=f"{shard_of(places).name}#900#1#1")
    assert colour(Pictures(places).thumbnails([lost])[key(lost)]) == 1


@pytest.mark.parametrize(
    ("run_id", "picture_at"),
    [
        (RUN_ID, "../../../secret.parquet#0#0#0"),
        (RUN_ID, "part-../../x.parquet#0#0#0"),
        (RUN_ID, "/etc/passwd#0#0#0"),
        (RUN_ID, "https://example.org/part-1.parquet#0#0#0"),
        ("../../images/x", None),
        ("/", None),
        ("", None),
    ],
)
def test_nothing_but_our_own_files_is_ever_opened(
    places: Places, opened: list[Path], run_id: str, picture_at: str | None
) -> None:
    """A hostile value costs its own picture at most; what is found is found by its key."""
    picture = night(places)[0]
    hostile = replace(picture, run_id=run_id, picture_at=picture.picture_at if picture_at is None else picture_at)
    opened.clear()
    assert colour(Pictures(places).thumbnails([hostile])[key(picture)]) == 0
    assert set(opened) == {shard_of(places)}


def test_pruned_thumbnails_are_made_of_the_stored_images(places: Places, caplog: pytest.LogCaptureFixture) -> None:
    night_of = night(places)
    kept_of(places).unlink()
    found = Pictures(places).thumbnails(night_of)
    assert [colour(found[key(picture)]) for picture in night_of] == [n % 3 for n in range(150)]
    assert lines(caplog) == []


def test_where_no_thumbnail_was_kept_one_is_made_of_the_image_at_its_place(places: Places, opened: list[Path]) -> None:
    held = [replace(picture, picture_at=picture.picture_at.rpartition("#")[0]) for picture in night(places)]
    opened.clear()
    found = Pictures(places).thumbnails(held)
    assert [colour(found[key(picture)]) for picture in held] == [n % 3 for n in range(150)]
    assert opened == [shard_of(places)], "nothing is searched"


def test_pruned_images_have_no_picture_and_one_line_in_the_log(
    places: Places, caplog: pytest.LogCaptureFixture
) -> None:
    night_of = night(places)
    kept_of(places).unlink()
    shard_of(places).unlink()
    pictures = Pictures(places)
    assert pictures.thumbnails(night_of[:60]) == {}
    [line] = lines(caplog)
    assert line.startswith("60 of 60 pictures cannot be shown (")
    assert pictures.large(night_of[0]) is None


def test_pictures_of_a_home_without_anything_are_none(places: Places) -> None:
    picture = Pictured("p", 0, "0" * 64, DAY, RUN_ID)
    assert Pictures(places).thumbnails([picture]) == {}
    assert Pictures(places).thumbnails([]) == {}


def damage(file: Path, column: str, group: int) -> None:
    """Overwrite the beginning of a column of a row group."""
    metadata = pq.read_metadata(file).row_group(group)
    [chunk] = [metadata.column(i) for i in range(metadata.num_columns) if metadata.column(i).path_in_schema == column]
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content = file.read_bytes()
    file.write_bytes(content[:start] + bytes([255]) * 40 + content[start + 40 :])


def test_damaged_files_cost_their_own_pictures(places: Places, caplog: pytest.LogCaptureFixture) -> None:
    night_of = night(places)
    damage(shard_of(places), "jpeg", 1)
    assert len(Pictures(places).thumbnails(night_of)) == 150, "thumbnails are whole"
    damage(kept_of(places), "thumbnail", 0)
    assert lines(caplog) == []
    lost = 150 - len(Pictures(places).thumbnails(night_of))
    assert 0 < lost < 64, "of the thumbnails that are damaged, those whose stored image is damaged too"
    [line] = lines(caplog)
    assert line.startswith(f"{lost} of 150 pictures cannot be shown (")
    kept_of(places).write_bytes(b"no Parquet")
    assert len(Pictures(places).thumbnails(night_of)) == 150 - 64
    shard_of(places).write_bytes(b"")
    assert Pictures(places).thumbnails(night_of) == {}
    assert Pictures(places).large(night_of[0]) is None


def test_an_image_that_does_not_decode_is_no_picture(places: Places) -> None:
    write_labelled(places, [("broken", None, [-1])])
    picture = Pictured("broken", 0, "broken-0-0", DAY)
    assert Pictures(places).thumbnails([picture]) == {}
    assert Pictures(places).large(picture) is None


def test_a_bug_is_no_missing_picture(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    night_of = night(places)

    def bug(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("jobs.review.pictures.cells", bug)
    with pytest.raises(ZeroDivisionError):
        Pictures(places).thumbnails(night_of)

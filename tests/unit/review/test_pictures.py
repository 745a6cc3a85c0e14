"""The pictures of the review pages: of our own dataset alone, of the right product, and never an error."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from upath import UPath

from jobs.dataset.shards import shards
from jobs.dataset.thumbnails import thumbnail_file
from jobs.predict.config import PredictConfig
from jobs.predict.job import predict_shard, prediction_file
from jobs.review import file_reads, picture_search
from jobs.review.file_reads import FileReader
from jobs.review.pictures import Pictures
from jobs.storage.places import Places
from jobs.storage.stores import place
from sql.review.records import Pictured
from tests.benchmarks.bench_thumbnails import PAGE, Size, measure
from tests.labelled import write_labelled
from tests.object_store import ObjectStore, s3
from tests.unit.predict.test_predict_loop import DAY, RELEASE, ColourPredictor, write_images

__all__ = ["s3"]

RUN_ID = "night"
SURE = replace(RELEASE, thresholds=dict.fromkeys(("colour.red", "colour.green", "colour.blue"), 0.95))
"""No image is published by itself."""


def night(places: Places, count: int = 150) -> list[Pictured]:
    """Predict a shard of colours, red, green and blue in turn; return its pictures in order of their products."""
    shard = write_images(places, count)
    config = PredictConfig(RUN_ID, (DAY,), places, Path("release"), batch_size=32)
    predict_shard(shard, ColourPredictor(), SURE, config)
    rows = pq.read_table(prediction_file(config, shard)).to_pylist()
    return [
        Pictured(row["product_id"], row["image_no"], row["image_sha256"], DAY, RUN_ID, row["picture_at"])
        for row in rows
    ]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "home")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are opened from now on."""
    names: list[Path] = []
    open_file = Path.open

    def noting(path: Path, *args: Any, **options: Any) -> Any:
        names.append(path)
        return open_file(path, *args, **options)

    monkeypatch.setattr(Path, "open", noting)
    return names


def shard_of(places: Places) -> Path:
    [shard] = shards(places.images, [DAY])
    return Path(str(shard))


def kept_of(places: Places) -> Path:
    return Path(str(thumbnail_file(places, RUN_ID, DAY, shard_of(places).name)))


def key(picture: Pictured) -> tuple[str, str]:
    return picture.product_id, picture.image_sha256


def colour(content: bytes | None) -> int:
    """Return which channel of an image is brightest: 0 red, 1 green, 2 blue."""
    assert content is not None
    pixels = np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))
    return 2 - int(pixels.mean(axis=(0, 1)).argmax())


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


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


def test_pictures_of_which_no_prediction_says_where_they_lie_are_searched_in_their_date(
    places: Places, opened: list[Path]
) -> None:
    """Of answers without a person, and of earlier versions. The keys of a file are read once."""
    other = DAY + timedelta(days=1)
    write_labelled(places, [("p1", None, [0, 1])])
    write_labelled(places, [("p2", None, [2])])
    write_labelled(places, [("p1", None, [2])], day=other, version=1)
    first, second = (Pictured("p1", number, f"p1-{number}-0", DAY) for number in (0, 1))
    elsewhere, later = Pictured("p1", 0, "p1-0-1", DAY), Pictured("p1", 0, "p1-0-1", other)
    opened.clear()
    pictures = Pictures(places)
    found = pictures.thumbnails([first, second, later])
    assert {content: colour(jpeg) for (_, content), jpeg in found.items()} == {"p1-0-0": 0, "p1-1-0": 1, "p1-0-1": 2}
    assert len(opened) == 3 + 2, "the keys of three files, and the images of two"
    opened.clear()
    assert Pictures(places).thumbnails([elsewhere]) == {}, "it is of another date"
    assert {path.parent.name for path in opened} == {f"ingest_date={DAY}"}
    opened.clear()
    assert colour(pictures.large(first)) == 0
    assert len(opened) == 1


def test_a_search_reads_the_newest_files_and_not_more_than_it_may(
    places: Places, opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_search, "FILES", 5)
    monkeypatch.setattr(picture_search, "THREADS", 2)
    every: list[Path] = []
    for number in range(8):
        write_labelled(places, [(f"p{number}", None, [number % 3])])
        [file] = [path for path in Path(str(places.images)).rglob("part-*") if path not in every]
        os.utime(file, (1_000_000 + number,) * 2)
        every.append(file)
    opened.clear()
    pictures = Pictures(places)
    found = pictures.thumbnails([Pictured(f"p{number}", 0, f"p{number}-0-0", DAY) for number in range(8)])
    assert {product_id for product_id, _ in found} == {"p3", "p4", "p5", "p6", "p7"}
    assert set(opened) == set(every[3:])
    opened.clear()
    alone = Pictures(places).thumbnails([Pictured("p7", 0, "p7-0-0", DAY)])
    assert len(alone) == 1
    assert set(opened) == set(every[6:]), "the search ends where all are found"


def test_the_keys_that_are_kept_have_a_bound(places: Places, opened: list[Path]) -> None:
    write_labelled(places, [("p1", None, [0])])
    pictures = Pictures(places)
    pictures._search = picture_search.PictureSearch(places, keys_bytes=100)
    picture = Pictured("p1", 0, "p1-0-0", DAY)
    for _ in range(2):
        pictures._thumbnails.put(key(picture), b"", 2**40)  # forgotten
        opened.clear()
        assert pictures.thumbnails([picture])
        assert len(opened) == 2, "keys and image"


def test_several_threads_ask_at_once(places: Places) -> None:
    night_of = night(places)
    pictures = Pictures(places, cache_bytes=20_000)
    found: list[int] = []

    def ask(start: int) -> None:
        found.append(len(pictures.thumbnails(night_of[start : start + 60])))

    threads = [threading.Thread(target=ask, args=(10 * number,)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [60] * 9


class ConnectionLost(Exception):
    """Stands for an error of botocore, which is no OSError."""

    __module__ = "botocore.exceptions"


def test_a_store_that_is_away_is_left_alone_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each further file would take as long as the first one until it fails."""
    moment, tries = [1000.0], list[Any]()

    def away(where: Any, *_args: Any, **_options: Any) -> Any:
        tries.append(where)
        raise ConnectionLost("Could not connect to the endpoint URL")

    store = UPath("memory://away/home")
    monkeypatch.setattr(type(store), "open", away)
    pictures = Pictures(Places(store, tmp_path), reader=FileReader(threads=1, now=lambda: moment[0]))
    page = [Pictured(f"p{n}", 0, "0" * 64, DAY, RUN_ID, f"part-{n}.parquet#0#0#0") for n in range(60)]
    assert pictures.thumbnails(page) == {}
    assert 1 <= len(tries) <= 2, "another one may have begun"
    [line] = lines(caplog)
    assert line.startswith("60 of 60 pictures cannot be shown (memory://")
    assert "Could not connect" in line
    tries.clear()
    caplog.clear()
    assert pictures.thumbnails(page) == {}
    assert (tries, lines(caplog)) == ([], ["60 of 60 pictures cannot be shown (the store did not answer lately)"])
    moment[0] += file_reads.REST_SECONDS
    assert pictures.large(page[0]) is None
    assert tries


def test_a_page_does_not_wait_for_files_that_hang(
    places: Places, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()
    night_of = night(places)
    monkeypatch.setattr(file_reads, "MOST_SECONDS", 0.2)
    monkeypatch.setattr("jobs.review.pictures._kept_in", lambda *_: go_on.wait(60))
    pictures = Pictures(places)
    try:
        started = time.monotonic()
        assert pictures.thumbnails(night_of, seconds=0.1) == {}
        assert pictures._reader.away_until == float("-inf"), "the page itself may wait longer"
        assert pictures.thumbnails(night_of) == {}
        assert time.monotonic() - started < 10
        assert "were not read within" in lines(caplog)[0]
        assert pictures._reader.away_until > 0
    finally:
        go_on.set()


@pytest.fixture
def store_home(s3: ObjectStore, tmp_path: Path) -> tuple[Places, list[Pictured]]:
    """A night of a home in a store."""
    local = Places(tmp_path / "home")
    night_of = night(local)
    bucket = place(f"s3://{tmp_path.name.replace('_', '-').lower()[:50]}/home")
    assert isinstance(bucket, UPath)
    bucket.fs.mkdir(bucket.path.partition("/")[0])
    bucket.fs.put(str(local.home), bucket.path, recursive=True)
    return Places(bucket, tmp_path), night_of


def test_pictures_of_a_store(store_home: tuple[Places, list[Pictured]]) -> None:
    places, night_of = store_home
    found = Pictures(places).thumbnails(night_of)
    assert [colour(found[key(picture)]) for picture in night_of] == [n % 3 for n in range(150)]
    assert colour(Pictures(places).large(night_of[1])) == 1
    unsaid = [replace(picture, picture_at="") for picture in night_of]
    assert len(Pictures(places).thumbnails(unsaid)) == 150
    another = replace(night_of[0], picture_at="", ingest_date=DAY + timedelta(days=1))
    assert Pictures(places).thumbnails([another]) == {}


def test_a_store_that_stops_costs_pictures_and_nothing_else(
    s3: ObjectStore, store_home: tuple[Places, list[Pictured]], caplog: pytest.LogCaptureFixture
) -> None:
    places, night_of = store_home
    pictures = Pictures(places)
    assert len(pictures.thumbnails(night_of[:10])) == 10
    s3.stop()
    try:
        started = time.monotonic()
        assert len(pictures.thumbnails(night_of)) == 10, "those in memory"
        assert time.monotonic() - started < 30
        assert len(lines(caplog)) == 1
        started = time.monotonic()
        assert pictures.large(night_of[0]) is None
        assert time.monotonic() - started < 1, "it is left alone"
    finally:
        s3.start()


def test_sixty_pictures_of_sixty_files_come_quickly(tmp_path: Path) -> None:
    """The benchmark's figures are 1.5 s from a disk and 4 s from a store; here other tests may run meanwhile."""
    took = {name: kept for name, kept, *_ in measure(tmp_path, Size(shards=PAGE, rows=70, rounds=1))}
    assert took["disk"] < 5
    assert took["store"] < 15

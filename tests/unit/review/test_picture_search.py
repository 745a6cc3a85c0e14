"""The search for pictures of which no prediction says where they lie: it finds them by date, and within bounds."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.review import picture_search
from jobs.review.pictures import Pictures
from jobs.storage.places import Places
from sql.review.records import Pictured
from tests.labelled import write_labelled
from tests.unit.predict.test_predict_loop import DAY
from tests.unit.review.pictured_night import colour, key


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

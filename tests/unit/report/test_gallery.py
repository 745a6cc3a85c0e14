"""The pictures of a report: found in the dataset, each file opened once, and what is damaged is left out."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from upath import UPath

from jobs.dataset.shards import ROW_GROUP_ROWS
from jobs.report.gallery import FoundImages, find_images, pictures
from jobs.storage.places import Places
from tests.labelled import write_labelled
from tests.unit.predict.test_predict_loop import DAY, write_images

GROUPS = 3
PRODUCTS = [f"p{number:04d}" for number in range(GROUPS * ROW_GROUP_ROWS)]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """A file of three row groups."""
    return write_images(Places(tmp_path), len(PRODUCTS))


def found(tmp_path: Path) -> FoundImages:
    return find_images(Places(tmp_path), [DAY], PRODUCTS, newest=DAY)


def test_a_file_is_opened_once_for_its_pictures(tmp_path: Path, shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = found(tmp_path)
    opened: list[Path] = []
    open_file = Path.open

    def counting(path: Path, *args: Any, **options: Any) -> Any:
        opened.append(path)
        return open_file(path, *args, **options)

    monkeypatch.setattr(Path, "open", counting)
    chosen = PRODUCTS[:: ROW_GROUP_ROWS // 2]
    made = pictures(search, chosen, budget_bytes=10**6)
    assert list(made) == chosen
    assert made["p0000"] != made["p0032"], "another colour"
    assert opened == [shard]


def test_a_damaged_row_group_loses_only_its_own_pictures(
    tmp_path: Path, shard: Path, caplog: pytest.LogCaptureFixture
) -> None:
    search = found(tmp_path)
    metadata = pq.read_metadata(shard).row_group(1)
    [jpeg] = [metadata.column(i) for i in range(metadata.num_columns) if metadata.column(i).path_in_schema == "jpeg"]
    start = jpeg.dictionary_page_offset or jpeg.data_page_offset
    content = shard.read_bytes()
    shard.write_bytes(content[:start] + bytes([255]) * 40 + content[start + 40 :])
    made = pictures(search, PRODUCTS, budget_bytes=10**7)
    assert list(made) == [*PRODUCTS[:ROW_GROUP_ROWS], *PRODUCTS[2 * ROW_GROUP_ROWS :]]
    assert f"row group 1 of {shard} cannot be read" in caplog.text
    assert list(search.unreadable) == [f"ingest_date={DAY}/{shard.name}"]


def test_a_damaged_file_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    places = Places(tmp_path)
    write_labelled(places, [("p1", None, [0])], day=DAY)
    write_labelled(places, [("p2", None, [1])], day=DAY + timedelta(days=1))
    [broken] = places.images.glob("ingest_date=2026-11-02/*.parquet")
    Path(str(broken)).write_bytes(b"no Parquet")
    search = find_images(places, [DAY, DAY + timedelta(days=1)], ["p1", "p2"], newest=DAY)
    assert list(pictures(search, ["p1", "p2"], budget_bytes=10**6)) == ["p1"]
    assert list(search.unreadable) == [f"ingest_date=2026-11-02/{broken.name}"]
    assert not search.away


class ConnectionLost(Exception):
    """Stands for an error of botocore, which is no OSError."""

    __module__ = "botocore.exceptions"


def test_a_store_that_was_away_ended_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each further file would take as long as the first one until it fails."""
    tries: list[Any] = []

    def away(where: Any, *_args: Any, **_options: Any) -> Any:
        tries.append(where)
        raise ConnectionLost("Could not connect to the endpoint URL")

    store = UPath("memory://away/home")
    for day in (1, 2, 3):
        (store / "images" / f"ingest_date=2026-11-0{day}").mkdir(parents=True)
        (store / "images" / f"ingest_date=2026-11-0{day}" / "part-1.parquet").write_bytes(b"")
    monkeypatch.setattr(type(store), "open", away)
    days = [DAY + timedelta(days=number) for number in range(3)]
    search = find_images(Places(store, tmp_path), days, ["p1"], newest=DAY)
    assert search.unreadable == {"ingest_date=2026-11-03/part-1.parquet": "Could not connect to the endpoint URL"}
    assert len(tries) == 1
    assert pictures(search, ["p1"], budget_bytes=10**6) == {}


def test_a_bug_is_no_missing_picture(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), FoundImages().noting(tmp_path):
        raise ZeroDivisionError


def test_a_product_is_shown_with_a_picture_that_it_has_now_and_not_at_all_when_it_left(tmp_path: Path) -> None:
    """p1's first picture was replaced by its second; p2 has left; nobody has published p3 yet."""
    places, night_2 = Places(tmp_path), DAY + timedelta(days=1)
    write_labelled(places, [("p1", None, [0, 1]), ("p2", None, [2]), ("p3", None, [2, 0])], day=DAY)
    write_labelled(places, [("p1", None, [2])], day=night_2, version=2)
    search = find_images(places, [DAY, night_2], ["p1", "p2", "p3"], newest=DAY)
    before = pictures(search, ["p1", "p2", "p3"], budget_bytes=10**6)
    search.show_current({"p1": ["of a date that was not searched", "p1-1-0", "p1-0-0"], "p2": []})
    after = pictures(search, ["p1", "p2", "p3"], budget_bytes=10**6)
    assert list(before) == ["p1", "p2", "p3"]
    assert list(after) == ["p1", "p3"]
    assert after["p3"] == before["p3"] != after["p1"] != before["p1"] == before["p2"], "red, blue, green"

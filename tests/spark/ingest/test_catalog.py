"""Every form of a catalog gives the same rows; a catalog that cannot be used is refused in one sentence."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from jobs.catalog import divisions
from jobs.catalog.description import described
from jobs.catalog.files import parts_of
from jobs.catalog.layout import Layout
from jobs.catalog.rows import ROW_SCHEMA
from jobs.dataset.file_frames import frame_of_files
from jobs.errors import RunFailed, UsageError
from jobs.ingest.catalog import base_directory, read_catalog
from jobs.ingest.config import ProductSource
from jobs.spark.faults import spark_errors_explained
from jobs.storage.faults import StoreError
from jobs.storage.places import Place
from tests.spark.ingest.conftest import Reader

ROWS = [
    {"product_id": "p1", "image_no": "0", "image_uri": "a.jpg", "title": "Red, with a comma", "category": "tops"},
    {"product_id": "p1", "image_no": "1", "image_uri": "b.jpg", "title": 'A "quoted"\nname', "category": "tops"},
    {"product_id": "p2", "image_no": "0", "image_uri": "sub/c.jpg", "title": None, "category": None},
]


def write_csv(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_of_each_form_gives_the_same_rows(read: Reader, tmp_path: Path) -> None:
    csv_text = 'product_id,image_no,image_uri,title,category\np1,0,a.jpg,"Red, with a comma",tops\n'
    csv_text += 'p1,1,b.jpg,"A ""quoted""\nname",tops\np2,0,sub/c.jpg,,\n'
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "c.parquet")
    expected = [
        ("p1", 0, "a.jpg", "Red, with a comma", "tops", None),
        ("p1", 1, "b.jpg", 'A "quoted"\ufffdname', "tops", None),
        ("p2", 0, "sub/c.jpg", None, None, None),
    ]
    for file in (write_csv(tmp_path / "c.csv", csv_text), tmp_path / "c.jsonl", tmp_path / "c.parquet"):
        assert read(file) == expected, file


def test_a_group_is_read_from_each_form_and_not_where_rows_are_one_product(spark: SparkSession, tmp_path: Path) -> None:
    rows = [{"product_id": name, "image_uri": f"{name}.jpg", "group_id": "g1"} for name in ("p1", "p2")]
    write_csv(tmp_path / "c.csv", "product_id,image_uri,group_id\np1,p1.jpg,g1\np2,p2.jpg,g1\n")
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet")
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE products (product_id TEXT, image_uri TEXT, group_id TEXT)")
        connection.executemany("INSERT INTO products VALUES (:product_id, :image_uri, :group_id)", rows)
    table = ProductSource(f"sqlite:///{tmp_path}/shop.db")
    for where in ("c.csv", "c.jsonl", "c.parquet", "products"):
        catalog = where if where == "products" else str(tmp_path / where)
        frame = read_catalog(spark, catalog, products=table)
        assert sorted((row["product_id"], row["group_id"]) for row in frame.collect()) == [("p1", "g1"), ("p2", "g1")]
    grouped = read_catalog(spark, str(tmp_path / "c.csv"), description=described(group_by="group_id"))
    assert [(row["product_id"], row["image_no"], row["group_id"]) for row in grouped.collect()] == [
        ("g1", 0, None),
        ("g1", 1, None),
    ]


def test_a_large_csv_is_read_by_several_tasks(read: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divisions, "DIVIDED_BYTES", 100)
    monkeypatch.setattr(divisions, "RANGE_BYTES", 200)
    text = "product_id,image_uri\n" + "".join(f"p{number:03d},{number}.jpg\n" for number in range(100))
    assert len(parts_of(write_csv(tmp_path / "c.csv", text), Layout("csv"))) > 5
    assert read(tmp_path / "c.csv") == [(f"p{n:03d}", 0, f"{n}.jpg", None, None, None) for n in range(100)]
    with pytest.raises(UsageError, match=r"bad.csv has 1 value in line 102, and its header has 2;"):
        read(write_csv(tmp_path / "bad.csv", text + "p100\n"))


ODD_NAMES = (
    "shop[12]",
    "export_2026-11-01T02:00:00",
    "_products",
    ".products",
    "a {b,c} *?",
    "back\\slash",
    "100%20#1;é",
    "file:shop",
)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_exactly_the_named_file_is_read_with_any_characters_in_its_name(
    read: Reader, tmp_path: Path, name: str
) -> None:
    """Spark takes a path as a pattern, refuses a colon, and leaves hidden names out."""
    root = tmp_path / f"home of {name}"
    root.mkdir()
    lines = {"product_id": "mine", "image_uri": "a.jpg"}
    for other in ("shop1", "shop2", "a b x", "a c xx"):
        (root / f"{other}.csv").write_text("product_id,image_uri\nother,b.jpg\n")
    (root / f"{name}.csv").write_text("product_id,image_uri\nmine,a.jpg\n")
    (root / f"{name}.csv.gz").write_bytes(gzip.compress(b"product_id,image_uri\nmine,a.jpg\n"))
    (root / f"{name}.jsonl").write_text(json.dumps(lines) + "\n")
    pq.write_table(pa.Table.from_pylist([lines]), root / f"{name}.parquet")
    tables = root / "tables" / name
    tables.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([lines]), tables / f"{name}.parquet")
    pq.write_table(pa.Table.from_pylist([{**lines, "image_no": 1}]), tables / "z.parquet")
    for ending in ("csv", "csv.gz", "jsonl", "parquet"):
        assert read(root / f"{name}.{ending}") == [("mine", 0, "a.jpg", None, None, None)], ending
    hidden = name.startswith(".")
    assert read(tables) == [("mine", number, "a.jpg", None, None, None) for number in ((1,) if hidden else (0, 1))]
    folders = root / "folders" / name
    (folders / "hats").mkdir(parents=True)
    (folders / "hats" / "h.jpg").touch()
    assert read(folders) == [("h", 0, "hats/h.jpg", None, "hats", None)]


def test_a_catalog_whose_name_is_no_utf_8_is_read(read: Reader, tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.csv")
    Path(path).write_text("product_id,image_uri\nmine,a.jpg\n")
    assert read(path) == [("mine", 0, "a.jpg", None, None, None)]


def test_a_file_uri_is_decoded(read: Reader, tmp_path: Path) -> None:
    (tmp_path / "a b%.csv").write_text("product_id,image_uri\nmine,a.jpg\n")
    for start in ("file://", "FILE://localhost", "file:"):
        assert read(f"{start}{tmp_path}/a%20b%25.csv") == [("mine", 0, "a.jpg", None, None, None)]
    with pytest.raises(UsageError, match="received host 'other'"):
        read(f"file://other{tmp_path}/a%20b%25.csv")


def test_files_of_a_directory_may_differ_in_optional_columns(read: Reader, tmp_path: Path) -> None:
    first, second = {"product_id": 1, "image_uri": "a.jpg"}, {"image_uri": "b.jpg", "product_id": "p2", "title": "hat"}
    pq.write_table(pa.Table.from_pylist([first]), tmp_path / "a.parquet")
    pq.write_table(pa.Table.from_pylist([second]), tmp_path / "b.parquet")
    assert read(tmp_path) == [("1", 0, "a.jpg", None, None, None), ("p2", 0, "b.jpg", "hat", None, None)]
    pq.write_table(pa.Table.from_pylist([{"product_id": "p3"}]), tmp_path / "c.parquet")
    with pytest.raises(UsageError, match=r"/c.parquet has no column image_uri"):
        read(tmp_path)


def test_times_of_parquet_are_written_as_spark_writes_them_and_ids_as_whole_numbers(
    read: Reader, tmp_path: Path
) -> None:
    """A home has these texts of `updated_at`. Spark wrote the ids of pandas as 7.0 and 1.2345678E7."""
    table = {
        "product_id": [7.0, 12345678.0],
        "image_uri": ["a", "b"],
        "updated_at": pa.array([datetime(2026, 11, 1, 2), datetime(2026, 11, 1, 2, 3, 4, 500000)], pa.timestamp("ms")),
        "title": [date(2026, 11, 1)] * 2,
        "category": [True, False],
    }
    pq.write_table(pa.table(table), tmp_path / "c.parquet")
    assert read(tmp_path / "c.parquet") == [
        ("12345678", 0, "b", "2026-11-01", "false", "2026-11-01 02:03:04.5"),
        ("7", 0, "a", "2026-11-01", "true", "2026-11-01 02:00:00"),
    ]


def test_ids_and_numbers_of_other_types_are_read_as_text_and_number(read: Reader, tmp_path: Path) -> None:
    pq.write_table(pa.table({"product_id": [7], "image_uri": ["x.jpg"], "image_no": [2.0]}), tmp_path / "c.parquet")
    assert read(tmp_path / "c.parquet") == [("7", 2, "x.jpg", None, None, None)]


def test_a_directory_gives_its_folders_as_categories(read: Reader, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for name in ("hat/h1.jpg", "tops/shirt/s1.png", "README.md", ".hidden/x.jpg", "hat/.DS_Store"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    assert read(root) == [
        ("h1", 0, "hat/h1.jpg", None, "hat", None),
        ("s1", 0, "tops/shirt/s1.png", None, "tops.shirt", None),
    ]
    assert base_directory(str(root)) == root


def pictures(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_pictures_with_the_same_name_in_other_folders_are_refused_with_the_option_that_helps(
    read: Reader, tmp_path: Path
) -> None:
    """The commonest directory of all: its owner was told to number images, which a directory cannot do."""
    root = pictures(tmp_path, "shirts/000.jpg", "shoes/000.jpg", "shoes/001.jpg")
    with pytest.raises(
        UsageError, match=r"the first: 000 of shirts/000.jpg and shoes/000.jpg; with `--product-id path` .*folder` the"
    ):
        read(root)
    assert [row[:3] for row in read(root, description=described(product_id="path"))] == [
        ("shirts/000", 0, "shirts/000.jpg"),
        ("shoes/000", 0, "shoes/000.jpg"),
        ("shoes/001", 0, "shoes/001.jpg"),
    ]
    assert read(root, description=described(product_id="folder")) == [
        ("shirts", 0, "shirts/000.jpg", None, None, None),
        ("shoes", 0, "shoes/000.jpg", None, None, None),
        ("shoes", 1, "shoes/001.jpg", None, None, None),
    ]


def test_pictures_that_differ_in_the_suffix_alone_are_refused_with_the_option_that_helps(
    read: Reader, tmp_path: Path
) -> None:
    root = pictures(tmp_path, "hats/a.jpg", "hats/a.png", "b.jpg", "b.png")
    with pytest.raises(
        UsageError, match=r"a of hats/a.jpg and hats/a.png, .*; with `--product-id path` .* folder` the"
    ):
        read(root)
    with pytest.raises(UsageError, match=r"b of b.jpg and b.png; with `--product-id path` each picture is a product, "):
        read(root, description=described(product_id="folder"))
    found = [row[0] for row in read(root, description=described(product_id="path"))]
    assert found == ["b.jpg", "b.png", "hats/a.jpg", "hats/a.png"]


def test_a_night_logs_what_it_takes_a_catalog_for(
    read: Reader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    catalog = write_csv(tmp_path / "c.txt", "id;title;image_link\np1;Hat;https://h.example/a.jpg?token=s3cret\n")
    with caplog.at_level("INFO", logger="jobs.ingest.catalog"):
        assert len(read(catalog)) == 1
    assert f"catalog {catalog}: read as CSV with semicolons in UTF-8, an export for Google Merchant" in caplog.messages
    assert "s3cret" not in caplog.text


def test_what_a_directory_of_pictures_has_beside_them_is_in_one_line_of_the_log(
    read: Reader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures(tmp_path, "outside/x.jpg")
    root = pictures(tmp_path / "shop", "hats/1.jpg", "hats/Thumbs.db", "notes.txt", "more.txt")
    (root / "out").symlink_to("../outside")
    with caplog.at_level("INFO", logger="jobs.ingest.catalog"):
        assert len(read(root)) == 1
    assert caplog.messages[-1] == (
        f"catalog {root}: passed over 3 other files (2 .txt, 1 .db); "
        "did not follow 1 link to folders outside of the directory (out)"
    )
    (root / "hats" / "1.jpg").unlink()
    with pytest.raises(UsageError, match="shop has no picture; it needs files with the suffix of an image format"):
        read(root)


@pytest.mark.parametrize("mark", ["\u0085", "\u200b", "\u202e"])
def test_an_id_with_an_invisible_character_is_refused(read: Reader, tmp_path: Path, mark: str) -> None:
    with pytest.raises(UsageError, match=r"has 1 rows whose product_id .* or invisible ones, the first: .*'p.*1'"):
        read(write_csv(tmp_path / "c.csv", f"product_id,image_uri\np{mark}1,a.jpg\n\u0645\u06cc\u200c\u062e,b.jpg\n"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,image_uri\n1,a.jpg\n", ("no column product_id", "has id, image_uri")),
        ("product_id,picture\n1,a.jpg\n", ("no column image_uri",)),
        ("product_id,image_uri\n", ("is empty",)),
        ("product_id,image_uri\np1,a.jpg\np1,b.jpg\n", ("more than once", "(p1, 0) 2 times", "image_no")),
        ("product_id,image_uri\np1,a.jpg\n ,b.jpg\n", ("1 rows", "product_id", "b.jpg")),
        ("product_id,image_uri,image_no\np1,a.jpg,first\n", ("whole number", "p1")),
        ("product_id,image_uri,image_no\np1,a.jpg,-1\n", ("whole number", "p1")),
        ("product_id,image_uri,image_no\np1,a.jpg,1_0\np2,b.jpg,1d\np3,c.jpg,+1.0\n", ("has 2 rows", "whole number")),
        ("product_id,image_uri,image_no\np1,a.jpg,1\np1,b.jpg,01\np1,c.jpg,1e0\n", ("(p1, 1) 3 times",)),
        (f"product_id,image_uri\n{'x' * 256},a.jpg\n", ("255 characters",)),
        (
            'product_id,image_uri\np1,a.jpg\np2,"b.jpg\n' + "p3,c.jpg\n" * 57,
            ("inside of a quoted value", "lines 3 to 60"),
        ),
        ("product_id,image_uri\np1,a.jpg\np2\n", ("1 value in line 3",)),
        ("product_id,image_uri\np1,a.jpg\np2,b.jpg,c\n", ("3 values in line 3",)),
    ],
)
def test_an_unusable_catalog_is_refused(read: Reader, tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        read(write_csv(tmp_path / "bad.csv", text))
    message = str(caught.value)
    assert "bad.csv" in message
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bad.parquet", b"this is not Parquet"),
        ("bad.parquet", b"PAR1 truncated"),
        ("bad.jsonl", b'{"product_id": "p1", "image_uri": \n'),
        ("bad.xlsx", b"PK"),
    ],
)
def test_an_unreadable_file_is_named(read: Reader, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=r"bad\.") as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_line_that_is_no_json_is_named(read: Reader, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"product_id": "p1", "image_uri": "a.jpg"}\n{"product_id": \n')
    with pytest.raises(UsageError, match=r"c.jsonl has no JSON in line 2 "):
        read(tmp_path / "c.jsonl")


def test_a_store_that_becomes_unavailable_is_not_a_wrong_call(spark: SparkSession, tmp_path: Path) -> None:
    def away(where: Place) -> Iterator[pa.RecordBatch]:
        yield from ()
        raise StoreError(f"{where} could not be read for 180 s (ReadTimeout); see that the store answers")

    with pytest.raises(RunFailed, match=r"^/.*/c.csv could not be read for 180 s"), spark_errors_explained():
        frame_of_files(spark, [tmp_path / "c.csv"], away, ROW_SCHEMA).collect()


def test_two_nights_that_list_at_the_same_time_do_not_mix_their_files(read: Reader, tmp_path: Path) -> None:
    """No listing lies where another driver of the same home would write its own."""
    for shop in ("one", "two"):
        (tmp_path / shop / "hats").mkdir(parents=True)
        for number in range(300):
            (tmp_path / shop / "hats" / f"{shop}-{number}.jpg").touch()
    with ThreadPoolExecutor(2) as both:
        found = list(both.map(read, [tmp_path / "one", tmp_path / "two"]))
    assert [{str(row[0])[:3] for row in rows} for rows in found] == [{"one"}, {"two"}]
    assert [len(rows) for rows in found] == [300, 300]


def test_a_missing_catalog_is_named(read: Reader, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        read(tmp_path / "nowhere.csv")


def test_control_characters_never_reach_the_dataset(read: Reader, tmp_path: Path) -> None:
    lines = [{"product_id": "p1", "image_uri": "a\u0000b.jpg", "title": "bell\u0007"}]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert read(tmp_path / "c.jsonl") == [("p1", 0, "a\ufffdb.jpg", "bell\ufffd", None, None)]

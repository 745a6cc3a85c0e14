"""Every form of a catalog gives the same rows; a catalog that cannot be used is refused in one sentence."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from jobs.catalog import base_directory, read_catalog
from jobs.config import Places, ProductSource, UsageError
from sql.errors import DatabaseError

ROWS = [
    {"product_id": "p1", "image_no": "0", "image_uri": "a.jpg", "title": "Red, with a comma", "category": "tops"},
    {"product_id": "p1", "image_no": "1", "image_uri": "b.jpg", "title": 'A "quoted"\nname', "category": "tops"},
    {"product_id": "p2", "image_no": "0", "image_uri": "sub/c.jpg", "title": None, "category": None},
]

Reader = Callable[[object], list[tuple[object, ...]]]


@pytest.fixture
def read(spark: SparkSession, tmp_path: Path) -> Reader:
    def rows(catalog: object, **options: object) -> list[tuple[object, ...]]:
        frame = read_catalog(spark, str(catalog), places=Places(tmp_path), **options)  # type: ignore[arg-type]
        return sorted(tuple(row) for row in frame.collect())

    return rows


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
    for catalog in (write_csv(tmp_path / "c.csv", csv_text), tmp_path / "c.jsonl", tmp_path / "c.parquet"):
        assert read(catalog) == expected, catalog


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


def test_a_shops_own_table_is_a_catalog(read: Reader, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE articles (sku INTEGER PRIMARY KEY, photo TEXT, name TEXT)")
        connection.executemany("INSERT INTO articles VALUES (?, ?, ?)", [(n, f"/{n}.jpg", None) for n in range(50)])
    columns = {"product_id": "sku", "image_uri": "photo", "title": "name"}
    source = ProductSource(f"sqlite:///{tmp_path}/shop.db", "articles", columns)
    expected = sorted((str(n), 0, f"/{n}.jpg", None, None, None) for n in range(50))
    assert read("products", products=source) == expected  # type: ignore[call-arg]
    lacking = ProductSource(source.url, "articles", {**columns, "image_uri": "picture"})
    with pytest.raises(DatabaseError, match="picture"):
        read("products", products=lacking)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="SHELFWISE_PRODUCTS_COLUMNS"):
        read("products", products=ProductSource(source.url, "articles", {"colour": "x"}))  # type: ignore[call-arg]


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
        (f"product_id,image_uri\n{'x' * 256},a.jpg\n", ("255 characters",)),
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


def test_a_missing_catalog_is_named(read: Reader, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        read(tmp_path / "nowhere.csv")


def test_control_characters_never_reach_the_dataset(read: Reader, tmp_path: Path) -> None:
    lines = [{"product_id": "p1", "image_uri": "a\u0000b.jpg", "title": "bell\u0007"}]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert read(tmp_path / "c.jsonl") == [("p1", 0, "a\ufffdb.jpg", "bell\ufffd", None, None)]

"""A shop's table is read as a file is; its database's faults are told from wrong calls."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.catalog.description import described
from jobs.errors import RunFailed, UsageError
from jobs.ingest.catalog import read_catalog
from jobs.ingest.config import ProductSource
from tests.spark.ingest.conftest import Reader


def test_ids_of_a_table_that_are_floats_are_whole_numbers_or_refused(read: Reader, tmp_path: Path) -> None:
    """SQLite's own text of a float has 15 digits, so that two products would be one."""
    source = ProductSource(f"sqlite:///{tmp_path}/shop.db")
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE products (product_id REAL, image_uri TEXT)")
        ids = [(7.0, "7"), (1234567890123456.0, "a"), (1234567890123457.0, "b")]
        connection.executemany("INSERT INTO products VALUES (?, ?)", ids)
    found = read("products", products=source)
    assert [row[0] for row in found] == ["1234567890123456", "1234567890123457", "7"]
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("INSERT INTO products VALUES (1.5, 'c')")
    with pytest.raises(UsageError, match=r"the number '1.5' as product_id; an id is a text or a whole number"):
        read("products", products=source)


def test_a_shops_own_table_is_a_catalog(read: Reader, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE articles (sku INTEGER PRIMARY KEY, photo TEXT, name TEXT)")
        connection.executemany("INSERT INTO articles VALUES (?, ?, ?)", [(n, f"/{n}.jpg", None) for n in range(50)])
    columns = {"product_id": "sku", "image_uri": "photo", "title": "name"}
    source = ProductSource(f"sqlite:///{tmp_path}/shop.db", "articles", columns)
    expected = sorted((str(n), 0, f"/{n}.jpg", None, None, None) for n in range(50))
    assert read("products", products=source) == expected
    lacking = ProductSource(source.url, "articles", {**columns, "image_uri": "picture"})
    with pytest.raises(UsageError, match=r"no column picture; .* has sku, photo, name"):
        read("products", products=lacking)
    with pytest.raises(UsageError, match="SHELFWISE_PRODUCTS_COLUMNS"):
        read("products", products=ProductSource(source.url, "articles", {"colour": "x"}))


def test_a_shops_table_is_read_by_the_same_words_as_a_file(spark: SparkSession, tmp_path: Path) -> None:
    columns = ("sku", "parent", "img1", "img2", "links", "name")
    rows = [
        (f"s{n:02}", f"a{n % 4}" if n > 1 else None, f"{n}-1.jpg", f"{n}-2.jpg", f"{n}-3.jpg|{n}-1.jpg", "hat")
        for n in range(12)
    ]
    lines = [",".join(columns), *(",".join(each or "" for each in row) for row in rows)]
    (tmp_path / "c.csv").write_text("\n".join(lines), encoding="utf-8")
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute(f"CREATE TABLE articles ({', '.join(f'{name.upper()} TEXT' for name in columns)})")
        connection.executemany("INSERT INTO articles VALUES (?, ?, ?, ?, ?, ?)", rows)
    table = ProductSource(f"sqlite:///{tmp_path}/shop.db", "articles")
    ours = {"product_id": ("sku",), "image_uri": ("img*", "links"), "title": ("name",), "group_id": ("parent",)}

    def read(catalog: str, source: ProductSource, **said: object) -> list[tuple[object, ...]]:
        frame = read_catalog(spark, catalog, products=source, description=described(**said))
        return sorted((tuple(row) for row in frame.collect()), key=repr)

    for said in ({}, {"image_separator": "|"}, {"image_separator": "|", "group_by": "parent"}):
        from_file = read(str(tmp_path / "c.csv"), table, columns=ours, **said)
        assert read("products", table, columns=ours, **said) == from_file
        by_setting = ProductSource(table.url, table.table, {name: list(theirs) for name, theirs in ours.items()})
        assert read("products", by_setting, **said) == from_file
    assert len({row[0] for row in from_file}) == 6
    assert {row[1] for row in from_file if row[0] == "a2"} == set(range(9))


def test_a_shop_s_rows_without_a_key_are_refused_as_a_file_s_are(read: Reader, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE products (product_id TEXT, image_uri TEXT)")
        connection.executemany("INSERT INTO products VALUES (?, ?)", [(None, "none.jpg"), ("p", "p.jpg"), ("q", "q")])
    with pytest.raises(UsageError, match=r"has 1 rows whose product_id is empty.*product_id None.*none.jpg"):
        read("products", products=ProductSource(f"sqlite:///{tmp_path}/shop.db"))


def test_a_shop_database_that_becomes_unavailable_is_not_a_wrong_call(read: Reader, tmp_path: Path) -> None:
    """The ranges are cut; then a value that no database can read stops the tasks, as would a server that stops."""
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE goods (product_id TEXT, image_uri TEXT)")
        connection.executemany("INSERT INTO goods VALUES (?, ?)", [(f"p{n}", f"{n}.jpg") for n in range(9)])
        # abs() of this number is an overflow, which the driver's look at the keys does not come upon.
        connection.execute(
            "CREATE VIEW products AS SELECT product_id, CASE product_id WHEN 'p7' THEN abs(-9223372036854775808) "
            "ELSE image_uri END AS image_uri FROM goods"
        )
    with pytest.raises(RunFailed, match=r"^SQLite database .*shop.db failed \(integer overflow\)"):
        read("products", products=ProductSource(f"sqlite:///{tmp_path}/shop.db"))

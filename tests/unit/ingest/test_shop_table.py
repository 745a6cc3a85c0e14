"""What is said of a shop's table: by the setting, by options, and what is refused because it is for files."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from jobs.catalog.description import Description, described
from jobs.errors import UsageError
from jobs.ingest.catalog import read_catalog
from jobs.ingest.config import ProductSource
from jobs.ingest.shop_table import layout_of_table, shop_table
from jobs.settings import Settings

NO_SPARK: Any = None


@pytest.fixture
def source(tmp_path: Path) -> ProductSource:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE articles (sku TEXT, front TEXT, back TEXT, parent TEXT)")
    return ProductSource(f"sqlite:///{tmp_path}/shop.db", "articles", {"product_id": "sku", "image_uri": "front"})


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"format": "csv"}, "--format is for files, and the catalog `products` is a table; leave it out"),
        ({"encoding": "cp1252"}, "--encoding is for files"),
        ({"product_id": "path"}, "--product-id is for files"),
        (
            {"columns": {"product_id": ("sku",), "image_uri": ("side",)}},
            "no column side; .* has sku, front, back, parent",
        ),
        ({"columns": {"product_id": ("sku",)}}, "no column image_uri"),
        ({"group_by": "article"}, "no column article"),
    ],
)
def test_what_does_not_fit_a_table_is_refused(source: ProductSource, said: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        shop_table(source, described(**said))


def test_options_that_say_nothing_are_no_fault() -> None:
    assert layout_of_table(described(format="auto")).form == "table"


@pytest.mark.parametrize("said", [{"group_by": "group_id"}, {"columns": {"product_id": ("group_id",)}}])
def test_the_table_that_shelfwise_writes_is_read_as_it_is(source: ProductSource, said: dict[str, Any]) -> None:
    """A publish would write the products of the other columns back into it."""
    own = ProductSource(source.url, own=True)
    with pytest.raises(UsageError, match=r"that shelfwise itself writes; set SHELFWISE_PRODUCTS_TABLE or"):
        shop_table(own, described(**said))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"colour": "x"}, "'colour' is no column of a catalog; expected product_id"),
        ({"title": ""}, "title is given no column"),
        ({"image_uri": ["a", "a"]}, "image_uri is given one column twice"),
    ],
)
def test_a_wrong_setting_is_named(source: ProductSource, columns: Any, words: str) -> None:
    with pytest.raises(UsageError, match=f"^SHELFWISE_PRODUCTS_COLUMNS: {words}"):
        shop_table(ProductSource(source.url, "articles", columns), Description())


def test_the_setting_takes_several_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFWISE_PRODUCTS_COLUMNS", '{"product_id": "sku", "image_uri": ["front", "back"]}')
    assert Settings().products.columns == {"product_id": "sku", "image_uri": ["front", "back"]}


def test_the_setting_does_not_count_for_a_file_and_that_is_said(
    source: ProductSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "c.csv").write_text("sku,front\np1,1.jpg\n")
    with pytest.raises(UsageError, match="no column product_id"):
        read_catalog(NO_SPARK, str(tmp_path / "c.csv"), products=source)
    [message] = [message for message in caplog.messages if "SHELFWISE" in message]
    assert message.startswith("SHELFWISE_PRODUCTS_COLUMNS is for the catalog `products` and does not count for /")
    caplog.clear()
    with pytest.raises(UsageError):
        read_catalog(NO_SPARK, str(tmp_path / "c.csv"), products=ProductSource(source.url))
    assert not [message for message in caplog.messages if "SHELFWISE" in message]

"""Exports of shop systems are read to the rows that `tests/catalogs` says; see its README."""

from __future__ import annotations

import csv
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook

from jobs.catalog.description import Description
from jobs.catalog.files import parts_of, read_part
from jobs.catalog.guess import guess
from jobs.catalog.recognise import recognise
from jobs.errors import UsageError

CATALOGS = Path(__file__).parents[2] / "catalogs"
COLUMNS = ("product_id", "image_no", "image_uri", "title", "category", "group_id")
PAGE = (Path(__file__).parents[3] / "jobs" / "catalog" / "README.md").read_text(encoding="utf-8")
SAID = {
    name: Description.model_validate(tomllib.loads(text))
    for name, text in zip(
        ("amazon.txt", "magento.csv", "prestashop.csv"),
        re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL),
        strict=True,
    )
}
"""What the page on catalogs says of the catalogs whose names and headers do not say it."""

NAMES = sorted(path.name.removesuffix(".rows.json") for path in CATALOGS.glob("*.rows.json"))
WORDS = {
    "google.tsv": "CSV with tabs in UTF-8, an export for Google Merchant",
    "google.xml": "XML in UTF-8, an export for Google Merchant",
    "google-atom.xml": "XML in UTF-8, an export for Google Merchant",
    "shopify.csv": "CSV with commas in UTF-8, an export for Shopify",
    "shopify-url-handle.csv": "CSV with commas in UTF-8, an export for Shopify",
    "woocommerce.csv": "CSV with commas in UTF-8, an export for WooCommerce",
    "semicolons.csv": "CSV with semicolons in UTF-8",
    "products.json": "JSON in UTF-8",
    "plain.jsonl": "JSON Lines in UTF-8",
}


def rows_of(name: str, said: Description | None = None) -> list[list[Any]]:
    """Read a golden catalog; numbers of images that follow from the order are None."""
    where = CATALOGS / name
    layout = recognise(where, said).layout
    batches = [batch for part in parts_of(where, layout) for batch in read_part(part, layout)]
    return [[row[column] for column in COLUMNS] for batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize("name", NAMES)
def test_an_export_is_read_to_its_rows(name: str) -> None:
    expected = json.loads((CATALOGS / f"{name}.rows.json").read_text(encoding="utf-8"))
    assert rows_of(name, SAID.get(name)) == expected


@pytest.mark.parametrize("name", WORDS)
def test_what_a_catalog_is_taken_for_is_said(name: str) -> None:
    assert recognise(CATALOGS / name).words == WORDS[name]


@pytest.mark.parametrize("name", ["amazon.txt", "magento.csv", "prestashop.csv"])
def test_a_guess_reads_the_ids_and_images_that_a_person_would(name: str) -> None:
    said = guess(CATALOGS / name, Description(base_url=SAID[name].base_url))
    key = slice(0, 3)
    assert [row[key] for row in rows_of(name, said)] == [row[key] for row in rows_of(name, SAID[name])]


@pytest.mark.parametrize("name", ["amazon.txt", "magento.csv", "prestashop.csv"])
def test_nothing_is_guessed_at_night(name: str) -> None:
    with pytest.raises(UsageError, match=r"shelfwise catalog check"):
        recognise(CATALOGS / name)


def test_a_variation_names_its_parent_by_sku_or_by_id() -> None:
    """WooCommerce writes `id:36` for a parent that has no SKU."""
    rows = rows_of("woocommerce.csv", Description(group_by="Parent"))
    assert {row[0] for row in rows} == {"beanie", "hoodie", "35", "36"}
    assert [row[2].rpartition("/")[2] for row in rows if row[0] == "36"] == ["scarf.jpg", "scarf-red.jpg"]


def test_every_golden_catalog_has_its_rows() -> None:
    files = {path.name for path in CATALOGS.iterdir() if path.suffix not in (".md", ".json")} | {"products.json"}
    assert files == set(NAMES)
    assert len(NAMES) >= 12


def test_a_workbook_and_a_parquet_file_of_the_same_products_have_the_same_rows(tmp_path: Path) -> None:
    with (CATALOGS / "plain.csv").open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    book = Workbook()
    for line in (header, *lines):
        book.active.append(line)
    book.save(tmp_path / "c.xlsx")
    columns = {name: [line[index] or None for line in lines] for index, name in enumerate(header)}
    pq.write_table(pa.table(columns), tmp_path / "c.parquet")
    expected = rows_of("plain.csv")
    assert rows_of(str(tmp_path / "c.xlsx")) == expected
    assert rows_of(str(tmp_path / "c.parquet")) == expected

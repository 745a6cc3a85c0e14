"""A catalog is recognised by its name, its first bytes and its header, or refused."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook

from jobs.catalog.description import Description
from jobs.catalog.files import parts_of, read_part
from jobs.catalog.recognise import recognise
from jobs.errors import UsageError

CSV = b"product_id;image_uri\np1;1.jpg\n"
XML = b"<goods><good><product_id>p1</product_id><image_uri>1.jpg</image_uri></good><good/></goods>"
JSON = b'[\n{"product_id": "p1",\n"image_uri": "1.jpg"}]'
LINES = b'{"product_id": "p1", "image_uri": "1.jpg"}\n'


def parquet() -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"product_id": ["p1"], "image_uri": ["1.jpg"]}), stream)
    return stream.getvalue()


def workbook() -> bytes:
    book, stream = Workbook(), io.BytesIO()
    book.active.append(("product_id", "image_uri"))
    book.active.append(("p1", "1.jpg"))
    book.save(stream)
    return stream.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def read(path: Path, content: bytes, said: Description | None = None) -> tuple[str, list[Any]]:
    path.write_bytes(content)
    found = recognise(path, said)
    batches = [batch for part in parts_of(path, found.layout) for batch in read_part(part, found.layout)]
    return found.words, [(row["product_id"], row["image_uri"]) for batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("c.csv", CSV, "CSV with semicolons in UTF-8"),
        ("c.CSV.gz", gzip.compress(CSV, mtime=0), "CSV with semicolons in UTF-8, from gzip"),
        ("c.zip", zipped("goods.csv", CSV), "CSV with semicolons in UTF-8, from zip"),
        ("c.zip", zipped("goods.xml", XML), "XML"),
        ("export", CSV.replace(b";", b"\t"), "CSV with tabs in UTF-8"),
        ("export.dat", CSV.replace(b";", b"|"), "CSV with vertical bars in UTF-8"),
        ("c.csv", CSV.decode().encode("utf-16"), "CSV with semicolons in UTF-16-LE"),
        ("c.csv", workbook(), "an XLSX workbook"),
        ("c.xlsx", workbook(), "an XLSX workbook"),
        ("c", workbook(), "an XLSX workbook"),
        ("c.txt", XML, "XML"),
        ("c", parquet(), "Parquet"),
        ("c.json", JSON, "JSON in UTF-8"),
        ("c.jsonl", JSON, "JSON in UTF-8"),
        ("c.json", LINES, "JSON Lines in UTF-8"),
        ("c.json.gz", gzip.compress(JSON, mtime=0), "JSON in UTF-8, from gzip"),
        ("c", LINES, "JSON Lines in UTF-8"),
    ],
)
def test_name_and_bytes_say_the_form(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    assert read(tmp_path / name, content) == (words, [("p1", "1.jpg")])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("photo.jpg", b"\xff\xd8\xff\xe0" + b"\0" * 99, "is of an unknown form; expected a directory, a .csv"),
        ("c", b"a;b\n1;2\n", "is of an unknown form"),
        ("c.parquet.gz", gzip.compress(parquet(), mtime=0), "holds Parquet that is compressed once more; unpack it"),
        ("c.csv", b"sku;photo\n1;2\n", "has no column product_id and no column image_uri"),
        ("c.parquet", CSV, "cannot be read ("),
    ],
)
def test_what_nothing_says_is_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path / name, content)
    assert str(caught.value).startswith(f"catalog {tmp_path / name} {words}"), str(caught.value)


def test_what_was_said_counts_before_what_is_seen(tmp_path: Path) -> None:
    said = Description(format="csv", separator=";", quote="")
    assert read(tmp_path / "goods.json", CSV, said)[1] == [("p1", "1.jpg")]
    (tmp_path / "shelfwise.toml").write_text('[columns]\nproduct_id = "sku"\nimage_uri = "photo"\n')
    words, rows = read(tmp_path / "c.csv", b"sku;photo;title\np1;1.jpg;x\n")
    assert (words, rows) == ("CSV with semicolons in UTF-8", [("p1", "1.jpg")])
    with pytest.raises(UsageError, match="has no column sku"):
        read(tmp_path / "c.csv", b"product_id;image_uri\np1;1.jpg\n")


def test_the_form_of_a_shop_system_may_be_said(tmp_path: Path) -> None:
    """Where the names of a catalog's own columns stand beside those of the system."""
    header = b"id,image_link,product_id,image_uri\np1,1.jpg,p2,2.jpg\n"
    assert read(tmp_path / "c.csv", header) == ("CSV with commas in UTF-8", [("p2", "2.jpg")])
    assert read(tmp_path / "c.csv", header, Description(format="google"))[1] == [("p1", "1.jpg")]


@pytest.mark.parametrize(
    ("kind", "header"), [("google", "id,image_link,item_group_id"), ("shopify", "Handle,Image Src")]
)
@pytest.mark.parametrize("form", ["auto", "said"])
def test_a_misspelt_group_by_is_refused_of_a_shop_system_too(tmp_path: Path, kind: str, header: str, form: str) -> None:
    """It made a product of each variant, without its group, so that variants could be in training and in test."""
    content = f"{header}\n{','.join('x' for _ in header.split(','))}\n".encode()
    said = {"format": kind} if form == "said" else {}
    with pytest.raises(UsageError, match="has no column item_groupid;"):
        read(tmp_path / "c.csv", content, Description.model_validate({**said, "group_by": "item_groupid"}))
    known = header.split(",")[-1] if kind == "google" else "handle"
    assert read(tmp_path / "c.csv", content, Description.model_validate({**said, "group_by": known}))[1] == [("x", "x")]

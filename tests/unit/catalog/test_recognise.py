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
from jobs.catalog.errors import CHECK_HINT
from jobs.catalog.files import parts_of, read_part
from jobs.catalog.recognise import recognise
from jobs.errors import UsageError
from tests.unit.catalog.catalog_files import zipped

CSV = b"product_id;image_uri\np1;1.jpg\n"
XML = b"<goods><good><product_id>p1</product_id><image_uri>1.jpg</image_uri></good><good/></goods>"
DECLARED = b"<?xml version='1.0' encoding='ISO-8859-1'?>\n" + XML
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


def read(path: Path, content: bytes, said: Description | None = None) -> tuple[str, list[Any]]:
    path.write_bytes(content)
    return read_rows(path, said)


def read_rows(path: Path, said: Description | None = None) -> tuple[str, list[Any]]:
    found = recognise(path, said)
    batches = [batch for part in parts_of(path, found.layout) for batch in read_part(part, found.layout)]
    return found.words, [(row["product_id"], row["image_uri"]) for batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("c.csv", CSV, "CSV with semicolons in UTF-8"),
        ("c.CSV.gz", gzip.compress(CSV, mtime=0), "CSV with semicolons in UTF-8, from gzip"),
        ("c.zip", zipped({"goods.csv": CSV}), "CSV with semicolons in UTF-8, from zip"),
        ("c.zip", zipped({"goods.xml": XML}), "XML in UTF-8, from zip"),
        ("export", CSV.replace(b";", b"\t"), "CSV with tabs in UTF-8"),
        ("export.dat", CSV.replace(b";", b"|"), "CSV with vertical bars in UTF-8"),
        ("c.csv", CSV.decode().encode("utf-16"), "CSV with semicolons in UTF-16-LE"),
        ("c.csv", workbook(), "an XLSX workbook"),
        ("c.xlsx", workbook(), "an XLSX workbook"),
        ("c", workbook(), "an XLSX workbook"),
        ("c.txt", XML, "XML in UTF-8"),
        ("c.xml.gz", gzip.compress(DECLARED, mtime=0), "XML in ISO-8859-1, from gzip"),
        ("c.xml", DECLARED.replace(b"ISO-8859-1", b"utf-8"), "XML in UTF-8"),
        ("c.xml", XML.decode().encode("utf-16"), "XML in UTF-16-LE"),
        ("c.json", JSON.decode().encode("utf-16-be"), "JSON in UTF-16-BE"),
        ("c.json", JSON.decode().encode("utf-8-sig"), "JSON in UTF-8"),
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


def test_a_description_that_does_not_fit_is_named_and_serves_all_files_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "shelfwise.toml").write_text('header_line = 2\n[columns]\nproduct_id = "sku"\nimage_uri = "photo"\n')
    for name in ("amazon.csv", "google.csv"):
        with pytest.raises(UsageError) as caught:
            read(tmp_path / name, b"id;image_link\np1;1.jpg\np2;2.jpg\n")
        assert f"; {tmp_path}/shelfwise.toml says how each file of its folder is read: correct it" in str(caught.value)
        assert str(caught.value).endswith(f"; {CHECK_HINT}")
        assert str(caught.value).count("shelfwise.toml") == 1
    with pytest.raises(UsageError) as caught:
        read(tmp_path / "photo.zip", zipped({"a": CSV}, zipfile.ZIP_STORED)[:30])
    assert "shelfwise.toml" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.csv", "product_id,image_uri,title\np1,1.jpg,\np2,2.jpg,Schürze\n"),
        ("c.json", '[{"product_id": "p1", "image_uri": "1.jpg"},\n\n{"product_id": "Schürze", "image_uri": "2.jpg"}]'),
        ("c.xml", "<goods><good><product_id>p1</product_id><image_uri>1</image_uri></good>\n\n<i>Schürze</i></goods>"),
    ],
)
def test_a_shop_that_changes_to_utf_8_is_not_read_in_its_old_encoding(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / "shelfwise.toml").write_text('encoding = "cp1252"\n')
    assert len(read(tmp_path / name, content.encode("cp1252"))[1]) == content.count(".jpg") or name == "c.xml"
    expected = "is in UTF-8, and shelfwise.toml says cp1252, which makes 'SchÃ¼rze' of 'Schürze' in line 3; correct"
    with pytest.raises(UsageError, match=f"{name} {expected} shelfwise.toml, or give --encoding cp1252"):
        read(tmp_path / name, content.encode())
    read(tmp_path / name, content.encode(), Description(encoding="cp1252"))
    ascii_only = content.replace("ü", "ue").encode()
    assert read(tmp_path / name, ascii_only)[1] == read(tmp_path / name, ascii_only, Description(encoding="utf-8"))[1]


def test_a_letter_at_the_border_of_what_is_read_at_once_does_not_hide_utf_8(tmp_path: Path) -> None:
    (tmp_path / "shelfwise.toml").write_text('encoding = "latin-1"\n')
    head = b"product_id;image_uri\n"
    for before in (2**16 - 1, 2**16, 2**16 + 1):
        with pytest.raises(UsageError, match=r"is in UTF-8, and shelfwise\.toml says latin-1"):
            read(tmp_path / "c.csv", head + b"p;" + b"a" * (before - len(head) - 2) + "ü\n".encode())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.csv", b"sku;photo\n1;2\n"),
        ("c.csv", b'"product_id;image_uri\n'),
        ("c.csv", b"product_id;image_uri\np1;1.jpg\np2\n"),
        ("c.csv", b"product_id;image_uri\np1;Sch\xfcrze\n"),
        ("c.jsonl", LINES + b"{"),
        ("c.json", JSON[:-1]),
        ("c.xml", XML[:-9]),
        ("c.zip", zipped({"goods.csv": CSV}, zipfile.ZIP_STORED)[:60]),
        ("c.csv.gz", gzip.compress(CSV, mtime=0)[:20]),
        ("c.parquet", parquet()[:100]),
        ("c.xlsx", workbook()[:500]),
        ("c", b"?"),
        (f"{'a' * 200}/{'b' * 200}.jpg", b""),
    ],
)
def test_every_refusal_points_to_check_once_in_the_same_words(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    with pytest.raises(UsageError) as caught:
        if path.suffix == ".jpg":
            path.touch()
            read_rows(tmp_path, Description(product_id="path"))
        else:
            read(path, content)
    assert str(caught.value).endswith(f"; {CHECK_HINT}"), str(caught.value)
    assert str(caught.value).count("catalog check") == 1


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

"""What `shelfwise catalog check` finds out of a catalog, without Spark and without fetching anything."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.catalog.description import Description
from jobs.errors import UsageError
from jobs.ingest import catalog_check
from jobs.ingest.catalog_check import Findings, check_catalog
from jobs.ingest.config import HttpLimits, ProductSource


def found(path: Path, text: str, said: Description | None = None) -> Findings:
    path.write_text(text, encoding="utf-8")
    return check_catalog(str(path), said or Description(), HttpLimits())


def test_rows_products_images_and_hosts_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    text = (
        "product_id,image_no,image_uri,category,price\n"
        "p1,0,a.jpg,Tops,1\np1,1,https://CDN.example/b.jpg?x=1,Tops,1\n"
        "p2,0,https://cdn.example/c.jpg,Hats,1\np3,0,,Tops,1\n"
    )
    findings = found(tmp_path / "c.csv", text)
    assert (findings.rows, findings.products, findings.images, findings.empty_links) == (4, 3, 3, 1)
    assert findings.hosts == {"this machine": 1, "https://cdn.example": 2}
    assert findings.categories == {"Tops": 3, "Hats": 1}
    assert findings.category_ids == {"Tops": "tops", "Hats": "hats"}
    assert findings.columns["image_uri"] == ["image_uri"]
    assert findings.unused == ["price"]
    assert findings.unfetchable == {}
    assert findings.refusals == []
    assert [row["product_id"] for row in findings.examples] == ["p1", "p1", "p2", "p3"]


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("gone.jpg", "missing: there is no such file"),
        ("ftp://h/x.jpg", "uri_not_allowed: expected a path or a URI of file, http, https, s3"),
        ("https://user:s3cr3t@h.example/x.jpg", "uri_not_allowed: the link holds a user name or password"),
        ("http://127.0.0.1/x.jpg", "uri_not_allowed: host 127.0.0.1 is at 127.0.0.1, which is not a public address"),
        ("https://93.184.215.14:9200/x.jpg", "uri_not_allowed: port 9200 is none of 80"),
        ("https://h.example:9200/x.jpg", "uri_not_allowed: port 9200 is none of 80"),
        ("C:\\photos\\x.jpg", "uri_not_allowed: expected a path of this machine"),
        ("Bild: https://h.ex/a.jpg", "bad_link: the link has text before it"),
        ("https;//h.ex/a.jpg", "bad_link: the link has another text than :// after its scheme"),
        ("s3:/b/a.jpg", "bad_link: the link has another text than :// after its scheme"),
        ("a\x07b.jpg", "bad_link: the link holds a control character"),
        ("a" * 5000 + ".jpg", "bad_link: the link has over 4,096 characters"),
        ("https://https://h.ex/a.jpg", "bad_link: the link names its scheme twice"),
        ('"https://a.ex/1.jpg, https://b.ex/2.jpg"', "bad_link: there are several links"),
        ("https://h.ex/a.jpg?token=***", "bad_link: the link has *** in place of a secret"),
        ("folder.jpg", "unreadable: expected a regular file, found a directory"),
        ("empty.jpg", "empty: the file has no bytes"),
    ],
)
def test_a_link_that_cannot_be_fetched_is_named_with_its_reason(tmp_path: Path, link: str, reason: str) -> None:
    """Each reason is the one with which a night rejects the image."""
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "empty.jpg").touch()
    findings = found(tmp_path / "c.csv", f"product_id,image_uri\np1,{link}\n")
    ((words, count),) = findings.unfetchable.items()
    assert words.startswith(reason), words
    assert count == 1
    assert "s3cr3t" not in str(findings.unfetchable_example)


def test_a_link_with_its_secrets_can_be_fetched(tmp_path: Path) -> None:
    """What is stored has *** in their place, which alone could not be fetched."""
    findings = found(tmp_path / "c.csv", "product_id,image_uri\np1,https://h.ex/a.jpg?token=abc\n")
    assert findings.unfetchable == {}
    assert findings.examples[0]["image_uri"] == "https://h.ex/a.jpg?token=***"


def test_what_a_night_would_refuse_is_said(tmp_path: Path) -> None:
    header = "product_id,image_no,image_uri\n"
    assert "is empty" in found(tmp_path / "c.csv", header).refusals[0]
    (refusal,) = found(tmp_path / "c.csv", header + "p1,0,a\np1,0,b\np2,0,c\n").refusals
    assert refusal.startswith("1 pairs of product_id and image_no are in more than one row, the first: (p1, 0) 2 times")
    assert "--group-by" in refusal
    (refusal,) = found(tmp_path / "c.csv", header + ",0,a\n\u200bp1,0,b\n").refusals
    assert refusal.startswith("2 rows have a product_id that is empty, over 255")
    with pytest.raises(UsageError, match="has in line 2 a product_id of 256 characters"):
        found(tmp_path / "c.csv", header + "x" * 256 + ",0,b\n")
    (refusal,) = found(tmp_path / "c.csv", header + "p1,-1,a\np2,1.5,b\np3,two,c\np4,1.0,d\n").refusals
    assert refusal.startswith("3 rows have an image_no that is not a whole number from 0, the first '-1'")
    (refusal,) = found(
        tmp_path / "c.csv", header + "p1,1_0,a\np2,inf,b\np3,1d,c\np4,\u0661,d\np5,2147483648,e\n"
    ).refusals
    assert refusal.startswith("5 rows have an image_no that is not a whole number from 0, the first '1_0'")
    (refusal,) = found(tmp_path / "c.csv", header + "p1,1,a\np1,01,b\np1,1e0,c\np1,+1.0,d\n").refusals
    assert "the first: (p1, 1) 4 times" in refusal
    with pytest.raises(UsageError, match="has 2 values in line 2"):
        found(tmp_path / "c.csv", header + "p1,a\n")


def test_rows_of_one_product_are_its_images(tmp_path: Path) -> None:
    text = "sku,photo\n" + "".join(f"p1,{number}.jpg\n" for number in (1, 2, 2, 3)) + "p2,1.jpg\np3,\n"
    columns: dict[str, tuple[str, ...]] = {"product_id": ("sku",), "image_uri": ("photo",)}
    findings = found(tmp_path / "c.csv", text, Description(columns=columns, group_by="sku", max_images=2))
    assert (findings.rows, findings.products, findings.images, findings.beyond) == (6, 3, 3, 1)
    assert findings.refusals == []


def test_rows_are_those_of_the_file_however_many_images_each_has(tmp_path: Path) -> None:
    text = "product_id,main,other,category\np1,a.jpg,b.jpg,Tops\n,c.jpg,d.jpg,Tops\np3,,,Hats\np4,e.jpg,,Hats\n"
    said = Description(columns={"image_uri": ("main", "other")})
    findings = found(tmp_path / "c.csv", text, said)
    assert (findings.rows, findings.images, findings.empty_links) == (4, 5, 1)
    assert findings.categories == {"Tops": 2, "Hats": 2}
    assert findings.refusals[0].startswith("1 rows have a product_id that is empty")
    assert findings.unfetchable.total() == 5
    for name in ("hats/1.jpg", "hats/2.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(b"x")
    findings = check_catalog(str(tmp_path / "photos"), Description(), HttpLimits())
    assert (findings.rows, findings.categories) == (2, {"hats": 2})


def test_images_beyond_the_most_are_counted_however_many_a_row_has(tmp_path: Path) -> None:
    text = "product_id,image_uri\np1," + "|".join(f"{number}.jpg" for number in range(1500)) + "\np2,a.jpg\n"
    for said in (Description(image_separator="|"), Description(image_separator="|", group_by="product_id")):
        findings = found(tmp_path / "c.csv", text, said)
        assert (findings.products, findings.images, findings.beyond) == (2, 11, 1490)


def test_texts_and_hosts_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_check, "MOST_KEPT", 3)
    text = "product_id,image_uri,category\n" + "".join(f"p{n},https://h{n}/x.jpg,c{n}\n" for n in range(9))
    findings = found(tmp_path / "c.csv", text)
    assert len(findings.hosts) == len(findings.categories) == 3
    assert findings.rows == findings.products == 9


def test_clashing_names_in_a_directory_name_the_option(tmp_path: Path) -> None:
    for name in ("shirts/000.jpg", "shoes/000.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    (refusal,) = check_catalog(str(tmp_path), Description(), HttpLimits()).refusals
    assert "--product-id path" in refusal


def test_what_lies_beside_pictures_is_counted(tmp_path: Path) -> None:
    (tmp_path / "hats").mkdir()
    for name in ("hats/1.jpg", "hats/notes.txt", "hats/Thumbs.db", "loose.jpg"):
        (tmp_path / name).write_bytes(b"x")
    findings = check_catalog(str(tmp_path), Description(), HttpLimits())
    assert (findings.products, findings.categories) == (2, {"hats": 1})
    assert any(".txt" in note and ".db" in note for note in findings.notes), findings.notes


def test_what_lies_beside_tables_is_counted(tmp_path: Path) -> None:
    pq.write_table(pa.table({"product_id": ["p1"], "image_uri": ["a.jpg"]}), tmp_path / "t.parquet")
    (tmp_path / "notes.txt").touch()
    assert check_catalog(str(tmp_path), Description(), HttpLimits()).notes == ["passed over 1 other file (1 .txt)"]


def test_what_a_description_has_for_other_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "shelfwise.toml").write_text('product_id = "path"\n')
    findings = found(tmp_path / "c.csv", "product_id,image_uri\np1,https://h.ex/a.jpg\n")
    assert findings.notes == ["passed over product_id of shelfwise.toml, as the file is CSV"]


def test_a_shop_s_table_is_checked_too(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE goods (sku TEXT, front TEXT, back TEXT, price REAL)")
        connection.execute("INSERT INTO goods VALUES ('p1', 'https://h.example/1.jpg', 'https://h.example/2.jpg', 1)")
    source = ProductSource(
        f"sqlite:///{tmp_path}/shop.db", "goods", {"product_id": "sku", "image_uri": ["front", "back"]}
    )
    findings = check_catalog("products", Description(), HttpLimits(), products=source)
    assert (findings.products, findings.images, findings.unused) == (1, 2, ["price"])
    assert findings.recognised.words == "the table goods of a database"

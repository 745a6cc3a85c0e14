"""Every form of a catalog means the same on a disk and in an object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.catalog.first_bytes import first_bytes
from jobs.catalog.forms.folders import folder_rows
from jobs.catalog.layout import Layout
from jobs.catalog.passed_over import PassedOver
from jobs.ingest.catalog import READ_COLUMNS, read_catalog
from jobs.storage.places import Place
from jobs.storage.stores import place, write_bytes
from tests.object_store import object_store

CATALOGS = Path(__file__).parents[2] / "catalogs"
EXPORTS = (
    *("google.tsv", "google.xml", "google-atom.xml", "shopify.csv", "woocommerce.csv"),
    *("semicolons.csv", "plain.jsonl", "products.json"),
)


@pytest.fixture(scope="module")
def bucket() -> Iterator[Place]:
    with object_store():
        root = place("s3://exports/shop")
        root.fs.mkdir("exports")  # type: ignore[union-attr]
        yield root


def rows(spark: SparkSession, where: Place) -> list[tuple[object, ...]]:
    frame = read_catalog(spark, str(where))
    found = [tuple(row[name] for name in READ_COLUMNS) for row in frame.collect()]
    frame.unpersist()
    return sorted(found, key=repr)


def test_an_export_means_the_same_on_a_disk_and_in_a_store(bucket: Place, spark: SparkSession) -> None:
    for name in EXPORTS:
        write_bytes(bucket / name, (CATALOGS / name).read_bytes())
        assert rows(spark, bucket / name) == rows(spark, CATALOGS / name), name


def test_first_bytes_in_a_store_tell_notes_and_empty_files_from_pictures(bucket: Place) -> None:
    """A store refuses to give a range of an empty file."""
    files = {
        "a/README": b"# Notes",
        "b/README": b"",
        "b/f3": b"\xff\xd8\xff\xe0" + b"x" * 5000,
        "b/odd#?%20 name": b"GIF89a",
    }
    for name, content in files.items():
        write_bytes(bucket / "photos" / name, content)
    assert list(first_bytes(bucket, "photos/b", ["f3", "gone"])) == [("f3", files["b/f3"][:1024]), ("gone", None)]
    passed_over = PassedOver()
    found = folder_rows(bucket / "photos", Layout("folders"), passed_over)
    assert [row[2] for row in found] == ["b/f3", "b/odd#?%20 name"]
    assert passed_over.suffixes == {"without suffix": 2}

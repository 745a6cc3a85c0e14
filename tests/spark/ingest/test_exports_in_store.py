"""Every form of a catalog means the same on a disk and in an object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

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

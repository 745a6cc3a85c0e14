"""Rows of exports become numbered images of products in Spark."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.catalog.description import Description
from jobs.ingest.catalog import read_catalog

CATALOGS = Path(__file__).parents[2] / "catalogs"


def images(spark: SparkSession, where: Path, said: Description | None = None) -> list[tuple[object, ...]]:
    frame = read_catalog(spark, str(where), description=said)
    rows = frame.orderBy("product_id", "image_no").collect()
    return [(row["product_id"], row["image_no"], row["image_uri"].rpartition("/")[2], row["title"]) for row in rows]


def test_the_rows_of_a_shopify_product_are_its_images_in_their_order(spark: SparkSession) -> None:
    assert images(spark, CATALOGS / "shopify.csv") == [
        ("cotton-shirt", 0, "cotton-front.jpg?v=1", "Cotton shirt"),
        ("cotton-shirt", 1, "cotton-back.jpg?v=1", "Cotton shirt"),
        ("leather-belt", 0, "belt.jpg", "Leather belt"),
        ("leather-belt", 1, "belt-worn.jpg", "Leather belt"),
        ("leather-belt", 2, "belt-open.jpg", "Leather belt"),
    ]


def test_variants_become_images_of_their_group_and_a_repeated_picture_counts_once(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = ["v1,g1,a.jpg,", "v2,g1,b.jpg,Second", "v3,g1,a.jpg,Third", "v4,g1,c.jpg,", "v5,,d.jpg,", "v6,g2,,Nothing"]
    (tmp_path / "c.csv").write_text("product_id,parent,image_uri,title\n" + "\n".join(lines) + "\n")
    said = Description(group_by="parent")
    rows = [
        ("g1", 0, "a.jpg", "Second"),
        ("g1", 1, "b.jpg", "Second"),
        ("g1", 2, "c.jpg", "Second"),
        ("g2", 0, "", "Nothing"),
        ("v5", 0, "d.jpg", None),
    ]
    assert images(spark, tmp_path / "c.csv", said) == rows
    with caplog.at_level(logging.WARNING):
        fewer = images(spark, tmp_path / "c.csv", said.model_copy(update={"max_images": 2}))
    assert fewer == [row for row in rows if row[1] != 2]
    assert "1 images are not read, as their products have more than 2" in caplog.text

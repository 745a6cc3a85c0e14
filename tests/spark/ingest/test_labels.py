"""What an ingest does with a label map: it lists what the map lacks, keeps it, and stores the shop's own texts."""

from __future__ import annotations

import logging
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.dataset.label_map import kept_label_map, parse_label_map
from jobs.dataset.labels import labelled_images
from jobs.ingest import job as ingest
from jobs.ingest.config import IngestConfig
from jobs.storage.places import Places
from tests.conftest import picture

DAY = date(2026, 11, 1)


def test_an_ingest_lists_what_its_map_lacks_and_stores_the_texts(
    spark: SparkSession, home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = ["Tops", " tops ", "Hats", "Hats", "", "Café"]
    rows = [f"p{number},{number}.jpg,{text}" for number, text in enumerate(texts)]
    for number in range(len(texts)):
        (tmp_path / f"{number}.jpg").write_bytes(picture(number))
    (tmp_path / "shop.csv").write_text("product_id,image_uri,category\n" + "\n".join(rows), encoding="utf-8")
    labels = parse_label_map(b"category,category_id\nTOPS,apparel.tops\n", "map.csv")
    places = Places(home)
    caplog.set_level(logging.INFO, "jobs.dataset.label_findings")
    done = ingest.run(spark, IngestConfig(str(tmp_path / "shop.csv"), DAY, places, labels=labels))
    assert done.images_stored == 6, "what has no label is predicted too"
    assert caplog.messages == [
        "labels: 3 rows of the catalog have no label, because map.csv does not have their texts: 'Hats' (2), 'Café' (1)"
    ]
    assert kept_label_map(places) is None, "a night keeps it when the ingest has succeeded"
    by_map = {image.product_id: image.category_id for image in labelled_images(places, labels=labels)}
    assert by_map == {"p0": "apparel.tops", "p1": "apparel.tops"}
    by_rule = {image.category_id for image in labelled_images(places)}
    assert by_rule == {"tops", "hats", "cafe"}

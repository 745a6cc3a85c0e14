"""How the tests of this folder read a catalog."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.dataset.schema import CATALOG_COLUMNS
from jobs.ingest.catalog import read_catalog

Reader = Callable[..., list[tuple[object, ...]]]
"""Takes a catalog and options of `read_catalog`; returns its rows in order, without `group_id`."""


@pytest.fixture
def read(spark: SparkSession, tmp_path: Path) -> Reader:
    def rows(where: object, **options: object) -> list[tuple[object, ...]]:
        frame = read_catalog(spark, str(where), **options)  # type: ignore[arg-type]
        names = [name for name in CATALOG_COLUMNS if name != "group_id"]
        return sorted(tuple(row[name] for name in names) for row in frame.collect())

    return rows

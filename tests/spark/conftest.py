"""One Spark session for the tests of this folder; its tasks own one core each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from jobs.spark.config import SparkConfig
from jobs.spark.session import spark_session
from tests.standalone import FEW_PARTITIONS


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A local session of two cores."""
    config = SparkConfig("local[2]", "1g", tmp_path_factory.mktemp("spark"), properties=FEW_PARTITIONS)
    with spark_session(config, name="tests") as session:
        yield session

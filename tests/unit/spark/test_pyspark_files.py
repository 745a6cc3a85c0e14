"""Another package that overwrites PySpark's files is named before Spark starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import RunFailed
from jobs.pins import check_pins
from jobs.spark.config import SparkConfig
from jobs.spark.session import spark_session


@pytest.fixture
def with_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described = tmp_path / "pyspark_client-4.2.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: pyspark-client\nVersion: 4.2.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("with_client")
def test_pyspark_client_is_refused_with_the_commands_that_remove_it(
    tmp_path: Path, fake_spark: Callable[..., Any]
) -> None:
    fake_spark()
    refused = pytest.raises(RunFailed, match=r"pyspark-client 4\.2\.0 has overwritten files of pyspark .*pip uninstall")
    with refused, spark_session(SparkConfig("local[1]", "1g", tmp_path), name="test"):
        pytest.fail("Spark started")


def test_pyspark_alone_is_accepted() -> None:
    check_pins()

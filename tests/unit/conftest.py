"""What several unit tests measure on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.evaluation.config import EvaluateConfig
from jobs.spark import session
from tests.labelled import measuring
from tests.unit.fake_spark import FakeSpark


@pytest.fixture
def config(tmp_path: Path) -> EvaluateConfig:
    """A home with the six products of `tests.labelled`."""
    return measuring(tmp_path)


@pytest.fixture
def fake_spark(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeSpark]:
    """Return the maker of the session that jobs will open; their waiting passes on its clock alone."""

    def made(cores: Sequence[tuple[float, int]] = ((0, 8),)) -> FakeSpark:
        spark = FakeSpark(cores)

        def sleep(seconds: float) -> None:
            spark.now += seconds

        monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: spark.now, sleep=sleep))
        monkeypatch.setattr("pyspark.sql.SparkSession", spark)
        return spark

    monkeypatch.setattr(session, "check_java", lambda: "")
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    return made

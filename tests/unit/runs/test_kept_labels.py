"""The label map of a night: kept in the home when its ingest has succeeded."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from jobs.dataset.label_map import LabelMap, kept_label_map, parse_label_map
from jobs.errors import UsageError
from jobs.ingest import job
from jobs.ingest.config import IngestConfig
from jobs.ingest.job import IngestSummary
from jobs.runs import night
from jobs.spark.config import SparkConfig
from jobs.storage.places import Places

DAY = date(2026, 11, 1)


@pytest.fixture(autouse=True)
def _no_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(night, "spark_session", lambda *_a, **_k: nullcontext())
    monkeypatch.setattr(night, "spark_progress", lambda *_a, **_k: nullcontext())


def shop_map(category_id: str) -> LabelMap:
    return parse_label_map(f"category,category_id\nTops,{category_id}\n".encode(), "map.csv")


def ingest(monkeypatch: pytest.MonkeyPatch, home: Path, labels: LabelMap | None, *, fails: bool = False) -> None:
    def run(*_arguments: Any) -> IngestSummary:
        if fails:
            raise UsageError("catalog shop.csv is empty")
        return IngestSummary(0, 0, 0, 0, 0, 0.0)

    monkeypatch.setattr(job, "run", run)
    night.ingest_step(
        SparkConfig("local[1]", "1g", home / "scratch"), IngestConfig("shop.csv", DAY, Places(home), labels=labels)
    )


def kept(home: Path) -> str | None:
    labels = kept_label_map(Places(home))
    category = labels and labels.category("tops")
    return category.category_id if category else None


def test_a_map_is_kept_until_an_ingest_has_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(monkeypatch, tmp_path, None)
    assert kept(tmp_path) is None
    ingest(monkeypatch, tmp_path, shop_map("a.tops"))
    assert kept(tmp_path) == "a.tops"
    ingest(monkeypatch, tmp_path, None)
    assert kept(tmp_path) == "a.tops"
    ingest(monkeypatch, tmp_path, shop_map("b.tops"))
    assert kept(tmp_path) == "b.tops"


def test_the_map_of_an_ingest_that_failed_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError):
        ingest(monkeypatch, tmp_path, shop_map("a.tops"), fails=True)
    assert kept(tmp_path) is None

"""What an ingest leaves in the home beside the dataset: a mark while it runs, and why it was refused."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.cli import main as cli
from jobs.dataset.ingest_marks import running_ingests
from jobs.errors import RunFailed, RunRefused
from jobs.ingest import job
from jobs.ingest.config import IngestConfig
from jobs.ingest.job import IngestSummary
from jobs.ingest.reports import last_refusal, last_report
from jobs.runs import night
from jobs.spark.config import SparkConfig
from jobs.storage.places import Places

DAY = date(2026, 11, 1)
NONE = {"refused_at_utc": None, "sentence": None}


class Ingests:
    """Runs ingests without Spark that end as ordered, and counts the marks that they see."""

    def __init__(self, home: Path) -> None:
        self.places, self.marks = Places(home), 0

    def __call__(self, error: Exception | None = None) -> None:
        self.error = error
        spark = SparkConfig("local[1]", "1g", Path(str(self.places.home)) / "scratch")
        night.ingest_step(spark, IngestConfig("shop.csv", DAY, self.places))

    def run(self, *_arguments: Any) -> IngestSummary:
        self.marks = len(running_ingests(self.places))
        if self.error:
            raise self.error
        return IngestSummary(0, 0, 0, 0, 0, 0.0)


@pytest.fixture
def ingests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ingests:
    ingests = Ingests(tmp_path)
    monkeypatch.setattr(night, "spark_session", lambda *_a, **_k: nullcontext())
    monkeypatch.setattr(night, "spark_progress", lambda *_a, **_k: nullcontext())
    monkeypatch.setattr(job, "run", ingests.run)
    return ingests


def test_a_refusal_is_kept_until_an_ingest_of_the_date_succeeds(ingests: Ingests) -> None:
    ingests()
    report = last_report(ingests.places, DAY)
    with pytest.raises(RunRefused):
        ingests(RunRefused("catalog 'shop' now lacks 60 of them"))
    refusal = last_refusal(ingests.places, DAY)
    assert refusal["sentence"] == "catalog 'shop' now lacks 60 of them"
    assert datetime.fromisoformat(str(refusal["refused_at_utc"])) <= datetime.now(UTC)
    assert last_report(ingests.places, DAY) == report, "the figures of what was read stay"
    ingests()
    assert last_refusal(ingests.places, DAY) == NONE


def test_an_ingest_that_fails_otherwise_was_not_refused(ingests: Ingests) -> None:
    with pytest.raises(RunFailed):
        ingests(RunFailed("no executor took a task"))
    assert last_refusal(ingests.places, DAY) == NONE


def test_an_ingest_has_a_mark_while_it_runs(ingests: Ingests) -> None:
    for error in (None, RunFailed("no executor took a task")):
        with nullcontext() if error is None else pytest.raises(RunFailed):
            ingests(error)
        assert ingests.marks == 1
        assert running_ingests(ingests.places) == []


def test_airflow_can_ask_for_a_refusal(ingests: Ingests, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunRefused):
        ingests(RunRefused("now lacks 60 of them"))
    monkeypatch.setenv("SHELFWISE_HOME", str(ingests.places.home))
    call = ["ingest-refusal", "--run-date", str(DAY), "--json"]
    assert '"sentence": "now lacks 60 of them"' in CliRunner().invoke(cli.main_group, call).stdout

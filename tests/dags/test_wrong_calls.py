"""A call that is wrong, or whose input is refused, fails a task at once, wherever Spark's driver runs.

What may end well is tried again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobs.ingest.reports import keep_refusal, keep_report
from jobs.storage.places import Places
from sql.records import RunRecord
from sql.schema.runs import runs
from sql.store import ProductDatabase, open_database
from tests.dags.conftest import ROOT, jobs_environment
from tests.sql.runs import RELEASE, publish_record

SAID = "shelfwise: there is no file shop.csv; correct --catalog"
YARN = "ERROR Client: Application diagnostics message: User application exited with status"
CASES: dict[str, tuple[bool, dict[str, Any]]] = {
    "the job's own exit code": (True, {"host": "local[2]", "mode": "client", "prints": SAID, "exit": 2}),
    "of a job on a cluster": (True, {"host": "spark://one:7077", "mode": "client", "prints": SAID, "exit": 2}),
    "of a driver on YARN": (True, {"host": "yarn", "mode": "cluster", "prints": f"{SAID}\n{YARN} 2", "exit": 1}),
    "of a driver's pod": (True, {"host": "k8s://one", "mode": "cluster", "prints": "exit code: 2", "exit": 0}),
    "a run that failed": (False, {"host": "local[2]", "mode": "client", "prints": SAID, "exit": 1}),
    "a process that was killed": (False, {"host": "local[2]", "mode": "client", "prints": SAID, "exit": 137}),
    "an exit code that begins alike": (False, {"host": "local[2]", "mode": "client", "prints": SAID, "exit": 20}),
    "a driver on YARN that failed": (False, {"host": "yarn", "mode": "cluster", "prints": f"{YARN} 1", "exit": 1}),
    "a pod that was killed": (False, {"host": "k8s://one", "mode": "cluster", "prints": "exit code: 137", "exit": 0}),
}

LACKS = "catalog 'shop' named 100 products and now lacks 60 of them (60%), more than the 20% that --max-left allows"
FOREIGN = "nothing of run backfill-1 was published because of the ingest date 2026-11-01"
FAILS = {"host": "local[2]", "mode": "client", "prints": SAID, "exit": 1}
IN_A_CLUSTER = {"host": "yarn", "mode": "cluster", "prints": f"{YARN} 1", "exit": 1}
INGEST = ["ingest", "--catalog", "shop.csv", "--run-date"]
REFUSED: dict[str, tuple[str | None, dict[str, Any]]] = {
    "a catalog that lacks too much": (LACKS, {**FAILS, "words": [*INGEST, "2026-11-01"]}),
    "a catalog that a driver on YARN refuses": (LACKS, {**IN_A_CLUSTER, "words": [*INGEST, "2026-11-01"]}),
    "a catalog that was refused long ago": (None, {**FAILS, "words": [*INGEST, "2026-11-02"]}),
    "a catalog that was mended since": (None, {**FAILS, "words": [*INGEST, "2026-11-03"]}),
    "a catalog that was never refused": (None, {**FAILS, "words": [*INGEST, "2026-11-04"]}),
    "a foreign partition": (FOREIGN, {**IN_A_CLUSTER, "words": ["backfill"], "run": "refused"}),
    "a partition that was refused long ago": (None, {**FAILS, "words": ["backfill"], "run": "long ago"}),
    "a repetition of a published backfill": (FOREIGN, {**FAILS, "words": ["backfill"], "run": "published"}),
    "one that was refused long ago": (None, {**FAILS, "words": ["backfill"], "run": "published long ago"}),
    "one that failed otherwise": (None, {**FAILS, "words": ["backfill"], "run": "published, failed"}),
    "a run that failed otherwise": (None, {**FAILS, "words": ["publish"], "run": "failed"}),
    "a run without a row": (None, {**FAILS, "words": ["publish"], "run": "unknown"}),
}
"""How a step fails, and the sentence of a refusal; None where it is to be tried again."""


def refuse(home: Path) -> None:
    """Leave what refused runs leave: files of ingests in the home, and rows in the database."""
    places, nights = Places(home), [date(2026, 11, number) for number in (1, 2, 3)]
    for night in nights:
        keep_refusal(places, night, LACKS)
    old = home / "ingests" / "ingest_date=2026-11-02" / "refusal.json"
    long_ago = datetime.now(UTC) - timedelta(days=1)
    old.write_text(json.dumps({"refused_at_utc": long_ago.isoformat(), "sentence": LACKS}), encoding="utf-8")
    keep_report(places, nights[2], {"started_at_utc": "2026-11-03T02:00:00+00:00"}, catalog="shop.csv")
    database = open_database(f"sqlite:///{home}/shop.db")
    database.upgrade()
    for run_id, error in (
        ("refused", f"RunRefused: {FOREIGN}"),
        ("long ago", f"RunRefused: {FOREIGN}"),
        ("failed", "RunFailed: no disk"),
    ):
        record = RunRecord(run_id, "backfill", nights[0], None, long_ago)
        database.record_failure(record, error, database.claim(record))
    with database.engine.begin() as connection:
        connection.execute(sa.update(runs).where(runs.c.run_id == "long ago").values(finished_at_utc=long_ago))
    refuse_published(database, long_ago)


def refuse_published(database: ProductDatabase, long_ago: datetime) -> None:
    """Publish backfills, and let their repetitions fail."""
    repetitions = {
        "published": (f"RunRefused: {FOREIGN}", None),
        "published long ago": (f"RunRefused: {FOREIGN}", long_ago),
        "published, failed": ("RunFailed: no disk", None),
    }
    for run_id, (error, at) in repetitions.items():
        published = RunRecord(run_id, "backfill", date(2026, 11, 1), RELEASE.release_id, long_ago)
        publish_record(database, published)
        again = replace(published, finished_at_utc=at)
        database.record_failure(again, error, database.claim(again), refused=error.startswith("RunRefused"))


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """How a step ends in each of the cases: the class and the text of what it raises."""
    place = tmp_path_factory.mktemp("submits")
    environment = jobs_environment(place, place) | {"AIRFLOW_HOME": str(place), "PYTHONPATH": str(ROOT)}
    refuse(place)
    cases = json.dumps({name: case for name, (_, case) in {**CASES, **REFUSED}.items()})
    command = [sys.executable, "-m", "tests.dags.submit", str(place), cases]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(Path(place, "ends.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES)
def test_only_a_wrong_call_is_not_tried_again(ends: Any, case: str) -> None:
    wrong, told = CASES[case]
    kind, text = ends[case]
    assert kind == ("AirflowFailException" if wrong else "AirflowException"), text
    assert told["prints"] in text, "whoever looks into it reads what the job has said"


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_not_tried_again_and_says_why(ends: Any, case: str) -> None:
    """A refused catalog was read four times, and on a cluster its alert had Airflow's words only."""
    sentence, _ = REFUSED[case]
    kind, text = ends[case]
    assert kind == ("AirflowException" if sentence is None else "AirflowFailException"), text
    assert sentence is None or text == sentence

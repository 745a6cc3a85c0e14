"""Which steps alert people although they succeed: those that publish images that their release does not know."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from sql.records import RunRecord
from sql.store import open_database
from tests.dags.conftest import ROOT, jobs_environment

SENTENCE = "these images are unlike those that release r-1 was calibrated on (60 of 70 beyond its limit); fine-tune"
GROUP = "the answers of 1 category wait for a person, because many of their images are unlike those of release r-1"
CLOSED = "for 8 of 8 images it could not be computed whether release r-1 knows them"
RUNS: dict[str, dict[str, Any]] = {
    "foreign": {"gates": {"state": "computed", "sentence": SENTENCE, "alerts": [SENTENCE]}},
    "group": {"gates": {"state": "computed", "alerts": [GROUP]}},
    "closed": {"gates": {"state": "closed", "alerts": [CLOSED, GROUP]}},
    "known": {"gates": {"state": "computed", "alerts": []}},
    "old": {},
}
WAITS = "is published, but answers of it wait for a person:"


def test_what_a_night_holds_back_alerts_people_once_although_its_task_succeeds(tmp_path: Path) -> None:
    database, moment = open_database(f"sqlite:///{tmp_path}/shop.db"), datetime(2026, 11, 2, tzinfo=UTC)
    database.upgrade()
    for run_id, summary in RUNS.items():
        database.claim(RunRecord(run_id, "nightly", date(2026, 11, 1), None, moment, summary=summary))
    environment = jobs_environment(tmp_path, tmp_path) | {"AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.dags.alerted", str(tmp_path), json.dumps(list(RUNS))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "alerted.json").read_text(encoding="utf-8"))
    assert {run_id: steps["publish"]["alerts"] for run_id, steps in found.items()} == {
        "foreign": [f"foreign {WAITS} {SENTENCE}"],
        "group": [f"group {WAITS} {GROUP}"],
        "closed": [f"closed {WAITS} {CLOSED}; {GROUP}"],
        "known": [],
        "old": [],
    }
    others = [steps[name]["alerts"] for steps in found.values() for name in steps]
    assert sum(map(len, others)) == 3, "no challenger's step alerts anybody"
    assert [found[run_id]["publish"]["row"]["alerts"] for run_id in ("foreign", "known", "old")] == [[SENTENCE], [], []]
    assert found["foreign"]["publish"]["event"] == found["foreign"]["publish"]["row"]

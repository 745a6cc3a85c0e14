"""A call that is wrong fails a task at once, wherever Spark's driver runs; what may end well is tried again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.dags.conftest import ROOT, jobs_environment

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


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """How a step ends in each of the cases: the class and the text of what it raises."""
    place = tmp_path_factory.mktemp("submits")
    environment = jobs_environment(place, place) | {"AIRFLOW_HOME": str(place), "PYTHONPATH": str(ROOT)}
    cases = json.dumps({name: case for name, (_, case) in CASES.items()})
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

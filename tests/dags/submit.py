"""Prints how a SparkStep ends for each given end of its spark-submit, in a process of its own, as Airflow changes one.

    python -m tests.dags.submit DIRECTORY '{"case": {"host": "yarn", "mode": "cluster", "prints": "...", "exit": 1}}'

Spark stands in DIRECTORY, which SPARK_HOME names: a program that prints so and exits so.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

DAGS = Path(__file__).parents[2] / "dags"


def ends(home: Path, case: dict[str, Any]) -> list[str]:
    """Return what a step raises, class and text; empty where it succeeds."""
    from airflow.providers.apache.spark.hooks import spark_submit
    from shelfwise_steps import SparkStep

    vars(spark_submit).setdefault(
        "kube_client", object()
    )  # of a provider that is needed on Kubernetes, and not used here
    program = home / "bin" / "spark-class"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{case['prints']}\nEND\nexit {case['exit']}\n", encoding="utf-8")
    program.chmod(0o755)
    told = {"conn_type": "spark", "host": case["host"], "extra": json.dumps({"deploy-mode": case["mode"]})}
    os.environ["AIRFLOW_CONN_SPARK_DEFAULT"] = json.dumps(told)
    words, run = case.get("words", ["ingest"]), case.get("run", "")
    step = SparkStep(task_id="step", application="job.py", application_args=words, shelfwise_run=run)
    try:
        step.execute({})
    except Exception as error:
        return [type(error).__name__, str(error)]
    return []


def main(directory: str, cases: str) -> None:
    sys.path.append(str(DAGS))
    os.environ |= {"SPARK_HOME": directory, "AIRFLOW_VAR_SHELFWISE_SETTINGS": "{}"}
    os.environ["AIRFLOW_CONN_SHELFWISE_DB"] = json.dumps({"conn_type": "sqlite", "host": f"{directory}/shop.db"})
    found = {name: ends(Path(directory), case) for name, case in json.loads(cases).items()}
    Path(directory, "ends.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Runs one DAG by Airflow's `dag.test()`, in a process of its own, and exits with 1 unless it succeeds.

    python -m tests.dags.run_dag nightly_tagging 2026-11-01 '{"catalog": "products"}'

`airflow dags test` does the same and fails in the end on a DAG that has a deadline, by a fault of Airflow 3.3.2
(apache/airflow#73428). Here the deadline is left out; the test of the real scheduler has it.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

from tests.dags.describe import DAGS


def main(dag_id: str, night: str, conf: str = "{}") -> int:
    from airflow.dag_processing.dagbag import BundleDagBag

    dag = BundleDagBag(dag_folder=DAGS, bundle_path=DAGS, bundle_name="dags-folder").dags[dag_id]
    dag.deadline = None
    done = dag.test(logical_date=datetime.fromisoformat(night).replace(tzinfo=UTC), run_conf=json.loads(conf))
    return 0 if done.state == "success" else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

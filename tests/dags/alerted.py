"""Prints what a SparkStep that succeeds alerts people of, in a process of its own, as Airflow changes one.

    python -m tests.dags.alerted DIRECTORY '["night-1", "night-2"]'

The database is DIRECTORY/shop.db; Spark stands in DIRECTORY, which SPARK_HOME names, and does nothing.
"""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

from tests.dags.submit import DAGS


class Alerts(BaseHTTPRequestHandler):
    """Keeps the texts that are posted."""

    texts: list[str] = []  # noqa: RUF012 - one list for all requests

    def do_POST(self) -> None:
        """Keep the text of a request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.texts.append(json.loads(body)["text"])
        self.send_response(200)
        self.end_headers()


def alerted(run_id: str, *, publishes: bool) -> dict[str, Any]:
    """Return the alerts of a step, and what it returned."""
    from shelfwise_steps import PRODUCT_DATABASE, SparkStep

    outlets = [PRODUCT_DATABASE] if publishes else []
    step = SparkStep(task_id="step", application="job.py", shelfwise_run=run_id, outlets=outlets)
    context = {"ti": SimpleNamespace(try_number=1), "outlet_events": {PRODUCT_DATABASE: SimpleNamespace(extra=None)}}
    Alerts.texts.clear()
    row = step.execute(context)
    return {"alerts": [*Alerts.texts], "row": row, "event": context["outlet_events"][PRODUCT_DATABASE].extra}  # type: ignore[index]


def main(directory: str, run_ids: str) -> None:
    program = Path(directory, "bin", "spark-class")
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    server = HTTPServer(("127.0.0.1", 0), Alerts)
    Thread(target=server.serve_forever, daemon=True).start()
    alerts = {"conn_type": "http", "schema": "http", "host": "127.0.0.1", "port": server.server_port}
    sys.path.append(str(DAGS))
    os.environ |= {
        "SPARK_HOME": directory,
        "AIRFLOW_VAR_SHELFWISE_SETTINGS": "{}",
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps({"conn_type": "spark", "host": "local[1]"}),
        "AIRFLOW_CONN_SHELFWISE_DB": json.dumps({"conn_type": "sqlite", "host": f"{directory}/shop.db"}),
        "AIRFLOW_CONN_SHELFWISE_ALERTS": json.dumps(alerts),
    }
    found = {
        run_id: {name: alerted(run_id, publishes=name == "publish") for name in ("publish", "shadow")}
        for run_id in json.loads(run_ids)
    }
    Path(directory, "alerted.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A local Airflow for the tests of this folder: the one of `make airflow`, on a free port and in a home of its own."""

from __future__ import annotations

import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.dags.airflow_api import AirflowApi
from tests.dags.stand_in import StandIn
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
STAND_IN_SITE = Path(__file__).parent / "stand_in_site"
NIGHTS = ("2026-11-01", "2026-11-02", "2026-11-03", "2026-11-04")
NEW_EACH_NIGHT = 4


def jobs_environment(home: Path, release: Path) -> dict[str, str]:
    """Return an environment in which tasks find this tree, a home and a release, and no setting of this machine's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SHELFWISE_", "AIRFLOW"))}
    return kept | {
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, STAND_IN_SITE))),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "SHELFWISE_HOME": str(home),
        "SHELFWISE_RELEASE_DIR": str(release),
        "SHELFWISE_DRIVER_MEMORY": "1g",
        "SHELFWISE_MASTER": "local[2]",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",  # else the last scheduled night would begin at once
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",  # the files do not change meanwhile
    }


@dataclass
class LocalAirflow:
    """A running Airflow.

    Attributes:
        api: Its REST API.
        home: The SHELFWISE_HOME of its tasks.
        environment: What its processes see.
        process: Of `.ci/local_airflow.py`.
        jobs: Stands in for what its tasks start, and notes it.
        alerts: What was posted to the connection `shelfwise_alerts`.
    """

    api: AirflowApi
    home: Path
    environment: dict[str, str]
    process: subprocess.Popen[str]
    jobs: StandIn
    alerts: list[str] = field(default_factory=list)

    def cli(self, *arguments: str) -> str:
        """Run `airflow` as another terminal would, and again if another process wrote to its database meanwhile.

        SQLite refuses to write in a transaction that has read an older state, at once, whatever the timeout is. Airflow
        then takes back what it has begun, so that the command can be repeated.
        """
        environment = self.environment | {"AIRFLOW_HOME": str(self.home / "airflow")}
        for _ in range(10):
            done = subprocess.run(["airflow", *arguments], capture_output=True, text=True, env=environment)
            if done.returncode == 0 or "database is locked" not in done.stdout + done.stderr:
                break
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def asked(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """Wait until a task asks a person, and the scheduler knows that it waits; return the question.

        Airflow 3.3.2 takes a task for failed when the answer is there before its scheduler has seen it pause.
        """
        key = f"TaskInstanceKey(dag_id='{dag_id}', task_id='{task_id}', run_id='{run_id}', try_number="

        def waits() -> bool:
            tasks = {task["task_id"]: task for task in self.api.tasks(dag_id, run_id)}
            assert "failed" not in {task["state"] for task in tasks.values()}, self.alerts
            noted = f"with state success for task instance {key}{tasks[task_id]['try_number']},"
            log = self.home / "airflow" / "logs" / "scheduler.log"
            return tasks[task_id]["state"] == "awaiting_input" and noted in log.read_text(encoding="utf-8")

        until(waits)
        return self.api.question(dag_id, run_id, task_id)

    def processes(self) -> dict[int, str]:
        """Return the processes that belong to this Airflow or were started by it: id and command."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if f"SHELFWISE_HOME={self.home}".encode() in (place / "environ").read_bytes():
                    command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    if command and (place / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                        found[int(place.name)] = command
            except OSError:
                continue
        return found


def until(holds: Callable[[], Any], *, seconds: float = 300) -> Any:
    """Wait until something holds and return it."""
    give_up = time.monotonic() + seconds
    while not (answer := holds()):
        assert time.monotonic() < give_up, f"not after {seconds} s"
        time.sleep(0.5)
    return answer


@contextmanager
def listener(heard: list[str]) -> Iterator[int]:
    """Take what is posted to a port of the loopback interface."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_values: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def started_airflow(
    environment: dict[str, str], place: Path, *options: str
) -> Iterator[tuple[AirflowApi, subprocess.Popen[str]]]:
    """Start what `make airflow` starts, wait until it knows the DAGs, and stop it as Ctrl-C does.

    Args:
        environment: Of its processes, with SHELFWISE_HOME.
        place: Where a user would stand.
        options: Of `.ci/local_airflow.py`, beside a port.

    Yields:
        Its API, and its process.
    """
    command = [sys.executable, str(ROOT / ".ci" / "local_airflow.py"), "--port", str(free_port()), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=place) as process:
        assert process.stdout
        try:
            told = ""
            for line in process.stdout:
                told += line
                if "Stop: Ctrl-C" in line:
                    break
            found = re.search(r"Airflow is at (http://127.0.0.1:\d+)/ for user (\S+) with password (\S+)", told)
            assert found, told
            api = AirflowApi(*found.groups())
            until(lambda: api.call("GET", "/dags")["total_entries"] == 3)
            yield api, process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=120)


@contextmanager
def local_airflow(place: Path, jobs: StandIn, settings: Mapping[str, str]) -> Iterator[LocalAirflow]:
    """Start what `make airflow` starts for nights that read a catalog each, with a listener for its alerts.

    Args:
        place: Directory of the home; catalogs and a release are named in it, which played jobs do not read.
        jobs: Stands in for what its tasks start.
        settings: Variables of its environment beside those of all tests.
    """
    home, alerts = place / "home", list[str]()
    environment = jobs_environment(home, place / "release") | jobs.environment | dict(settings)
    # How long a supervisor waits for the output of a job whose task was killed; by default 60 s.
    environment["AIRFLOW__WORKERS__SOCKET_CLEANUP_TIMEOUT"] = "5"
    with listener(alerts) as heard_at:
        target = {"conn_type": "http", "schema": "http", "host": "127.0.0.1", "port": heard_at, "password": "hook"}
        environment["AIRFLOW_CONN_SHELFWISE_ALERTS"] = json.dumps(target)
        with started_airflow(environment, place, "--catalog", str(place / "shop" / "{{ ds }}.csv")) as (api, process):
            yield LocalAirflow(api, home, environment, process, jobs, alerts)


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    """An Airflow whose jobs are played, and that begins nothing by itself."""
    place = tmp_path_factory.mktemp("airflow")
    with local_airflow(place, StandIn(place / "jobs"), {}) as started:
        yield started

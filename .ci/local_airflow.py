"""A local Airflow with the DAGs of this clone, ready to click: what `make airflow` starts, until Ctrl-C.

    .venv/bin/python .ci/local_airflow.py [--port 8080] [--catalog shop.csv]

With a catalog its nights write to SHELFWISE_HOME (`.shelfwise` in the clone) and to the database that is set, as
`shelfwise nightly` does. Without one they read an example and write to `example/home` in it, and neither what is there
nor a database that is set is touched.

Airflow's own home is `airflow/` in the one that the nights write to: airflow.cfg, metadata and logs, all readable by
their owner only. With AIRFLOW_HOME set to it, `airflow` in another terminal talks to the same Airflow. Pools,
connections and variables are made where they are missing and otherwise left as they are, but for a told catalog.
"""

from __future__ import annotations

import argparse
import base64
import configparser
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
from pydantic import ValidationError

from jobs.demo.local_nights import example_catalog, example_environment, named_catalog
from jobs.settings import Settings
from models.whole_files import in_place_of, write_whole

CLONE = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PROCESSES = {
    "api-server": ("api-server",),
    "dag-processor": ("dag-processor",),
    # Without its own server of logs, which would listen on every interface: the api-server reads the files.
    "scheduler": ("scheduler", "--skip-serve-logs"),
}
POOLS = {
    "catalog": "Nights that read the catalog at once; more than one would mix up their order",
    "gpu": "Predictions and trainings at once: as many as there are accelerators",
}
USER = "admin"
CATALOG = "shelfwise_catalog"
START_SECONDS = 300
STOP_SECONDS = 30


class Failure(Exception):
    """What the user reads instead of a traceback."""


def settings(home: Path, port: int, old: configparser.ConfigParser) -> dict[str, dict[str, str]]:
    """Return what differs from Airflow's defaults; secrets stay what they were."""

    def secret(section: str, option: str, fresh: str) -> str:
        return old.get(section, option, fallback=fresh)

    url = f"http://127.0.0.1:{port}"
    return {
        "core": {
            "dags_folder": str(CLONE / "dags"),
            "load_examples": "False",
            "executor": "LocalExecutor",
            "parallelism": "4",
            "dags_are_paused_at_creation": "False",
            "execution_api_server_url": f"{url}/execution/",
            "fernet_key": secret("core", "fernet_key", base64.urlsafe_b64encode(os.urandom(32)).decode()),
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": str(home / "passwords.json"),
            "default_task_retry_delay": "30",
        },
        # Four processes share the file: on a busy machine Python's own patience of 5 s is too short.
        "database": {"sql_alchemy_conn": f"sqlite:///{home}/airflow.db?timeout=120"},
        "api": {
            "host": "127.0.0.1",
            "port": str(port),
            "base_url": url,
            "secret_key": secret("api", "secret_key", secrets.token_urlsafe(32)),
            "workers": "1",
        },
        "api_auth": {"jwt_secret": secret("api_auth", "jwt_secret", secrets.token_urlsafe(64))},
        "dag_processor": {"refresh_interval": "30", "parsing_processes": "1"},
        "logging": {"base_log_folder": str(home / "logs")},
        "usage_data_collection": {"enabled": "False"},
    }


def configure(home: Path, port: int) -> str:
    """Write airflow.cfg and the password; return the password."""
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    path, passwords = home / "airflow.cfg", home / "passwords.json"
    old = configparser.ConfigParser(interpolation=None)
    old.read(path, encoding="utf-8")
    config = configparser.ConfigParser(interpolation=None)
    config.read_dict(settings(home, port, old))
    with in_place_of(path) as scratch, scratch.open("w", encoding="utf-8") as file:
        config.write(file)
    if not passwords.exists():
        write_whole(passwords, json.dumps({USER: secrets.token_urlsafe(12)}))
    return str(json.loads(passwords.read_text(encoding="utf-8"))[USER])


def airflow(*arguments: str) -> str:
    """Run Airflow's command and return what it printed."""
    done = subprocess.run([str(BIN / "airflow"), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"airflow {' '.join(arguments)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def example(usual: Path) -> str | None:
    """Return the example's catalog, None without data, and let Airflow's processes have the example's environment."""
    kept = example_environment(os.environ, usual)
    os.environ.clear()
    os.environ.update(kept)
    try:
        return str(example_catalog(usual))
    except (FileNotFoundError, ValueError) as error:
        print(f"No example catalog: {error}", flush=True)
        return None


def furnish(port: int, password: str, catalog: str | None, *, told: bool) -> bool:
    """Make what the DAGs ask for, where it is missing; all but a told catalog stays. Return if there is a catalog."""
    # By the API: each command of Airflow's would take seconds to start.
    token = ask(port, "/auth/token", {"username": USER, "password": password})["access_token"]

    def there(kind: str, name: str) -> bool:
        return ask(port, f"/api/v2/{kind}/{name}", token=token) is not None

    def make(kind: str, name: str, document: dict[str, Any]) -> None:
        if not there(kind, name):
            ask(port, f"/api/v2/{kind}", document, token=token)

    for name, meaning in POOLS.items():
        make("pools", name, {"name": name, "slots": 1, "description": meaning})
    spark = {"connection_id": "spark_default", "conn_type": "spark"}
    make("connections", "spark_default", {**spark, "host": os.environ.get("SHELFWISE_MASTER", "local[*]")})
    if catalog and told and there("variables", CATALOG):
        ask(port, f"/api/v2/variables/{CATALOG}", {"key": CATALOG, "value": catalog}, token=token, method="PATCH")
    elif catalog:
        make("variables", CATALOG, {"key": CATALOG, "value": catalog})
    return there("variables", CATALOG)


def ask(port: int, path: str, document: Any = None, *, token: str = "", method: str | None = None) -> Any:
    """Ask the API, or tell it something; None stands for what is not there."""
    body = None if document is None else json.dumps(document).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers, method=method), timeout=60
        ) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 404 and document is None:
            return None
        raise Failure(f"Airflow answers {path} with {error.code}: {error.read().decode()[:500]}") from error


class Running:
    """The processes of one Airflow, each with a log and a session of its own; stopped with all that they started."""

    def __init__(self, home: Path) -> None:
        """Start nothing yet."""
        self.home = home
        self.started: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start one."""
        (self.home / "logs").mkdir(exist_ok=True)
        with (self.home / "logs" / f"{name}.log").open("ab") as log:
            # Sessions of their own: Ctrl-C reaches this process alone, which then stops them in order.
            self.started[name] = subprocess.Popen(
                [str(BIN / "airflow"), *PROCESSES[name]],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise Failure if one has ended."""
        for name, process in self.started.items():
            if process.poll() is not None:
                raise Failure(f"Airflow's {name} ended with {process.returncode}; see {self.home}/logs/{name}.log")

    def stop(self) -> None:
        """End every process of each session: tasks and their Spark have process groups of their own."""
        for name in reversed(self.started):  # the api-server last: the others talk to it
            for sent in (signal.SIGTERM, signal.SIGKILL):
                give_up = time.monotonic() + STOP_SECONDS
                for pid in members(self.started[name]):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, sent)
                while members(self.started[name]) and time.monotonic() < give_up:
                    time.sleep(0.2)


def members(leader: subprocess.Popen[bytes]) -> list[int]:
    """Return the ids of the living processes of the session that a process leads."""
    leader.poll()  # takes note of its end, so that it is no zombie
    found = []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if process.info["status"] != psutil.STATUS_ZOMBIE and os.getsid(process.pid) == leader.pid:
                found.append(process.pid)
    return found


def wait_until_healthy(running: Running, port: int, parts: Sequence[str]) -> None:
    """Wait for these parts to say that they are well."""
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        running.check()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=5) as answer:
                health = json.load(answer)
        except (OSError, ValueError):
            health = {}
        if all((health.get(name) or {}).get("status") == "healthy" for name in parts):
            return
        time.sleep(0.5)
    raise Failure(f"Airflow did not start in {START_SECONDS} s; see {running.home}/logs")


def free(port: int) -> bool:
    """Return whether nothing listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Start, say where, and stay until a signal."""
    parser = argparse.ArgumentParser(description="A local Airflow with the DAGs of this clone.")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--catalog", help="What the nights read, to write to SHELFWISE_HOME; without it an example.")
    told = parser.parse_args(arguments)
    running = None

    def leave(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background process would ignore it
        signal.signal(number, leave)
    try:
        if not free(told.port):
            raise Failure(f"something listens on port {told.port} already; name another one with --port")
        os.umask(0o077)
        usual = Settings().places.local_home
        catalog = named_catalog(told.catalog) if told.catalog else example(usual)
        home = Settings().places.local_home / "airflow"
        path = os.pathsep.join((str(BIN), os.environ.get("PATH", os.defpath)))
        os.environ |= {"AIRFLOW_HOME": str(home), "PATH": path, "PYTHONSAFEPATH": "1"}
        password = configure(home, told.port)
        print("Starting Airflow; it takes half a minute", flush=True)
        airflow("db", "migrate")
        running = Running(home)
        running.start("api-server")  # first: tasks that the scheduler starts talk to it at once
        wait_until_healthy(running, told.port, ["metadatabase"])
        if not furnish(told.port, password, catalog, told=bool(told.catalog)):
            os.environ.setdefault("AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE", "False")
            print("No night is scheduled, as there is no variable shelfwise_catalog; start with --catalog", flush=True)
        for name in ("dag-processor", "scheduler"):
            running.start(name)
        wait_until_healthy(running, told.port, ["scheduler", "dag_processor"])
        print(f"Airflow is at http://127.0.0.1:{told.port}/ for user {USER} with password {password}")
        print(f"Its nights write to SHELFWISE_HOME={os.environ.get('SHELFWISE_HOME', usual)}")
        print(f"Another terminal: export AIRFLOW_HOME={home}    Stop: Ctrl-C", flush=True)
        while True:
            running.check()
            time.sleep(1)
    except (Failure, ValidationError) as error:
        print(f"make airflow: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopping Airflow", flush=True)
        return 0
    finally:
        if running:
            running.stop()


if __name__ == "__main__":
    sys.exit(main())

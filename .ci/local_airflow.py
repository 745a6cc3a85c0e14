"""Run a local Airflow with the DAGs of this clone until Ctrl-C. `make airflow` starts it.

    .venv/bin/python .ci/local_airflow.py [--port 8080] [--catalog shop.csv]

With `--catalog` the nights write to SHELFWISE_HOME (`.shelfwise` in the clone) and to the configured database, as
`shelfwise nightly` does. Without it they read an example catalog and write to `example/home` in that directory; other
data in SHELFWISE_HOME and a configured database are not changed.

AIRFLOW_HOME is `airflow/` in the directory to which the nights write. It contains airflow.cfg, metadata and logs,
readable only by their owner. With the same AIRFLOW_HOME, `airflow` in another terminal uses the same Airflow. All its
processes are this user's, so they need no SHELFWISE_SHARED. Set SHELFWISE_SHARED=1 if other users read the home.
Missing pools, connections and variables are created; existing ones are kept, except for a catalog given by `--catalog`.
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
from jobs.errors import UsageError
from jobs.settings import Settings, misspelt, sentence_of
from models.whole_files import in_place_of, write_whole

CLONE = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PROCESSES = {
    "api-server": ("api-server",),
    "dag-processor": ("dag-processor",),
    # Its log server would listen on all network interfaces; the api-server reads the log files instead.
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
    """An error that is shown to the user as one sentence, without a traceback."""


def settings(home: Path, port: int, old: configparser.ConfigParser) -> dict[str, dict[str, str]]:
    """Return the options that differ from Airflow's defaults, by section.

    Args:
        home: AIRFLOW_HOME.
        port: TCP port of the api-server.
        old: The former airflow.cfg, whose secrets are kept; may be empty.
    """

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
        # Four processes share the file: on a busy machine the default lock timeout of 5 s is too short.
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
    """Write airflow.cfg, and a password file if there is none; return the password."""
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
    """Run the `airflow` command; return its output, or raise Failure."""
    done = subprocess.run([str(BIN / "airflow"), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"airflow {' '.join(arguments)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def example(usual: Path) -> str | None:
    """Set the environment of the example for Airflow's processes; return its catalog, None if there are no data."""
    environment = example_environment(os.environ, usual)
    os.environ.clear()
    os.environ.update(environment)
    try:
        return str(example_catalog(usual))
    except (FileNotFoundError, ValueError) as error:
        print(f"No example catalog: {error}", flush=True)
        return None


def create_missing(port: int, password: str, catalog: str | None, *, replace: bool) -> bool:
    """Create the pools, connection and variable that the DAGs need, if they are missing.

    Args:
        port: TCP port of the api-server.
        password: Password of the user.
        catalog: Catalog of the nights; None if there is none.
        replace: Whether the catalog replaces an existing variable; nothing else is ever replaced.

    Returns:
        Whether the variable with the catalog exists.
    """
    # By the REST API, because each `airflow` command takes seconds to start.
    token = request_api(port, "/auth/token", {"username": USER, "password": password})["access_token"]

    def exists(kind: str, name: str) -> bool:
        return request_api(port, f"/api/v2/{kind}/{name}", token=token) is not None

    def make(kind: str, name: str, document: dict[str, Any]) -> None:
        if not exists(kind, name):
            request_api(port, f"/api/v2/{kind}", document, token=token)

    for name, description in POOLS.items():
        make("pools", name, {"name": name, "slots": 1, "description": description})
    spark = {"connection_id": "spark_default", "conn_type": "spark"}
    make("connections", "spark_default", {**spark, "host": os.environ.get("SHELFWISE_MASTER", "local[*]")})
    if catalog and replace and exists("variables", CATALOG):
        request_api(
            port, f"/api/v2/variables/{CATALOG}", {"key": CATALOG, "value": catalog}, token=token, method="PATCH"
        )
    elif catalog:
        make("variables", CATALOG, {"key": CATALOG, "value": catalog})
    return exists("variables", CATALOG)


def request_api(port: int, path: str, document: Any = None, *, token: str = "", method: str | None = None) -> Any:
    """Send a request to Airflow's REST API.

    Args:
        port: TCP port of the api-server.
        path: Path of the endpoint.
        document: JSON to send; None sends a GET request.
        token: Access token.
        method: HTTP method, if it is neither GET nor POST.

    Returns:
        The JSON answer; None if a GET request is answered with 404.

    Raises:
        Failure: If Airflow answers with another error.
    """
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
    """The processes of one Airflow, each with its own log and session; stopped together with their child processes."""

    def __init__(self, home: Path) -> None:
        """Remember AIRFLOW_HOME; no process is started yet."""
        self.home = home
        self.started: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start one of `PROCESSES` by name."""
        (self.home / "logs").mkdir(exist_ok=True)
        with (self.home / "logs" / f"{name}.log").open("ab") as log:
            # Its own session: Ctrl-C reaches only this process, which then stops the others in order.
            self.started[name] = subprocess.Popen(
                [str(BIN / "airflow"), *PROCESSES[name]],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise Failure if a process has ended."""
        for name, process in self.started.items():
            if process.poll() is not None:
                raise Failure(f"Airflow's {name} ended with {process.returncode}; see {self.home}/logs/{name}.log")

    def stop(self) -> None:
        """Stop every process of each session; process groups are not enough: tasks and their Spark have their own."""
        for name in reversed(self.started):  # the api-server last, because the others call it
            for signal_number in (signal.SIGTERM, signal.SIGKILL):
                give_up = time.monotonic() + STOP_SECONDS
                for pid in members(self.started[name]):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal_number)
                while members(self.started[name]) and time.monotonic() < give_up:
                    time.sleep(0.2)


def members(leader: subprocess.Popen[bytes]) -> list[int]:
    """Return the ids of the running processes in the session of a leader."""
    leader.poll()  # collects its exit status, so that it does not remain a zombie
    pids = []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if process.info["status"] != psutil.STATUS_ZOMBIE and os.getsid(process.pid) == leader.pid:
                pids.append(process.pid)
    return pids


def wait_until_healthy(running: Running, port: int, parts: Sequence[str]) -> None:
    """Wait until Airflow reports these components as healthy; raise Failure after `START_SECONDS`."""
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
    """Return whether no process listens on a local TCP port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Start Airflow, print its address, and wait for a signal."""
    parser = argparse.ArgumentParser(description="A local Airflow with the DAGs of this clone.")
    parser.add_argument("--port", type=int, default=8080, help="TCP port of the page; default 8080.")
    parser.add_argument(
        "--catalog",
        help="Catalog of the nights, which write to SHELFWISE_HOME; default: an example with a home of its own.",
    )
    options = parser.parse_args(arguments)
    running = None
    for sentence in misspelt(os.environ):
        print(f"make airflow: {sentence}", file=sys.stderr)

    def leave(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too, because a background process of a shell ignores it
        signal.signal(number, leave)
    try:
        if not free(options.port):
            raise Failure(f"something listens on port {options.port} already; name another one with --port")
        shared = Settings().shared
        if not shared:  # if it is, AIRFLOW_HOME alone is closed to others, by its own mode
            os.umask(0o077)
        usual = Settings().places.local_home
        catalog = named_catalog(options.catalog) if options.catalog else example(usual)
        home = Settings().places.local_home / "airflow"
        path = os.pathsep.join((str(BIN), os.environ.get("PATH", os.defpath)))
        os.environ |= {"AIRFLOW_HOME": str(home), "PATH": path, "PYTHONSAFEPATH": "1"}
        password = configure(home, options.port)
        print("Starting Airflow; it takes half a minute", flush=True)
        airflow("db", "migrate")
        running = Running(home)
        running.start("api-server")  # first, because tasks that the scheduler starts call it at once
        wait_until_healthy(running, options.port, ["metadatabase"])
        if not create_missing(options.port, password, catalog, replace=bool(options.catalog)):
            os.environ.setdefault("AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE", "False")
            print("No night is scheduled, as there is no variable shelfwise_catalog; start with --catalog", flush=True)
        for name in ("dag-processor", "scheduler"):
            running.start(name)
        wait_until_healthy(running, options.port, ["scheduler", "dag_processor"])
        print(f"Airflow is at http://127.0.0.1:{options.port}/ for user {USER} with password {password}")
        whose = "new files with the modes of the umask" if shared else "new files for this user alone"
        print(f"Its nights write to SHELFWISE_HOME={os.environ.get('SHELFWISE_HOME', usual)}, {whose}")
        print(f"Another terminal: export AIRFLOW_HOME={home}    Stop: Ctrl-C", flush=True)
        while True:
            running.check()
            time.sleep(1)
    except ValidationError as error:
        print(f"make airflow: {sentence_of(error)}", file=sys.stderr)
        return 2
    except UsageError as error:
        print(f"make airflow: {error}", file=sys.stderr)
        return 2
    except Failure as error:
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

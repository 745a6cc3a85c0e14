"""A night and a backfill by Airflow's own `dag.test()`, with played jobs, and the password that nobody sees."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import make_url

from sql.store import open_database
from tests.dags.conftest import NIGHTS, ROOT, jobs_environment
from tests.dags.stand_in import StandIn
from tests.sql.servers import FORGETFUL, NoServerError, Server, started_server

pytestmark = pytest.mark.timeout(900)

RUN_DAG = (sys.executable, "-m", "tests.dags.run_dag")
SECRET = "s3cret/of@the shop"


@dataclass(frozen=True)
class Place:
    """Where the commands of a test run, what stands in for their jobs, and the database that these would fill."""

    environment: dict[str, str]
    jobs: StandIn
    url: str

    def run(self, *command: str) -> str:
        """Run a command and return all that it printed."""
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, cwd=ROOT)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    try:
        with started_server(FORGETFUL) as server:
            yield server
    except NoServerError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def place(tmp_path: Path, server: Server) -> Place:
    """A home with an Airflow of its own, whose connection `shelfwise_db` has a password."""
    airflow_home, jobs = tmp_path / "airflow", StandIn(tmp_path / "jobs")
    airflow_home.mkdir()
    environment = jobs_environment(tmp_path / "home", tmp_path / "release") | jobs.environment
    environment |= {
        "AIRFLOW_HOME": str(airflow_home),
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps({"conn_type": "spark", "host": "local[2]"}),
        "AIRFLOW_VAR_SHELFWISE_CATALOG": str(tmp_path / "shop.csv"),
        "AIRFLOW_VAR_SHELFWISE_LABELS": str(tmp_path / "map.csv"),
    }
    name = server.create()
    url = server.url.set(drivername="postgresql", database=name, password=SECRET)
    made = Place(environment, jobs, url.render_as_string(hide_password=False))
    made.run("airflow", "db", "migrate")
    pools = {
        pool: {"slots": 1, "description": "one at a time", "include_deferred": False} for pool in ("catalog", "gpu")
    }
    (tmp_path / "pools.json").write_text(json.dumps(pools), encoding="utf-8")
    made.run("airflow", "pools", "import", str(tmp_path / "pools.json"))
    connection = {"conn_type": "postgres", "host": url.host, "port": url.port, "schema": name}
    connection |= {"login": url.username, "password": SECRET, "extra": json.dumps(dict(url.query))}
    made.run("airflow", "connections", "add", "shelfwise_db", "--conn-json", json.dumps(connection))
    open_database(made.url).upgrade()
    return made


def test_a_night_and_a_backfill(place: Place) -> None:
    """What real jobs write is tested in `tests/end_to_end`, for each engine and started by a real scheduler."""
    run = f"backfill-{NIGHTS[0]}-{NIGHTS[0]}-tiny-2"
    plan = {"run_id": run, "release": "tiny-2", "images_by_date": {NIGHTS[0]: 4}}
    place.jobs.order("backfill", "--dry-run", prints=plan)
    printed = place.run(*RUN_DAG, "nightly_tagging", NIGHTS[0])
    form = {"from": NIGHTS[0], "to": NIGHTS[0], "release": "tiny-2"}
    printed += place.run(*RUN_DAG, "backfill_predictions", "2026-11-20", json.dumps(form))
    calls = [call for call in place.jobs.calls() if call.arguments[0] != "query"]
    by_spark = {"ingest": True, "predict": True, "publish": True, "report": False}
    assert [(call.arguments[0], call.by_spark) for call in calls] == [
        *by_spark.items(),
        ("backfill", False),
        ("backfill", True),
    ]
    assert f"--labels={place.environment['AIRFLOW_VAR_SHELFWISE_LABELS']}" in calls[0].arguments
    assert {"--run-id", run, "--release", "tiny-2"} <= set(calls[-1].arguments)
    [url] = {call.settings["SHELFWISE_DATABASE_URL"] for call in place.jobs.calls()}
    assert make_url(url).password == SECRET
    open_database(url).check()
    assert "Spark-Submit cmd" in printed
    assert_hidden(SECRET, printed, place)


def assert_hidden(secret: str, printed: str, place: Place) -> None:
    """The password is in no log, no rendered field and no other column, quoted or not."""
    airflow_home = Path(place.environment["AIRFLOW_HOME"])
    written = {path: path.read_bytes() for path in airflow_home.rglob("*") if path.is_file()}
    assert any(b"--run-date" in text for text in written.values()), "rendered fields are kept in the metadata"
    for form in (secret, quote(secret, safe=""), secret.partition("/")[0]):
        assert form not in printed
        assert not [path for path, text in written.items() if form.encode() in text], form

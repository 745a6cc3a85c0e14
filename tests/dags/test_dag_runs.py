"""A night and a backfill by Airflow's own `dag.test()`, on PostgreSQL, and the password that nobody sees."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from sql.store import open_database
from tests.dags.conftest import NIGHTS, ROOT, expected_rows, jobs_environment, make_catalogs
from tests.sql.servers import FORGETFUL, NoServerError, Server, started_server

pytestmark = pytest.mark.timeout(900)

RUN_DAG = (sys.executable, "-m", "tests.dags.run_dag")
SECRET = "s3cret/of@the shop"
LABELS = "category,category_id\nTops,apparel.tops\n"
CURRENT = "SELECT product_id, ingest_date, run_id, release_id FROM product_categories ORDER BY product_id"


@dataclass(frozen=True)
class Place:
    """Where the commands of a test run, and the database that they fill."""

    home: Path
    environment: dict[str, str]
    url: str

    def run(self, *command: str) -> str:
        """Run a command and return all that it printed."""
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, cwd=ROOT)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
        return done.stdout + done.stderr

    def rows(self) -> list[tuple[Any, ...]]:
        with open_database(self.url).engine.connect() as connection:
            rows = connection.execute(sa.text(CURRENT))
            return [(row[0], str(row[1]), row[2], row[3]) for row in rows]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    try:
        with started_server(FORGETFUL) as server:
            yield server
    except NoServerError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def place(tmp_path: Path, release: Path, server: Server) -> Place:
    """A home with an Airflow of its own, whose connection `shelfwise_db` has a password."""
    home, airflow_home = tmp_path / "home", tmp_path / "airflow"
    airflow_home.mkdir()
    shutil.copytree(release.parent / "tiny-2", home / "releases" / "tiny-2")
    environment = jobs_environment(home, release) | {
        "AIRFLOW_HOME": str(airflow_home),
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps({"conn_type": "spark", "host": "local[2]"}),
        "AIRFLOW_VAR_SHELFWISE_CATALOG": make_catalogs(tmp_path / "shop"),
        "AIRFLOW_VAR_SHELFWISE_LABELS": str(tmp_path / "map.csv"),
    }
    (tmp_path / "map.csv").write_text(LABELS, encoding="utf-8")
    name = server.create()
    url = server.url.set(drivername="postgresql", database=name, password=SECRET)
    made = Place(home, environment, url.render_as_string(hide_password=False))
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
    printed = place.run(*RUN_DAG, "nightly_tagging", NIGHTS[0])
    assert place.rows() == [(*row, "tiny-1") for row in expected_rows(1)]
    assert (place.home / "label_map.csv").read_text(encoding="utf-8") == LABELS
    form = {"from": NIGHTS[0], "to": NIGHTS[0], "release": "tiny-2"}
    printed += place.run(*RUN_DAG, "backfill_predictions", "2026-11-20", json.dumps(form))
    run = f"backfill-{NIGHTS[0]}-{NIGHTS[0]}-tiny-2"
    assert place.rows() == [(product, night, run, "tiny-2") for product, night, _ in expected_rows(1)]
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

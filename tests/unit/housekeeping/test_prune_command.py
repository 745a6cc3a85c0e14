"""`shelfwise db prune` on an SQLite database: what it asks, and what it prints."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.cli import main as cli
from jobs.dataset.ingest_marks import ingest_marked
from jobs.errors import RunFailed
from jobs.storage.places import Places
from sql.records import RunRecord
from sql.schema.products import product_categories
from sql.schema.runs import rejected_images, runs
from sql.store import ProductDatabase, open_database
from tests.dataset_rows import seen_row
from tests.labelled import RED, write_labelled, write_seen

LONG_AGO = datetime.now(UTC) - timedelta(days=500)
DAY = LONG_AGO.date()


def day(number: int) -> date:
    return DAY + timedelta(days=number)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """A home with one date of a product that left, one of a product with an answer, and files of two runs."""
    home = tmp_path / "home"
    monkeypatch.setenv("SHELFWISE_HOME", str(home))
    places = Places(home)
    for number, product_id in enumerate(["gone", "answered"]):
        write_labelled(places, [(product_id, RED, [0])], day=day(number))
        write_seen(places, day(5), seen_row(product_id, "left", ingest_no=number + 1))
    for run_id in ("published", "failed"):
        (home / f"predictions/run_id={run_id}").mkdir(parents=True)
        (home / f"predictions/run_id={run_id}/part-1.parquet").write_bytes(b"12345")
    for file in home.rglob("*.parquet"):
        os.utime(file, (LONG_AGO.timestamp(),) * 2)
    return places


@pytest.fixture
def database(places: Places) -> ProductDatabase:
    database = open_database(f"sqlite:///{places.home / 'shelfwise.db'}")
    database.upgrade()
    run = {"kind": "nightly", "run_date": DAY, "counts": {}, "seconds": {}, "summary": {}, "started_at_utc": LONG_AGO}
    with database.engine.begin() as connection:
        for state in ("published", "failed"):
            values = {**run, "run_id": state, "state": state, "finished_at_utc": LONG_AGO}
            connection.execute(runs.insert().values(**values))
        answer = {"product_id": "answered", "status": "unknown", "image_count": 1, "updated_at_utc": LONG_AGO}
        connection.execute(product_categories.insert().values(**answer, left_at=day(5)))
    return database


def parts(places: Places) -> list[str]:
    return sorted(f"{path.parent.parent.name}/{path.parent.name}" for path in places.home.glob("[ip]*/*/*.parquet"))


def test_prune_deletes_what_nobody_needs_and_prints_how_much(database: ProductDatabase, places: Places) -> None:
    values = {"image_no": 0, "image_uri": "a.jpg", "ingest_date": DAY, "reason": "unreadable", "seen_at_utc": LONG_AGO}
    with database.engine.begin() as connection:
        connection.execute(rejected_images.insert().values(run_id="failed", product_id="p", **values))
    every = parts(places)
    call = ["db", "prune", "--keep-runs", "1", "--json"]
    counted = CliRunner().invoke(cli.main_group, [*call, "--dry-run"], catch_exceptions=False)
    assert parts(places) == every
    done = CliRunner().invoke(cli.main_group, call, catch_exceptions=False)
    assert parts(places) == [f"images/ingest_date={day(1)}", "predictions/run_id=failed"]
    home = json.loads(done.stdout)["home"]
    assert {kind: count["files"] for kind, count in home.items()} == {
        "images": 1,
        "predictions": 1,
        "selections": 0,
        "thumbnails": 0,
        "features": 0,
        "catalogs": 0,
        "leftovers": 0,
    }
    assert home["predictions"]["bytes"] == 5
    would = json.loads(counted.stdout)
    rows = {"kept_runs": ["published"], "predictions": 0, "replaced_predictions": 0, "rejections": 1}
    assert would == {"dry_run": True, **rows, "transactions": 0, "home": home}
    assert json.loads(done.stdout) == {**rows, "transactions": 1, "home": home}, "as many as were counted"


def test_prune_is_refused_while_a_run_is_running(database: ProductDatabase, places: Places) -> None:
    database.claim(RunRecord("nightly-now", "nightly", DAY, None, datetime.now(UTC)))
    values = {"image_no": 0, "image_uri": "a.jpg", "ingest_date": DAY, "reason": "unreadable", "seen_at_utc": LONG_AGO}
    with database.engine.begin() as connection:
        connection.execute(rejected_images.insert().values(run_id="failed", product_id="p", **values))
    every = parts(places)
    refused = CliRunner().invoke(cli.main_group, ["db", "prune", "--keep-runs", "1"])
    assert "run nightly-now is running" in str(refused.exception)
    assert "shelfwise runs resume nightly-now" in str(refused.exception)
    assert parts(places) == every
    with database.engine.connect() as connection:
        assert len(list(connection.execute(rejected_images.select()))) == 1, "the history of the database is kept too"


def test_prune_is_refused_while_an_ingest_is_running_and_works_after_one_that_was_killed(
    database: ProductDatabase, places: Places
) -> None:
    """`shelfwise ingest` has no lease: prune deleted the pictures at which its rows were about to point."""
    every, call = parts(places), ["db", "prune", "--keep-runs", "1"]
    with ingest_marked(places):
        refused = CliRunner().invoke(cli.main_group, call)
    assert isinstance(refused.exception, RunFailed)
    assert f"an ingest is running in {socket.gethostname()}:{os.getpid()} since" in str(refused.exception)
    assert "wait for its end, or delete " in str(refused.exception)
    assert parts(places) == every
    killed = f"""
import os, pathlib
from jobs.dataset.ingest_marks import ingest_marked
from jobs.storage.places import Places
with ingest_marked(Places(pathlib.Path({str(places.home)!r}))):
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", killed]).returncode == -9
    assert len(list(places.ingests.glob("*"))) == 1, "it has left its mark"
    assert CliRunner().invoke(cli.main_group, call, catch_exceptions=False).exit_code == 0
    assert parts(places) == [f"images/ingest_date={day(1)}", "predictions/run_id=failed"]

"""A real scheduler, DAG processor and API server, used as a data engineer uses them; one story, told in order."""

from __future__ import annotations

import contextlib
import os
import re
import runpy
import signal
import sqlite3
from datetime import date
from pathlib import Path

import psutil
import pytest

from jobs.storage.places import Places
from sql.store import open_database
from tests.conftest import CATEGORIES
from tests.dags.airflow_api import Refused
from tests.dags.conftest import NEW_EACH_NIGHT, NIGHTS, ROOT, LocalAirflow, expected_rows, until
from tests.labelled import write_labelled

pytestmark = pytest.mark.timeout(1500)  # Spark starts a dozen times, and the machine may be busy

CURRENT = "SELECT product_id, ingest_date, run_id FROM product_categories ORDER BY product_id"
NIGHT, BACKFILL, TRAINING = "nightly_tagging", "backfill_predictions", "fine_tune_release"
RANGE = {"from": NIGHTS[1], "to": NIGHTS[2]}


def test_no_dag_is_paused_and_none_has_an_error(airflow: LocalAirflow) -> None:
    dags = airflow.api.call("GET", "/dags")["dags"]
    assert {dag["dag_id"]: dag["is_paused"] for dag in dags} == dict.fromkeys((NIGHT, BACKFILL, TRAINING), False)
    assert airflow.api.call("GET", "/importErrors")["total_entries"] == 0


def test_a_backfill_of_past_nights_leaves_what_they_would_have_left(airflow: LocalAirflow) -> None:
    dates = ("--from-date", NIGHTS[0], "--to-date", f"{NIGHTS[2]}T12:00:00")
    airflow.cli("backfill", "create", "--dag-id", NIGHT, *dates)
    runs = until(lambda: found if len(found := runs_of(airflow, NIGHT)) == 3 else None)
    assert [airflow.api.wait(NIGHT, run) for run in runs] == ["success"] * 3, airflow.alerts
    assert airflow.ask(CURRENT) == expected_rows(3)


def test_a_night_by_the_rest_api(airflow: LocalAirflow) -> None:
    run = airflow.api.trigger(NIGHT, logical_date=NIGHTS[3])
    until(lambda: airflow.api.states(NIGHT, run)["predict"] == "running")
    make_late(airflow)
    assert airflow.api.wait(NIGHT, run) == "success", airflow.alerts
    assert airflow.ask(CURRENT) == expected_rows()
    events = airflow.api.call("GET", "/assets/events?order_by=-timestamp")["asset_events"]
    told = next(event["extra"] for event in events if event["source_run_id"] == run)
    assert (told["run_id"], told["release_id"]) == (f"nightly-{NIGHTS[3]}", "tiny-1")
    assert told["counts"]["images"] == NEW_EACH_NIGHT
    until(lambda: any("is late" in text for text in airflow.alerts))


def test_a_night_without_a_date_stops_with_one_sentence(airflow: LocalAirflow) -> None:
    run = airflow.api.trigger(NIGHT)
    assert airflow.api.wait(NIGHT, run) == "failed"
    assert airflow.api.states(NIGHT, run)["ingest"] == "failed"
    until(lambda: any("this run has none; trigger it again with one" in text for text in airflow.alerts))
    assert airflow.ask("SELECT count(*) FROM runs") == [(len(NIGHTS),)]


def test_a_night_with_a_wrong_call_fails_at_its_first_attempt(airflow: LocalAirflow) -> None:
    run = airflow.api.trigger(NIGHT, logical_date="2026-11-05", conf={"catalog": "/no/such/shop.csv"})
    assert airflow.api.wait(NIGHT, run) == "failed"
    (ingest,) = (task for task in airflow.api.tasks(NIGHT, run) if task["task_id"] == "ingest")
    assert (ingest["state"], ingest["try_number"]) == ("failed", 1)
    until(lambda: any("/no/such/shop.csv" in text and "at attempt 1" in text for text in airflow.alerts))
    assert airflow.ask("SELECT count(*) FROM runs") == [(len(NIGHTS),)]


def test_a_catalog_that_is_named_at_a_later_start_replaces_the_one_that_was_there(airflow: LocalAirflow) -> None:
    """What a start brings by itself, as its example, leaves the variable alone."""
    create_missing = runpy.run_path(str(ROOT / ".ci" / "local_airflow.py"))["create_missing"]
    port, variable = int(airflow.api.url.rpartition(":")[2]), "/variables/shelfwise_catalog"
    first = airflow.api.call("GET", variable)["value"]
    for catalog, replace, holds in (
        ("/example.csv", False, first),
        ("/other.csv", True, "/other.csv"),
        (first, True, first),
    ):
        assert create_missing(port, airflow.api.password, catalog, replace=replace)
        assert airflow.api.call("GET", variable)["value"] == holds


@pytest.mark.parametrize(
    "form",
    [
        {},
        {**RANGE, "from": "01.11.2026"},
        {**RANGE, "parallelism": 0},
        {**RANGE, "release": "../elsewhere"},
        {**RANGE, "force": "perhaps"},
    ],
)
def test_a_form_that_is_filled_in_wrongly_starts_nothing(airflow: LocalAirflow, form: dict[str, object]) -> None:
    before = runs_of(airflow, BACKFILL)
    with pytest.raises(Refused) as refused:
        airflow.api.trigger(BACKFILL, conf=form)
    assert refused.value.status == 400
    assert runs_of(airflow, BACKFILL) == before


def test_the_first_task_of_a_backfill_checks_the_call(airflow: LocalAirflow) -> None:
    calls = {
        "no release 'none-such'": {**RANGE, "release": "none-such"},
        "no ingested images from 2026-10-01": {"from": "2026-10-01", "to": "2026-10-02"},
        "is in the future": {"from": NIGHTS[0], "to": "2226-11-01"},
    }
    runs = {sentence: airflow.api.trigger(BACKFILL, conf=form) for sentence, form in calls.items()}
    dry = airflow.api.trigger(BACKFILL, conf={**RANGE, "dry_run": True})
    for sentence, run in runs.items():
        assert airflow.api.wait(BACKFILL, run) == "failed"
        (plan,) = (task for task in airflow.api.tasks(BACKFILL, run) if task["task_id"] == "plan")
        assert (plan["state"], plan["try_number"]) == ("failed", 1), "a wrong call is not tried again"
        assert sentence in airflow.api.log(BACKFILL, run, "plan")
    assert airflow.api.wait(BACKFILL, dry) == "success"
    path = f"/dags/{BACKFILL}/dagRuns/{dry}/taskInstances/plan/xcomEntries/return_value?deserialize=true"
    plan = airflow.api.call("GET", path)["value"]
    assert plan["images_by_date"] == dict.fromkeys(NIGHTS[1:3], NEW_EACH_NIGHT)
    assert plan["estimated_seconds"] > 0, "the nights, whose steps are tasks, say how long an image took"
    assert airflow.ask("SELECT count(*) FROM runs") == [(len(NIGHTS),)]


def test_a_task_that_is_killed_half_way_is_taken_over_by_its_retry(airflow: LocalAirflow) -> None:
    """The job of the killed task lives on, and wakes up when the retry has published: it must change nothing."""
    run = airflow.api.trigger(BACKFILL, conf={**RANGE, "release": "tiny-2", "parallelism": 2})
    first = f"backfill-{NIGHTS[1]}-{NIGHTS[1]}-tiny-2"
    lease = f"SELECT holder FROM run_leases WHERE run_id = '{first}'"
    driver = int(until(lambda: airflow.ask(lease))[0][0].rpartition(":")[2])
    (task,) = (one for one in airflow.api.tasks(BACKFILL, run) if one["task_id"] == "lane_1.backfill")
    os.kill(task["pid"], signal.SIGKILL)
    until(lambda: task["pid"] not in airflow.processes())
    with contextlib.suppress(ProcessLookupError):
        os.kill(driver, signal.SIGSTOP)  # only now: the system ends stopped processes whose group loses its parent
    assert airflow.api.wait(BACKFILL, run) == "success", airflow.alerts
    (again,) = (one for one in airflow.api.tasks(BACKFILL, run) if one["task_id"] == "lane_1.backfill")
    assert again["try_number"] == 2
    released = "SELECT DISTINCT release_id FROM product_categories WHERE ingest_date IN ('2026-11-02', '2026-11-03')"
    assert airflow.ask(released) == [("tiny-2",)]
    if state_of(driver) == "T":  # else it was quicker than the kill, or the system ended it: the rows are right anyhow
        (summary,) = airflow.ask(f"SELECT summary FROM runs WHERE run_id = '{first}'")
        assert "taken_over" in summary[0]
        assert f":{driver}" in summary[0]

    rows = dump(airflow)
    with contextlib.suppress(ProcessLookupError):  # where the system has ended it, it cannot write either
        os.kill(driver, signal.SIGCONT)
    until(lambda: driver not in airflow.processes())
    assert dump(airflow) == rows, "the first driver wrote nothing more"


def test_a_release_answers_only_after_a_person_has_said_so(airflow: LocalAirflow) -> None:
    """Refused first, then asked again and approved; the second question starts the backfill with the form's dates."""
    open_database(f"sqlite:///{airflow.home}/shelfwise.db").upgrade()  # the first night does, if there was one
    labels = [category.category_id for category in CATEGORIES]
    products = [(f"labelled-{number:02d}", labels[number % 3], [number % 3]) for number in range(45)]
    write_labelled(Places(airflow.home), products, day=date(2026, 10, 20))
    options = ["--network=tiny", "--start-from=nothing", "--epochs=1", "--batch-size=16"]
    options += ["--from=2026-10-20", "--to=2026-10-20", "--taxonomy-version=untrained"]
    run = airflow.api.trigger(TRAINING, conf={"release_id": "tuned-1", "options": options, "part": "all"})
    question = airflow.asked(TRAINING, run, "approve")
    assert question["subject"] == "Shall tuned-1 answer from now on?"
    assert question["body"].startswith("tiny-1 is in use, tuned-1 is new.\n")
    assert re.search(r"\| tiny-1 \| 0\.\d{4} \| \d+ \|\n\| tuned-1 \| 0\.\d{4} \| \d+ \|\n", question["body"])
    assert champion(airflow) == []
    airflow.api.answer(TRAINING, run, "approve", "Reject")
    assert airflow.api.wait(TRAINING, run) == "success", airflow.alerts
    after = dict.fromkeys(("promote", "offer_backfill", "backfill"), "skipped")
    assert airflow.api.states(TRAINING, run) | after == airflow.api.states(TRAINING, run)
    assert champion(airflow) == []

    airflow.api.clear(TRAINING, run, "approve")
    airflow.asked(TRAINING, run, "approve")
    airflow.api.answer(TRAINING, run, "approve", "Approve")
    airflow.asked(TRAINING, run, "offer_backfill")
    assert champion(airflow) == [("tuned-1",)]
    before = runs_of(airflow, BACKFILL)
    airflow.api.answer(TRAINING, run, "offer_backfill", "Approve", **{"from": "2026-10-20", "to": "2026-10-20"})
    assert airflow.api.wait(TRAINING, run) == "success", airflow.alerts
    (started,) = set(runs_of(airflow, BACKFILL)) - set(before)
    assert airflow.api.wait(BACKFILL, started) == "success", airflow.alerts
    answered = "SELECT run_id, count(*) FROM product_categories WHERE release_id = 'tuned-1' GROUP BY 1"
    assert airflow.ask(answered) == [("backfill-2026-10-20-2026-10-20-tuned-1", 45)]


def champion(airflow: LocalAirflow) -> list[tuple[object, ...]]:
    return airflow.ask("SELECT release_id FROM release_aliases WHERE alias = 'champion'")


def test_it_stops_whole(airflow: LocalAirflow) -> None:
    servers = psutil.Process(airflow.process.pid).children()  # one of them hides its environment behind its new name
    assert len(servers) == 3
    airflow.process.send_signal(signal.SIGINT)
    assert airflow.process.wait(timeout=120) == 0
    assert until(lambda: not airflow.processes() or None, seconds=30), airflow.processes()
    assert not [server for server in servers if server.is_running()]


def state_of(process: int) -> str:
    """Return the system's letter for what a process does; empty if there is none."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return ""


def runs_of(airflow: LocalAirflow, dag_id: str) -> list[str]:
    answer = airflow.api.call("GET", f"/dags/{dag_id}/dagRuns?order_by=logical_date&limit=100")
    return [run["dag_run_id"] for run in answer["dag_runs"]]


def make_late(airflow: LocalAirflow) -> None:
    """Move the deadlines of the runs that are on into the past."""
    with sqlite3.connect(airflow.home / "airflow" / "airflow.db", timeout=60) as connection:
        changed = connection.execute(
            "UPDATE deadline SET deadline_time = '2026-01-01 00:00:00.000000' WHERE NOT missed"
        )
        assert changed.rowcount == 1


def dump(airflow: LocalAirflow) -> dict[str, list[tuple[object, ...]]]:
    names = ("product_categories", "category_predictions", "runs", "category_changes", "run_category_counts")
    return {name: sorted(airflow.ask(f'SELECT * FROM "{name}"'), key=repr) for name in names}

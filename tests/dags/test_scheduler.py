"""A real scheduler, DAG processor and API server, used as a data engineer uses them; one story, told in order."""

from __future__ import annotations

import os
import runpy
import signal
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import psutil
import pytest

from tests.dags.airflow_api import Refused
from tests.dags.conftest import NEW_EACH_NIGHT, NIGHTS, ROOT, LocalAirflow, until
from tests.dags.stand_in import Call

pytestmark = pytest.mark.timeout(900)  # the machine may be busy

NIGHT, BACKFILL, TRAINING = "nightly_tagging", "backfill_predictions", "fine_tune_release"
RANGE = {"from": NIGHTS[1], "to": NIGHTS[2]}


def test_no_dag_is_paused_and_none_has_an_error(airflow: LocalAirflow) -> None:
    dags = airflow.api.call("GET", "/dags")["dags"]
    assert {dag["dag_id"]: dag["is_paused"] for dag in dags} == dict.fromkeys((NIGHT, BACKFILL, TRAINING), False)
    assert airflow.api.call("GET", "/importErrors")["total_entries"] == 0


def test_a_night_by_the_rest_api(airflow: LocalAirflow) -> None:
    """Its jobs are played; in `end_to_end/test_readme.py` a real scheduler starts real ones."""
    named = {"run_id": f"nightly-{NIGHTS[0]}", "kind": "nightly", "run_date": NIGHTS[0], "release_id": "tiny-1"}
    row = {**named, "state": "published", "counts": {"images": NEW_EACH_NIGHT}, "error": None, "summary": {}}
    airflow.jobs.order("query", f"run_id={row['run_id']}", prints=[row])
    run = airflow.api.trigger(NIGHT, logical_date=NIGHTS[0])
    make_late(airflow)
    assert airflow.api.wait(NIGHT, run) == "success", airflow.alerts
    told = airflow.api.asset_event(run)
    assert (told["run_id"], told["release_id"]) == (f"nightly-{NIGHTS[0]}", "tiny-1")
    assert told["counts"]["images"] == NEW_EACH_NIGHT
    until(lambda: any("is late" in text for text in airflow.alerts))


def test_a_backfill_of_past_nights_does_their_steps_in_order_and_repeats_what_failed(airflow: LocalAirflow) -> None:
    nights = NIGHTS[1:]
    airflow.jobs.order("predict", nights[0], codes=(1, 0), says="shelfwise: no executor took a task")
    dates = ("--from-date", nights[0], "--to-date", f"{nights[-1]}T12:00:00")
    airflow.cli("backfill", "create", "--dag-id", NIGHT, *dates)
    runs = until(lambda: found if len(found := runs_of(airflow, NIGHT)) == len(NIGHTS) else None)
    assert [airflow.api.wait(NIGHT, run) for run in runs] == ["success"] * len(NIGHTS), airflow.alerts
    read = [call for call in airflow.jobs.calls("ingest") if NIGHTS[0] not in call.arguments]
    assert [call.arguments[call.arguments.index("--run-date") + 1] for call in read] == list(nights)
    assert not any(overlap(*pair) for pair in pairwise(read)), "the pool has one slot"
    for night in nights:
        steps = [call for call in airflow.jobs.calls() if night in " ".join(call.arguments)]
        assert all(earlier.ended and earlier.ended <= later.began for earlier, later in pairwise(steps))
        called = [call.arguments[0] for call in steps if call.arguments[0] != "query"]
        again = ["predict"] if night == nights[0] else []
        assert called == ["ingest", *again, "predict", "publish", "report"]
        assert [call.by_spark for call in steps if call.arguments[0] == "report"] == [False]
        assert steps[0].arguments[:3] == ("ingest", "--catalog", f"{airflow.home.parent}/shop/{night}.csv")
        assert steps[0].settings["SHELFWISE_HOME"] == str(airflow.home)
    first = airflow.jobs.calls("predict", nights[0])
    assert [call.code for call in first] == [1, 0]
    assert first[0].arguments == first[1].arguments
    assert not any("no executor" in text for text in airflow.alerts), "a failure that a retry mends wakes nobody"


def overlap(one: Call, other: Call) -> bool:
    return one.ended is None or other.began < one.ended


def test_a_night_without_a_date_stops_with_one_sentence(airflow: LocalAirflow) -> None:
    before = airflow.jobs.calls()
    run = airflow.api.trigger(NIGHT)
    assert airflow.api.wait(NIGHT, run) == "failed"
    assert airflow.api.states(NIGHT, run)["ingest"] == "failed"
    until(lambda: any("this run has none; trigger it again with one" in text for text in airflow.alerts))
    assert airflow.jobs.calls() == before


def test_a_night_with_a_wrong_call_fails_at_its_first_attempt(airflow: LocalAirflow) -> None:
    airflow.jobs.order("ingest", "2026-11-05", codes=(2,), says="shelfwise: no catalog at /no/such/shop.csv")
    run = airflow.api.trigger(NIGHT, logical_date="2026-11-05", conf={"catalog": "/no/such/shop.csv"})
    assert airflow.api.wait(NIGHT, run) == "failed"
    (ingest,) = (task for task in airflow.api.tasks(NIGHT, run) if task["task_id"] == "ingest")
    assert (ingest["state"], ingest["try_number"]) == ("failed", 1)
    until(lambda: any("/no/such/shop.csv" in text and "at attempt 1" in text for text in airflow.alerts))
    assert len(airflow.jobs.calls("2026-11-05")) == 1, "no later step has begun"


def test_a_refused_catalog_fails_at_its_first_attempt_and_the_alert_says_why(airflow: LocalAirflow) -> None:
    """It was read four times, and the alert of a cluster had Airflow's words only."""
    night, sentence = "2026-11-06", "catalog 'shop' named 100 products and now lacks 60 of them (60%)"
    refusal = {"ingest_date": night, "refused_at_utc": datetime.now(UTC).isoformat(), "sentence": sentence}
    airflow.jobs.order("ingest", night, codes=(1,), says=f"shelfwise: {sentence}")
    airflow.jobs.order("ingest-refusal", night, prints=refusal)
    run = airflow.api.trigger(NIGHT, logical_date=night)
    assert airflow.api.wait(NIGHT, run) == "failed"
    (ingest,) = (task for task in airflow.api.tasks(NIGHT, run) if task["task_id"] == "ingest")
    assert (ingest["state"], ingest["try_number"]) == ("failed", 1)
    until(lambda: any("at attempt 1" in text and "now lacks" in text for text in airflow.alerts))
    assert len(airflow.jobs.calls("ingest", night)) == 1


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


@pytest.mark.parametrize("labels", ["map.csv\n", "map.csv\n--partial", "map\x1b.csv"])
def test_a_label_map_whose_name_would_end_a_line_starts_no_night(airflow: LocalAirflow, labels: str) -> None:
    before = runs_of(airflow, NIGHT)
    with pytest.raises(Refused) as refused:
        airflow.api.trigger(NIGHT, logical_date="2026-11-09", conf={"labels": labels})
    assert refused.value.status == 400
    assert runs_of(airflow, NIGHT) == before


def plan_of(first: str, last: str, release: str, dates: Sequence[str]) -> dict[str, object]:
    """Return what `shelfwise backfill --dry-run` prints."""
    run_id = f"backfill-{first}-{last}-{release}"
    return {"run_id": run_id, "release": release, "images_by_date": dict.fromkeys(dates, NEW_EACH_NIGHT)}


def test_the_first_task_of_a_backfill_checks_the_call(airflow: LocalAirflow) -> None:
    airflow.jobs.order("--release=none-such", codes=(2,), says="shelfwise: no release 'none-such'")
    plan = plan_of(NIGHTS[1], NIGHTS[2], "tiny-1", NIGHTS[1:3])
    airflow.jobs.order("backfill", "--dry-run", "--only-missing", prints=plan)
    wrong = airflow.api.trigger(BACKFILL, conf={**RANGE, "release": "none-such"})
    dry = airflow.api.trigger(BACKFILL, conf={**RANGE, "dry_run": True, "only_missing": True})
    assert airflow.api.wait(BACKFILL, wrong) == "failed"
    (task,) = (task for task in airflow.api.tasks(BACKFILL, wrong) if task["task_id"] == "plan")
    assert (task["state"], task["try_number"]) == ("failed", 1), "a wrong call is not tried again"
    assert "no release 'none-such'" in airflow.api.log(BACKFILL, wrong, "plan")
    assert airflow.api.wait(BACKFILL, dry) == "success"
    path = f"/dags/{BACKFILL}/dagRuns/{dry}/taskInstances/plan/xcomEntries/return_value?deserialize=true"
    assert airflow.api.call("GET", path)["value"] == plan
    arguments = ("--from", NIGHTS[1], "--to", NIGHTS[2])
    assert [call.arguments for call in airflow.jobs.calls("backfill")] == [
        ("backfill", "--dry-run", *arguments, "--release=none-such", "--json"),
        ("backfill", "--dry-run", *arguments, "--only-missing", "--json"),
    ], "and nothing else has begun"


def test_a_task_that_is_killed_half_way_is_taken_over_by_its_retry(airflow: LocalAirflow) -> None:
    """Its job lives on meanwhile; that it changes nothing then is a matter of the run's lease."""
    dates = NIGHTS[1:4]
    plan = plan_of(dates[0], dates[-1], "tiny-2", dates)
    airflow.jobs.order("backfill", "--dry-run", "--release=tiny-2", prints=plan)
    named = [f"backfill-{date}-{date}-tiny-2" for date in dates]
    airflow.jobs.order(named[0], held=1)
    form = {"from": dates[0], "to": dates[-1], "release": "tiny-2", "parallelism": 2}
    run = airflow.api.trigger(BACKFILL, conf=form)
    until(lambda: airflow.jobs.calls(named[0]))
    task = lane(airflow, run, 1, 0)
    os.kill(task["pid"], signal.SIGKILL)
    assert airflow.api.wait(BACKFILL, run) == "success", airflow.alerts
    held, again = airflow.jobs.calls(named[0])
    assert lane(airflow, run, 1, 0)["try_number"] == 2
    assert (held.ended, again.code) == (None, 0)
    assert held.arguments == again.arguments
    assert again.arguments == (
        *("backfill", "--from", dates[0], "--to", dates[0], "--run-id", named[0], "--release", "tiny-2"),
    )
    steps = [call for name in named for call in airflow.jobs.calls(name) if call.ended is not None]
    assert [call.arguments[6] for call in steps] == named, "each date has a step"
    assert {lane(airflow, run, *place)["rendered_map_index"] for place in ((1, 0), (1, 1), (2, 0))} == set(named)
    in_turn = sorted(steps, key=lambda call: call.began)
    assert not any(overlap(*pair) for pair in pairwise(in_turn)), "the pool has one slot"
    airflow.jobs.let_go()
    until(lambda: airflow.jobs.calls(named[0])[0].ended)


def lane(airflow: LocalAirflow, run: str, number: int, index: int) -> dict[str, Any]:
    """Return a date's task of a backfill: of the lane with this number, from 1, the one with this index, from 0."""
    tasks = airflow.api.tasks(BACKFILL, run)
    (found,) = (one for one in tasks if (one["task_id"], one["map_index"]) == (f"lane_{number}.backfill", index))
    return found


def test_a_release_answers_only_after_a_person_has_said_so(airflow: LocalAirflow) -> None:
    """Refused first, then asked again and approved; the second question starts the backfill with the form's dates."""
    figures = "| release | accuracy |\n| --- | --- |\n| tiny-1 | 0.5000 |\n| tuned-1 | 0.7500 |\n"
    airflow.jobs.order("release", "show", prints={"release_id": "tiny-1", "release": "/releases/tiny-1"})
    airflow.jobs.order("evaluate", prints=figures)
    plan = plan_of("2026-10-20", "2026-10-20", "tuned-1", ["2026-10-20"])
    airflow.jobs.order("backfill", "--dry-run", "--release=tuned-1", prints=plan)
    options = ["--network=tiny", "--leave-out=toys"]
    run = airflow.api.trigger(TRAINING, conf={"release_id": "tuned-1", "options": options, "part": "all"})
    question = airflow.asked(TRAINING, run, "approve")
    assert question["subject"] == "Shall tuned-1 answer from now on?"
    assert question["body"].startswith(f"tiny-1 is in use, tuned-1 is new.\n\n{figures.strip()}")
    [trained] = airflow.jobs.calls("finetune")
    assert trained.arguments == ("finetune", "--release-id", "tuned-1", *options, "--json")
    [compared] = airflow.jobs.calls("evaluate")
    assert compared.arguments[1:4] == ("--compare", "/releases/tiny-1", "tuned-1")
    assert compared.arguments[4:] == ("--format=markdown", "--part=all", "--leave-out=toys")
    airflow.api.answer(TRAINING, run, "approve", "Reject")
    assert airflow.api.wait(TRAINING, run) == "success", airflow.alerts
    after = dict.fromkeys(("promote", "offer_backfill", "backfill"), "skipped")
    assert airflow.api.states(TRAINING, run) | after == airflow.api.states(TRAINING, run)
    assert airflow.jobs.calls("promote") == []

    airflow.api.clear(TRAINING, run, "approve")
    airflow.asked(TRAINING, run, "approve")
    airflow.api.answer(TRAINING, run, "approve", "Approve")
    airflow.asked(TRAINING, run, "offer_backfill")
    [promoted] = airflow.jobs.calls("promote")
    assert promoted.arguments == ("release", "promote", "tuned-1", "--json")
    before = runs_of(airflow, BACKFILL)
    airflow.api.answer(TRAINING, run, "offer_backfill", "Approve", **{"from": "2026-10-20", "to": "2026-10-20"})
    assert airflow.api.wait(TRAINING, run) == "success", airflow.alerts
    (started,) = set(runs_of(airflow, BACKFILL)) - set(before)
    assert airflow.api.wait(BACKFILL, started) == "success", airflow.alerts
    [predicted] = airflow.jobs.calls("backfill-2026-10-20-2026-10-20-tuned-1")
    assert predicted.by_spark
    assert predicted.arguments[-2:] == ("--release", "tuned-1")


def test_it_stops_whole(airflow: LocalAirflow) -> None:
    servers = psutil.Process(airflow.process.pid).children()  # one of them hides its environment behind its new name
    assert len(servers) == 3
    airflow.process.send_signal(signal.SIGINT)
    assert airflow.process.wait(timeout=120) == 0
    assert until(lambda: not airflow.processes() or None, seconds=120), airflow.processes()
    assert not [server for server in servers if server.is_running()]


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

"""The row of a run whose steps are done by several drivers: each adds its part, and nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sql.run_history import find_run, published_nights
from sql.store import ProductDatabase
from tests.sql.runs import (
    CATEGORIES,
    NIGHT,
    RELEASE,
    combine,
    dump,
    fail,
    prediction,
    publish,
    publish_record,
    run_record,
)

RUN = replace(run_record(), finished_at_utc=None, seconds={}, summary={"call": ["predict"]})
LATER = replace(RUN, started_at_utc=RUN.started_at_utc + timedelta(hours=3), summary={"call": ["publish"]})
INGEST, PREDICT = {"images_stored": 3, "seconds": 4.0}, {"images": 3, "seconds": 7.5}


def row_of(database: ProductDatabase) -> dict[str, Any]:
    found = find_run(database, RUN.run_id)
    assert found is not None
    return found


def a_driver_reports(database: ProductDatabase, step: str, report: dict[str, Any], *, changed: bool = True) -> None:
    token = database.claim(LATER, [step])
    database.record_step(RUN.run_id, token, step, report, changed=changed)
    database.end_claim(RUN.run_id, token)


def test_what_each_step_reported_is_in_the_row_of_the_published_run(database: ProductDatabase) -> None:
    database.end_claim(RUN.run_id, database.claim(RUN))
    a_driver_reports(database, "ingest", INGEST)
    a_driver_reports(database, "predict", PREDICT)
    database.publish(
        LATER,
        predictions=[[prediction("p")]],
        rejections=[],
        products=[],
        categories=CATEGORIES,
        release=RELEASE,
        combine=combine,
        token=database.claim(LATER),
    )
    row = row_of(database)
    assert (row["state"], row["seconds"]) == ("published", {"ingest": 4.0, "predict": 7.5})
    assert (row["summary"]["ingest"], row["summary"]["predict"]) == (INGEST, PREDICT)
    assert row["started_at_utc"] == RUN.started_at_utc, "the first start stays"
    assert row["summary"]["call"] == ["publish"]


def test_a_failure_keeps_the_reports_of_earlier_steps(database: ProductDatabase) -> None:
    database.claim(RUN)
    a_driver_reports(database, "ingest", INGEST)
    fail(database, LATER, "no space left")
    row = row_of(database)
    assert (row["state"], row["error"]) == ("failed", "no space left")
    assert (row["summary"]["ingest"], row["seconds"]) == (INGEST, {"ingest": 4.0})


def test_a_repeated_step_replaces_only_its_own_report(database: ProductDatabase) -> None:
    database.claim(RUN)
    a_driver_reports(database, "ingest", INGEST)
    a_driver_reports(database, "predict", PREDICT)
    database.claim(LATER, ["predict"])
    row = row_of(database)
    assert (set(row["summary"]) & {"ingest", "predict"}, row["seconds"]) == ({"ingest"}, {"ingest": 4.0})


def test_the_row_of_a_published_run_changes_only_if_a_step_changed_something(
    database: ProductDatabase,
) -> None:
    publish(database, [prediction("p")])
    before = dump(database)["runs"]
    a_driver_reports(database, "predict", {"images": 0, "seconds": 0.1}, changed=False)
    assert dump(database)["runs"] == before
    a_driver_reports(database, "predict", PREDICT)
    row = row_of(database)
    assert (row["state"], row["summary"]["predict"], row["seconds"]["predict"]) == ("published", PREDICT, 7.5)


@pytest.mark.parametrize("confidence", [0.95, 0.9])
def test_a_refusal_of_a_published_run_is_in_its_row_until_it_is_published_again(
    database: ProductDatabase, confidence: float
) -> None:
    """Also if that changes no answer, as where the catalog of the repetition was cut short, and is whole again."""
    publish(database, [prediction("p", confidence=0.9)])
    run = run_record()
    before = find_run(database, run.run_id)
    database.record_failure(run, "OSError: no disk", database.claim(run))
    assert find_run(database, run.run_id) == before, "what may pass the next time leaves no trace"
    database.record_failure(run, "RunRefused: foreign", database.claim(run), refused=True)
    row = find_run(database, run.run_id)
    assert before is not None
    assert row is not None
    assert row == {**before, "summary": {**before["summary"], "refused": row["summary"]["refused"]}}
    assert row["summary"]["refused"] == {"error": "RunRefused: foreign", "at_utc": "2026-11-01T02:00:00+00:00"}
    assert publish(database, [prediction("p", confidence=confidence)]).changed == (confidence != 0.9)
    again = find_run(database, run.run_id)
    assert again is not None
    assert "refused" not in again["summary"]


def publish_note(database: ProductDatabase, **note: Any) -> None:
    """Publish a night that changes nothing but what it notes."""
    publish_record(database, replace(run_record(), summary={"published": note}))


def test_a_later_ingest_of_a_published_night_is_noted_although_it_changes_nothing(database: ProductDatabase) -> None:
    """Else each later night would publish this one's changes again."""
    numbers = []
    for ingest_no in (1, 2, 1):
        publish_note(database, ingest_no=ingest_no)
        numbers.append(row_of(database)["summary"]["published"]["ingest_no"])
    assert numbers == [1, 2, 2]


def test_a_night_keeps_which_earlier_nights_it_has_published(database: ProductDatabase) -> None:
    """A repetition finds only what is new of them; with its note alone, every later night would take all again."""
    days = [NIGHT - timedelta(days=number) for number in range(3)]
    first, second = days[1].isoformat(), days[2].isoformat()
    for earlier in ({first: 3, second: 1}, {first: 4}, {}):
        publish_note(database, ingest_no=2, **({"earlier": earlier} if earlier else {}))
    assert published_nights(database) == {days[0]: 2, days[1]: 4, days[2]: 1}
    publish_note(database, ingest_no=3)
    assert published_nights(database) == {days[0]: 3, days[1]: 4, days[2]: 1}

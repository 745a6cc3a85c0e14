"""Two drivers: of the same run, of different runs, and one that does not know that it has been replaced."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from sql import named_queries
from sql.engine import writing
from sql.errors import SupersededError
from sql.overrides import Override, set_overrides
from sql.publishing import leases, run_rows
from sql.schema.tables import metadata
from sql.store import ProductDatabase, open_database
from tests.sql import processes, runs
from tests.sql.runs import BOOT, SHIRT, T_SHIRT, answer, dump, prediction, publish, rejection

PRODUCTS = 2000

CLAIM = (
    "import sys; from sql.store import open_database; from tests.sql import runs; "
    "open_database(sys.argv[1]).claim(runs.run_record())"
)
"""A driver in a process of its own that claims the run of the first night."""


def night(number: int) -> list[tuple[object, ...]]:
    category = (SHIRT, T_SHIRT, BOOT)[number]
    return [prediction(f"p{n}", category, 0.9, content=str(number), night=number) for n in range(PRODUCTS)]


def test_two_drivers_of_the_same_run_leave_the_same_rows_as_one(new_url: Callable[[], str]) -> None:
    clean, shared = open_database(new_url()), new_url()
    publish(clean, night(0), rejections=[rejection("x")])

    def driver() -> None:
        publish(open_database(shared), night(0), rejections=[rejection("x")])

    assert processes.together(driver, driver, driver) == [0, 0, 0]
    assert dump(open_database(shared)) == dump(clean)


def test_drivers_of_different_runs_leave_the_newest_images(new_url: Callable[[], str]) -> None:
    clean, shared = open_database(new_url()), new_url()
    for number in range(3):
        publish(clean, night(number), night=number)

    def driver(number: int) -> Callable[[], None]:
        return lambda: (publish(open_database(shared), night(number), night=number), None)[1]

    assert processes.together(driver(2), driver(0), driver(1)) == [0, 0, 0]
    left, expected = dump(open_database(shared)), dump(clean)
    for name in ("category_predictions", "category_totals", "categories"):
        assert left[name] == expected[name]
    # Which earlier category readers saw, and how many products there were meanwhile, depends on who came first.
    seen_before = metadata.tables["product_categories"].columns.keys().index("previous_category_id")
    assert [row[:seen_before] + row[seen_before + 1 :] for row in left["product_categories"]] == [
        row[:seen_before] + row[seen_before + 1 :] for row in expected["product_categories"]
    ]
    assert [row[:2] for row in left["runs"]] == [row[:2] for row in expected["runs"]]


def test_people_decide_while_a_run_is_published(new_url: Callable[[], str]) -> None:
    shared = new_url()
    publish(open_database(shared), night(0))

    def person() -> None:
        for n in range(0, PRODUCTS, 100):
            set_overrides(open_database(shared), [Override(f"p{n}", SHIRT)], decided_by="maria")

    def driver() -> None:
        publish(open_database(shared), night(1), night=1)

    assert processes.together(person, driver) == [0, 0]
    rows = dump(open_database(shared))["product_categories"]
    assert {row[0] for row in rows if row[3] == "manual"} == {f"p{n}" for n in range(0, PRODUCTS, 100)}
    assert {row[1] for row in rows if row[3] != "manual"} == {T_SHIRT}
    assert sum(row[3] for row in dump(open_database(shared))["category_totals"]) == PRODUCTS


def test_a_driver_whose_run_was_taken_over_writes_nothing(database: ProductDatabase) -> None:
    zombie = database.claim(runs.run_record())
    retry = database.claim(runs.run_record())
    before = dump(database)
    with pytest.raises(SupersededError, match="taken over run 'nightly-2026-11-01': this attempt wrote nothing"):
        with_token(database, zombie, SHIRT)
    assert dump(database) == before
    with_token(database, retry, BOOT)
    published = dump(database)
    with pytest.raises(SupersededError):
        with_token(database, zombie, SHIRT)
    assert dump(database) == published
    assert answer(database, "p")["category_id"] == BOOT
    assert published["run_leases"] == []


def test_a_driver_without_a_token_takes_the_run_over(database: ProductDatabase) -> None:
    zombie = database.claim(runs.run_record())
    publish(database, [prediction("p", BOOT)])
    with pytest.raises(SupersededError):
        with_token(database, zombie, SHIRT)
    assert answer(database, "p")["category_id"] == BOOT


def test_a_claimed_run_is_running_until_it_is_published_and_stays_published(database: ProductDatabase) -> None:
    with_token(database, database.claim(runs.run_record()), SHIRT)
    before = dump(database)["runs"]
    database.claim(runs.run_record())
    assert dump(database)["runs"] == before
    database.claim(runs.run_record(1))
    assert [row[4] for row in dump(database)["runs"]] == ["published", "running"]


def test_a_claim_in_the_middle_of_a_publish_waits_for_its_end(database: ProductDatabase, url: str) -> None:
    claims: list[subprocess.Popen[bytes]] = []

    @sa.event.listens_for(database.engine, "before_cursor_execute")
    def begin(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "INTO category_predictions" in statement and not claims:
            # Not a fork: SQLite's open files must not cross one.
            claims.append(subprocess.Popen([sys.executable, "-c", CLAIM, url]))
            time.sleep(2)

    publish(database, night(0))
    assert claims[0].wait() == 0
    assert [row[4] for row in dump(database)["runs"]] == ["published"]


def test_of_two_first_claims_at_once_the_second_takes_the_run_from_the_first(
    database: ProductDatabase, url: str
) -> None:
    """It once ended in a duplicate key, and in a sentence that asked to correct a row."""
    record = runs.run_record()
    with writing(database.engine, exclusive=False) as connection:
        leases.take(connection, record.run_id)
        run_rows.start(connection, record)
        second = subprocess.Popen([sys.executable, "-c", CLAIM, url])
        time.sleep(2)
    assert second.wait() == 0
    assert len(summary_of(database)["taken_over"]) == 1


def test_a_superseded_driver_that_fails_leaves_its_successor_s_run_alone(database: ProductDatabase) -> None:
    zombie = database.claim(runs.run_record())
    retry = database.claim(runs.run_record())
    before = dump(database)
    database.record_failure(runs.run_record(), "its worker was lost", zombie)
    database.end_claim(runs.run_record().run_id, zombie)
    with pytest.raises(SupersededError):
        database.record_step(runs.run_record().run_id, zombie, "predict", {"seconds": 1.0}, changed=True)
    assert dump(database) == before
    with_token(database, retry, BOOT)
    assert [row[4] for row in dump(database)["runs"]] == ["published"]


def with_token(database: ProductDatabase, token: str, category_id: str) -> None:
    database.publish(
        runs.run_record(),
        predictions=[[prediction("p", category_id)]],
        rejections=[],
        products=[],
        categories=runs.CATEGORIES,
        release=runs.RELEASE,
        combine=runs.combine,
        token=token,
    )


def summary_of(database: ProductDatabase) -> dict[str, Any]:
    result = named_queries.run_query(database, "run_summary", {"run_id": runs.run_record().run_id})
    return dict(dict(zip(result.columns, next(iter(result.rows)), strict=True))["summary"])


def test_the_summary_says_from_whom_a_run_was_taken_over(database: ProductDatabase) -> None:
    database.claim(runs.run_record())
    assert "taken_over" not in summary_of(database)
    retry = database.claim(runs.run_record())
    told = summary_of(database)["taken_over"]
    assert [one["from"] for one in told] == [f"{socket.gethostname()}:{os.getpid()}"]
    with_token(database, retry, SHIRT)
    assert summary_of(database)["taken_over"] == told, "publishing keeps it"


def test_a_driver_that_ended_was_not_taken_over(database: ProductDatabase) -> None:
    token = database.claim(runs.run_record())
    database.end_claim(runs.run_record().run_id, token)
    runs.fail(database, runs.run_record(), "no space left")
    database.claim(runs.run_record())
    assert "taken_over" not in summary_of(database)

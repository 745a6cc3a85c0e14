"""Whatever happens to a publishing driver, the rows are those of a publish that nothing happened to."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from sql.errors import DatabaseError
from sql.store import ProductDatabase, open_database
from tests.extent import steps
from tests.sql import processes
from tests.sql.runs import BOOT, SHIRT, T_SHIRT, dump, prediction, product, publish, rejection


def a_night() -> dict[str, Any]:
    return {
        "predictions": [
            *(prediction(f"p{n}", (SHIRT, BOOT)[n % 2], 0.9, content="B", night=1) for n in range(20)),
            *(prediction(f"p{n}", T_SHIRT, 0.7, content="C", image_no=1, night=1) for n in range(5)),
        ],
        "rejections": [rejection("broken", night=1)],
        "products": [product(f"p{n}", "new", night=1) for n in range(20)],
        "night": 1,
    }


def prepare(database: ProductDatabase) -> ProductDatabase:
    """Give the database an earlier night, so that the next one changes, adds and leaves rows."""
    publish(
        database,
        [prediction(f"p{n}", SHIRT, 0.5, status="review") for n in range(10)],
        products=[product(f"p{n}", "old") for n in range(10)],
    )
    return database


def statements_of_a_publish(database: ProductDatabase) -> int:
    count = itertools.count(1)
    last = 0

    @sa.event.listens_for(database.engine, "before_cursor_execute")
    def counted(*_arguments: object) -> None:
        nonlocal last
        last = next(count)

    publish(database, **a_night())
    return last


def at_statement(database: ProductDatabase, number: int, action: Callable[[sa.Connection], None]) -> None:
    """Do something just before the publish's n-th statement."""
    count = itertools.count(1)

    @sa.event.listens_for(database.engine, "before_cursor_execute")
    def strike(connection: sa.Connection, *_arguments: object) -> None:
        if next(count) == number:
            action(connection)


def test_a_driver_killed_at_any_statement_leaves_no_partial_run(new_url: Callable[[], str]) -> None:
    clean = prepare(open_database(new_url()))
    count = statements_of_a_publish(clean)
    assert count > 20
    database_url = new_url()
    before = dump(prepare(open_database(database_url)))
    for number in steps(1, count):

        def publish_and_die(number: int = number) -> None:
            database = open_database(database_url)
            at_statement(database, number, lambda _connection: processes.kill_itself())
            publish(database, **a_night())

        child = processes.start(publish_and_die)
        child.join()
        assert child.exitcode == -9
        assert dump(open_database(database_url)) == before, f"killed at statement {number}"
    publish(open_database(database_url), **a_night())
    assert dump(open_database(database_url)) == dump(clean)


def test_a_connection_lost_at_any_statement_leaves_no_partial_run(new_url: Callable[[], str]) -> None:
    clean = prepare(open_database(new_url()))
    count = statements_of_a_publish(clean)
    database_url = new_url()
    before = dump(prepare(open_database(database_url)))
    for number in range(3, count, 4):
        database = open_database(database_url)
        at_statement(database, number, cut)
        with pytest.raises(DatabaseError, match=r"SHELFWISE_DATABASE_URL|run the same command again") as caught:
            publish(database, **a_night())
        assert "\n" not in str(caught.value)
        assert dump(open_database(database_url)) == before, f"cut at statement {number}"
    publish(open_database(database_url), **a_night())
    assert dump(open_database(database_url)) == dump(clean)


def cut(connection: sa.Connection) -> None:
    """Lose the server; an SQLite file has none, so there the statement is broken off."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        driver.set_progress_handler(lambda: 1, 1)
        return
    killer = open_database(connection.engine.url.render_as_string(hide_password=False)).engine
    with killer.connect() as other:
        other.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": driver.info.backend_pid})


def test_readers_see_the_night_before_until_the_commit_and_never_wait(database: ProductDatabase, url: str) -> None:
    before = dump(prepare(database))
    reader = open_database(url, busy_timeout_seconds=0.0)
    seen = []

    @sa.event.listens_for(database.engine, "before_cursor_execute")
    def read(*_arguments: object) -> None:
        started = time.monotonic()
        seen.append(dump(reader) == before)
        assert time.monotonic() - started < 30

    publish(database, **a_night())
    assert len(seen) > 20
    assert all(seen)
    assert dump(reader) != before

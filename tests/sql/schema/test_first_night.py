"""The embedded database is made by the first command that needs it, whatever became of those before or beside it."""

from __future__ import annotations

import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import Pool

from jobs.cli.options import database_of
from jobs.releases.lookup import current_aliases, release_directory
from jobs.settings import Settings
from models.release import SHIPPED
from sql.errors import DatabaseError
from sql.store import open_database
from tests.extent import steps
from tests.sql.processes import kill_itself, start, together

SIGKILLED = -signal.SIGKILL


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home where nothing is yet."""
    monkeypatch.delenv("SHELFWISE_RELEASE_DIR", raising=False)
    return Settings(home=tmp_path / "home", database_url="")


def first_command(settings: Settings) -> Callable[[], object]:
    """Return what every command does first that asks the database."""
    return lambda: (release_directory(settings, None), database_of(settings))


def at_statement(number: int, then: Callable[[], object], work: Callable[[], object]) -> None:
    """Do something of this process's own before SQLite runs a statement, counted from 0 over all connections."""
    seen = 0

    def trace(_statement: str) -> None:
        nonlocal seen
        if seen == number:
            then()
        seen += 1

    sa.event.listen(Pool, "connect", lambda connection, _record: connection.set_trace_callback(trace))
    work()


def statements(settings: Settings, tmp_path: Path) -> int:
    """Return how many statements make a database."""
    count = tmp_path / "count"
    count.touch()

    def counted() -> None:
        with count.open("a") as file:

            def trace(_statement: str) -> None:
                file.write(".")

            sa.event.listen(Pool, "connect", lambda connection, _record: connection.set_trace_callback(trace))
            first_command(settings)()

    child = start(counted)
    child.join()
    assert child.exitcode == 0
    return count.stat().st_size


def test_a_first_night_that_is_killed_at_any_step_does_not_block_the_home(settings: Settings, tmp_path: Path) -> None:
    count = statements(settings.model_copy(update={"home": tmp_path / "counted"}), tmp_path)
    assert count > 50
    for step in steps(0, count - 1):
        home = settings.model_copy(update={"home": tmp_path / str(step)})
        child = start(lambda step=step, home=home: at_statement(step, kill_itself, first_command(home)))  # type: ignore[misc]
        child.join()
        assert child.exitcode == SIGKILLED, step
        assert release_directory(home, None) == SHIPPED
        database_of(home).check()


@pytest.mark.parametrize("round_", range(5))
def test_first_nights_at_once_all_succeed(settings: Settings, round_: int) -> None:
    settings.embedded_database.parent.mkdir()
    assert together(*[first_command(settings)] * 6) == [0] * 6
    database_of(settings).check()


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_first_connection_waits_for_another_one_that_writes(settings: Settings, lock: str) -> None:
    """SQLite itself does not wait where it changes the journal's mode."""
    settings.embedded_database.parent.mkdir()
    with closing(sqlite3.connect(settings.embedded_database, isolation_level=None, check_same_thread=False)) as other:
        other.execute(lock)
        end = threading.Timer(0.5, other.rollback)
        end.start()
        database_of(settings).check()
        end.join()
    with pytest.raises(DatabaseError, match="stayed locked by another writer"):
        locked_out(settings, lock)


def locked_out(settings: Settings, lock: str) -> None:
    """Open a database that is new and stays locked."""
    path = settings.embedded_database.with_name("other.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(lock)
        open_database(f"sqlite:///{path}", busy_timeout_seconds=0.2).make()


def test_a_second_night_waits_for_the_first_and_makes_what_that_one_could_not(settings: Settings) -> None:
    def slow_and_killed() -> None:
        time.sleep(1)
        kill_itself()

    first = start(lambda: at_statement(40, slow_and_killed, first_command(settings)))
    while not settings.embedded_database.exists():
        time.sleep(0.01)
    others = together(*[first_command(settings)] * 2)
    first.join()
    assert (first.exitcode, others) == (SIGKILLED, [0, 0])
    database_of(settings).check()


@pytest.mark.parametrize("limit_bytes", [20_000, 40_000])
def test_a_full_disk_is_a_sentence_and_the_next_night_succeeds(
    settings: Settings, tmp_path: Path, limit_bytes: int
) -> None:
    """The smaller limit stops SQLite before it has begun, the larger one within the tables."""
    sentence = tmp_path / "sentence"

    def on_a_full_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
        try:
            database_of(settings)
        except DatabaseError as error:
            sentence.write_text(str(error), encoding="utf-8")

    start(on_a_full_disk).join()
    assert "no space left" in sentence.read_text(encoding="utf-8")
    assert settings.embedded_database.exists()
    database_of(settings).check()


@pytest.mark.parametrize("content", [b"", "wal"])
def test_a_file_without_tables_is_new(settings: Settings, content: bytes | str) -> None:
    path = settings.embedded_database
    path.parent.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
    assert current_aliases(settings) == {}
    with pytest.raises(DatabaseError, match="is not migrated"):
        open_database(settings.url).check()
    database_of(settings).check()


def test_a_database_with_tables_is_left_to_db_upgrade(settings: Settings) -> None:
    database = database_of(settings)
    with database.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM shelfwise_version"))
    tables = sa.inspect(database.engine).get_table_names()
    with pytest.raises(DatabaseError, match="is not migrated: run `shelfwise db upgrade`"):
        database_of(settings)
    assert sa.inspect(database.engine).get_table_names() == tables


def test_somebody_else_s_database_is_left_alone(settings: Settings) -> None:
    settings.embedded_database.parent.mkdir()
    with closing(sqlite3.connect(settings.embedded_database)) as connection:
        connection.execute("CREATE TABLE mine (a INTEGER)")
    with pytest.raises(DatabaseError, match="is not migrated"):
        database_of(settings)
    with closing(sqlite3.connect(settings.embedded_database)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]


def test_a_database_that_was_named_is_never_made_by_itself(tmp_path: Path) -> None:
    named = Settings(home=tmp_path / "home", database_url=f"sqlite:///{tmp_path}/shop.db")
    with pytest.raises(DatabaseError, match="does not exist yet: run `shelfwise db upgrade`"):
        database_of(named)
    (tmp_path / "shop.db").touch()
    with pytest.raises(DatabaseError, match="is not migrated: run `shelfwise db upgrade`"):
        database_of(named)

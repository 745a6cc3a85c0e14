"""An SQLite database that cannot be migrated is kept whole under a new name, whatever happens meanwhile."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobs.cli.options import database_of
from jobs.releases.lookup import release_directory
from jobs.settings import Settings
from sql.errors import DatabaseError
from sql.overrides import Override, set_overrides
from sql.store import ProductDatabase, open_database
from tests.sql.processes import kill_itself, start, together
from tests.sql.runs import BOOT, SHIRT, dump, of_another_version, prediction, publish


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home whose database an earlier development version made: with a published run and a decision."""
    monkeypatch.delenv("SHELFWISE_RELEASE_DIR", raising=False)
    settings = Settings(home=tmp_path / "home", database_url="")
    database = database_of(settings)
    publish(database, [prediction("p", SHIRT)])
    set_overrides(database, [Override("p", BOOT)], decided_by="maria")
    of_another_version(database)
    return settings


def kept(settings: Settings) -> list[Path]:
    return sorted(settings.embedded_database.parent.glob("*set-aside*"))


def rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    return dump(open_database(f"sqlite:///{path}"))


def test_every_command_names_the_remedy(settings: Settings) -> None:
    for command in (lambda: database_of(settings), lambda: release_directory(settings, None)):
        with pytest.raises(DatabaseError, match="`shelfwise db upgrade --set-aside`"):
            command()


def test_the_old_database_is_kept_with_its_rows_and_a_new_one_is_made(settings: Settings) -> None:
    before = rows(settings.embedded_database)
    copy = open_database(settings.url).replace()
    assert kept(settings) == [copy]
    assert copy is not None
    assert rows(copy) == before
    new = database_of(settings)
    new.check()
    assert not any(dump(new).values())
    publish(new, [prediction("p", SHIRT)])
    assert rows(copy) == before


def test_rows_that_are_in_the_write_ahead_log_alone_are_kept(settings: Settings) -> None:
    path = settings.embedded_database
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA wal_autocheckpoint = 0")
        other.execute("UPDATE overrides SET why = 'it has laces'")
        assert Path(f"{path}-wal").stat().st_size > 0
        copy = open_database(settings.url).replace()
        assert copy is not None
        assert rows(copy)["overrides"][0][5] == "it has laces"
        assert other.execute("SELECT count(*) FROM overrides").fetchone() == (0,), "an open connection sees the new one"


def test_a_database_of_this_version_is_not_set_aside(settings: Settings) -> None:
    database = open_database(settings.url)
    database.replace()
    publish(database, [prediction("p", SHIRT)])
    before = dump(database)
    assert database.replace() is None
    assert dump(database) == before
    assert len(kept(settings)) == 1


def test_of_two_simultaneous_calls_one_sets_the_database_aside(settings: Settings) -> None:
    assert together(*[lambda: open_database(settings.url).replace()] * 4) == [0] * 4
    assert len(kept(settings)) == 1
    database_of(settings).check()


def test_two_copies_in_one_second_have_different_names(settings: Settings) -> None:
    for _ in range(3):
        database = open_database(settings.url)
        of_another_version(database)
        assert database.replace() is not None
    assert len(kept(settings)) == 3


def test_tables_and_views_of_somebody_else_are_kept_too(settings: Settings) -> None:
    with closing(sqlite3.connect(settings.embedded_database)) as connection, connection:
        connection.execute('CREATE TABLE "my ""table" (a INTEGER)')
        connection.execute('CREATE VIEW mine AS SELECT a FROM "my ""table"')
        connection.execute('INSERT INTO "my ""table" VALUES (7)')
    copy = open_database(settings.url).replace()
    assert copy is not None
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT a FROM mine").fetchall() == [(7,)]
    assert "mine" not in sa.inspect(database_of(settings).engine).get_view_names()


def traced(trace: Callable[[], None], settings: Settings) -> None:
    """Replace the database, and call `trace` before each statement."""
    database = open_database(settings.url)
    sa.event.listen(
        database.engine, "connect", lambda connection, _record: connection.set_trace_callback(lambda _sql: trace())
    )
    database.replace()


def test_a_process_that_is_killed_loses_nothing(settings: Settings) -> None:
    before = rows(settings.embedded_database)
    seen = 0

    def killed_at(number: int) -> Callable[[], None]:
        def trace() -> None:
            nonlocal seen
            seen += 1
            if seen == number:
                kill_itself()

        return trace

    for number in (1, 3, 5, 8, 12, 20, 40, 60):
        child = start(lambda number=number: traced(killed_at(number), settings))  # type: ignore[misc]
        child.join()
        assert child.exitcode == -signal.SIGKILL, number
        assert rows(settings.embedded_database) == before
    for path in kept(settings):
        assert rows(path) == before
    assert open_database(settings.url).replace() is not None
    database_of(settings).check()
    assert not list(settings.embedded_database.parent.glob("*.part*"))


def test_a_copy_that_cannot_be_written_leaves_the_database(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows(settings.embedded_database)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copymode", full)
    with pytest.raises(OSError, match="No space left"):
        open_database(settings.url).replace()
    assert (kept(settings), rows(settings.embedded_database)) == ([], before)


def test_postgresql_keeps_its_database(database: ProductDatabase) -> None:
    if database.engine.dialect.name == "sqlite":
        return
    publish(database, [prediction("p", SHIRT)])
    of_another_version(database)
    before = dump(database)
    with pytest.raises(DatabaseError, match="create a new, empty database, set SHELFWISE_DATABASE_URL"):
        database.replace()
    assert dump(database) == before

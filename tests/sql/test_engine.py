"""URLs that cannot be used are answered in one sentence, and a password is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from sql.engine import reading
from sql.errors import DatabaseError
from sql.store import open_database
from tests.sql.servers import Server

SECRET = "hunter2-secret"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shelfwise.db",
        "mysql://user:hunter2-secret@host/shop",
        "postgresql://user:hunter2-secret@host:port/shop",
        "postgresql://user:x@hunter2-secret@host/shop",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_a_malformed_url(url: str) -> None:
    with pytest.raises(DatabaseError, match=r"expected .*sqlite:////data/shelfwise\.db") as caught:
        open_database(url)
    assert SECRET not in str(caught.value)


def test_a_server_that_is_not_there() -> None:
    database = open_database(f"postgresql://user:{SECRET}@127.0.0.1:1/shop")
    with pytest.raises(DatabaseError, match=r"cannot be reached .*check SHELFWISE_DATABASE_URL") as caught:
        database.check()
    assert SECRET not in str(caught.value)
    assert SECRET not in str(database)


def test_a_file_that_is_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be read as one" * 100)
    with pytest.raises(DatabaseError, match="is not an intact SQLite database"):
        open_database(f"sqlite:///{path}").check()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseError, match=r"cannot be made"):
        open_database(f"sqlite:///{tmp_path}/file/shelfwise.db").upgrade()


def test_an_older_postgresql_is_refused_in_one_sentence(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sql.engine.OLDEST_POSTGRESQL", 99)
    database = open_database(server.database_url("postgres"))
    for command in (database.upgrade, database.check):
        with pytest.raises(DatabaseError, match=r"is on PostgreSQL \d+, expected 99 or later: use a newer server\.$"):
            command()


def test_an_older_sqlite_is_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sql.engine.OLDEST_SQLITE", (99, 0, 0))
    with pytest.raises(DatabaseError, match=r"Python's SQLite is 3\.\d+\.\d+, expected 99\.0 or later: use a newer"):
        open_database(f"sqlite:///{tmp_path}/shelfwise.db")


def test_the_transaction_of_a_lost_driver_is_rolled_back(server: Server) -> None:
    with open_database(server.database_url("postgres")).engine.connect() as connection:
        assert connection.execute(sa.text("SHOW idle_in_transaction_session_timeout")).scalar() == "30min"
        assert connection.execute(sa.text("SHOW timezone")).scalar() == "UTC"


def test_session_settings_in_the_url_are_kept(server: Server) -> None:
    url = server.url.set(drivername="postgresql", database="postgres")
    given = {"options": "-c idle_in_transaction_session_timeout=5min", "application_name": "night"}
    database = open_database(url.update_query_dict(given).render_as_string(hide_password=False))
    with database.engine.connect() as connection:
        assert connection.execute(sa.text("SHOW idle_in_transaction_session_timeout")).scalar() == "5min"
        assert connection.execute(sa.text("SHOW application_name")).scalar() == "night"


def test_a_kept_connection_is_used_again_until_the_server_ends_it(server: Server) -> None:
    database = open_database(server.database_url("postgres"), keep_connections=True)

    def process() -> int:
        with reading(database.engine) as connection:
            return int(connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())

    kept = process()
    assert process() == kept
    with open_database(server.database_url("postgres")).engine.connect() as connection:
        connection.execute(sa.text("SELECT pg_terminate_backend(:kept)"), {"kept": kept})
    assert process() != kept
    database.engine.dispose()

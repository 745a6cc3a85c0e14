"""URLs that cannot be used are answered in one sentence, and a password is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from sql.errors import DatabaseError
from sql.store import open_database

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

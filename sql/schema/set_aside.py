"""Keep an SQLite database that cannot be migrated: copy it to a file beside it, then remove its tables.

The file itself is not renamed. Another process may have it open, and a renamed file with a new one in its place would
mix the pages of one with the write-ahead log of the other.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.engine import Connection


def copy(connection: Connection) -> Path:
    """Set a database aside: copy all of it, its write-ahead log included, to a new file in the same directory.

    Args:
        connection: Holds SQLite's write lock and has written nothing yet.

    Returns:
        The copy: `shelfwise.db` becomes `shelfwise-set-aside-20261101T023000Z.db`. It needs no write-ahead log.

    Raises:
        OSError: The copy cannot be written.
    """
    database = _main_file(connection)
    scratch = database.with_name(f"{database.name}-set-aside.part")
    _remove(scratch)
    try:
        # The write lock keeps other writers out, and a second connection may still read.
        with (
            closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(scratch)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
        shutil.copymode(database, scratch)
        kept = _free_name(database)
        scratch.rename(kept)
    finally:
        _remove(scratch)
    _sync_directory(kept.parent)
    return kept


def drop_everything(connection: Connection) -> None:
    """Drop all views and tables of a database that was set aside, in the transaction of `connection`."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    for kind in ("view", "table"):
        names = connection.exec_driver_sql(
            "SELECT name FROM sqlite_master WHERE type = ? AND substr(name, 1, 7) <> 'sqlite_'", (kind,)
        )
        for name in names.scalars().all():
            connection.exec_driver_sql(f"DROP {kind} IF EXISTS {quote(name)}")


def _main_file(connection: Connection) -> Path:
    databases = connection.exec_driver_sql("PRAGMA database_list").all()
    return Path(next(file for _, name, file in databases if name == "main"))


def _free_name(database: Path) -> Path:
    moment = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    names = (f"{database.stem}-set-aside-{moment}{number}{database.suffix}" for number in ("", *map(str, range(1, 99))))
    return next(path for name in names if not (path := database.with_name(name)).exists())


def _remove(scratch: Path) -> None:
    """Remove a copy that was not finished, and the journal that its writer may have left."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        scratch.with_name(f"{scratch.name}{suffix}").unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    """Make the copy's name durable before the old tables are dropped."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

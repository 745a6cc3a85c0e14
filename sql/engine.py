"""Connections: from a URL to an engine, transactions on it, and its failures in one sentence each."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from sql.errors import DatabaseError
from sql.explanations import describe, explain

BUSY_TIMEOUT_SECONDS = 60.0
"""How long SQLite waits for another writer; PostgreSQL's writers queue on a lock without a limit."""

_PAUSE_SECONDS = 0.02
"""Between two tries of what SQLite does not wait for."""

OLDEST_SQLITE = (3, 39, 0)
"""`IS DISTINCT FROM`, FULL JOIN and the `->>` operator, so that both engines run the same statements."""

OLDEST_POSTGRESQL = 15
"""Has MERGE, which finds the rows that would not change without locking them."""

EXAMPLES = "sqlite:////data/shelfwise.db or postgresql://user@host:5432/database"

_POSTGRESQL_CONNECTION = {
    "connect_timeout": 10,
    "application_name": "shelfwise",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 6,
}
# A driver whose machine is gone, or that hangs, loses its transaction and with it its locks.
_POSTGRESQL_SESSION = (
    "-c timezone=UTC -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=6 "
    "-c idle_in_transaction_session_timeout=30min"
)

_WRITER_LOCK = 0x5E1F_015E
"""PostgreSQL advisory lock of everything that writes answers; writers queue, readers never wait."""


def make_engine(url: str, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> Engine:
    """Build an engine without connecting.

    Args:
        url: `sqlite:///path` or `postgresql://...`.
        busy_timeout_seconds: How long SQLite waits for another writer.

    Returns:
        An engine that opens one connection per use.

    Raises:
        DatabaseError: The URL cannot be read or names another engine; the message shows the two forms that work.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed, busy_timeout_seconds)
    engine = _postgresql_engine(parsed)

    @sa.event.listens_for(engine, "connect")
    def refuse_older(connection: psycopg.Connection[Any], _record: object) -> None:
        major = connection.info.server_version // 10_000
        if major < OLDEST_POSTGRESQL:
            raise DatabaseError(
                f"{describe(parsed)} is on PostgreSQL {major}, expected {OLDEST_POSTGRESQL} or later: use a newer "
                "server."
            )

    return engine


def make_reading_engine(url: str) -> Engine:
    """Build an engine for a database of somebody else, of any version: every connection refuses to write.

    Raises:
        DatabaseError: The URL cannot be read or names another engine.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "postgresql":
        return _postgresql_engine(parsed).execution_options(postgresql_readonly=True)
    place = f"{Path(str(parsed.database)).absolute().as_uri()}?mode=ro"
    return sa.create_engine(
        parsed, poolclass=NullPool, hide_parameters=True, creator=lambda: sqlite3.connect(place, uri=True)
    )


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open one consistent view of the database that is rolled back at the end."""
    with explained(engine), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


@contextmanager
def writing(engine: Engine, *, exclusive: bool = True) -> Iterator[Connection]:
    """Open a transaction that commits at the end.

    Args:
        engine: Of a migrated database.
        exclusive: Hold the writers' lock from the first statement; SQLite always does.
    """
    with explained(engine), engine.connect() as connection:
        connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        with connection.begin():
            if exclusive:
                lock_writers(connection)
            yield connection


def lock_writers(connection: Connection) -> None:
    """Queue behind other writers until the end of the transaction (SQLite: BEGIN IMMEDIATE has done it)."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER_LOCK})


def tune(connection: Connection) -> None:
    """Give the one transaction that moves millions of rows the memory for it, on PostgreSQL."""
    # Writers queue, so only one at a time takes all of this. Samples of temporary tables need not be large.
    for setting in ("work_mem = '256MB'", "temp_buffers = '256MB'", "default_statistics_target = 10", "jit = off"):
        connection.exec_driver_sql(f"SET LOCAL {setting}")
    # A driver that is killed loses its locks within a second, not at the end of the statement that it waited for.
    # Servers on systems that cannot tell, such as Windows, refuse the setting and do without.
    connection.exec_driver_sql("""
        DO $$ BEGIN
            PERFORM set_config('client_connection_check_interval', '1s', true);
        EXCEPTION WHEN invalid_parameter_value THEN
            NULL;
        END $$
    """)


@contextmanager
def explained(engine: Engine) -> Iterator[None]:
    """Turn a driver's failure into a DatabaseError of one sentence; our own errors pass as they are."""
    try:
        yield
    except DBAPIError as error:
        raise DatabaseError(explain(engine.url, error.orig or error)) from error
    except (psycopg.Error, sqlite3.Error) as error:
        raise DatabaseError(explain(engine.url, error)) from error


def _parse(url: str) -> URL:
    try:
        parsed = sa.make_url(url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url)
        backend, database, host = (
            parsed.get_backend_name(),
            parsed.database,
            parsed.host or "",
        )
    except (ArgumentError, SQLAlchemyError, ValueError):
        backend, database, host = "", None, ""
    if backend not in ("sqlite", "postgresql") or "@" in host:
        # The text of a URL that cannot be taken apart may hold a password anywhere, so it is not shown.
        raise DatabaseError(
            f"The database URL cannot be used: expected {EXAMPLES}, with special characters of a password "
            "percent-encoded; set SHELFWISE_DATABASE_URL to one of these forms."
        ) from None
    if backend == "sqlite" and database in (None, "", ":memory:"):
        raise DatabaseError(
            "The database URL names an SQLite database in memory, which is gone when the command ends: "
            "expected a file as in sqlite:////data/shelfwise.db."
        )
    return parsed


def _postgresql_engine(url: URL) -> Engine:
    # What the URL itself says comes last, so it holds.
    given = url.query.get("options", "")
    options = " ".join([_POSTGRESQL_SESSION, *([given] if isinstance(given, str) else given)]).strip()
    rest = url.difference_update_query(["options"])
    return sa.create_engine(
        rest.set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={
            **{name: value for name, value in _POSTGRESQL_CONNECTION.items() if name not in url.query},
            "options": options,
        },
    )


def _sqlite_engine(url: URL, busy_timeout_seconds: float) -> Engine:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise DatabaseError(
            f"Python's SQLite is {sqlite3.sqlite_version}, expected "
            f"{OLDEST_SQLITE[0]}.{OLDEST_SQLITE[1]} or later: use a newer Python build or PostgreSQL."
        )
    engine = sa.create_engine(
        url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"timeout": busy_timeout_seconds},
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # The driver's own BEGIN comes too late for DDL and reads; `begin` below sends it.
        connection.isolation_level = None
        _keep_a_wal(connection, busy_timeout_seconds)
        connection.execute("PRAGMA foreign_keys = ON")
        # 64 MiB each for the file and for temporary tables; the default 2 MiB makes large merges crawl.
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute("PRAGMA temp.cache_size = -65536")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))

    return engine


def _keep_a_wal(connection: sqlite3.Connection, busy_timeout_seconds: float) -> None:
    """Let readers and the writer not wait for each other: a property of the file, which its first connection sets.

    SQLite itself does not wait here for another first connection that does the same at this moment.
    """
    deadline = time.monotonic() + busy_timeout_seconds
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_SECONDS)


def make_parent_directory(url: URL) -> None:
    """Make the directory of an SQLite file, which SQLite itself does not."""
    if url.get_backend_name() == "sqlite" and not str(url.database).startswith("file:"):
        try:
            Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(
                f"The directory of {describe(url)} cannot be made ({error.strerror}): set SHELFWISE_DATABASE_URL to a "
                "place that you may write to."
            ) from error

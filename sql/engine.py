"""Build engines from database URLs, and open read and write transactions."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from sql.errors import DatabaseError
from sql.explanations import database_errors_explained, describe

BUSY_TIMEOUT_SECONDS = 60.0
"""Time that SQLite waits for another writer; PostgreSQL's writers wait for a lock without a limit."""

_PAUSE_SECONDS = 0.02
"""Pause between two tries of a statement for which SQLite itself does not wait."""

OLDEST_SQLITE = (3, 39, 0)
"""First version with `IS DISTINCT FROM`, FULL JOIN and the `->>` operator, which the statements need."""

OLDEST_POSTGRESQL = 15
"""First version with MERGE, which does not lock the rows that would not change."""

EXAMPLES = "sqlite:////data/shelfwise.db or postgresql://user@host:5432/database"

_POSTGRESQL_CONNECTION = {
    "connect_timeout": 10,
    "application_name": "shelfwise",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 6,
}
# The server ends the transaction of a driver that hangs or whose machine is lost, which releases its locks.
_POSTGRESQL_SESSION = (
    "-c timezone=UTC -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=6 "
    "-c idle_in_transaction_session_timeout=30min"
)

_NEW: dict[str, Any] = {"poolclass": NullPool}
_KEPT: dict[str, Any] = {"poolclass": QueuePool, "pool_size": 4, "max_overflow": -1, "pool_pre_ping": True}

_WRITER_LOCK = 0x5E1F_015E
"""Key of the PostgreSQL advisory lock that every writer of answers takes; writers queue, readers never wait."""


def make_engine(
    url: str, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS, keep_connections: bool = False
) -> Engine:
    """Build an engine from the URL of a product database, without connecting.

    Args:
        url: `sqlite:///path` or `postgresql://...`.
        busy_timeout_seconds: Time that SQLite waits for another writer.
        keep_connections: Whether some connections to a server stay open, for a process that answers many small
            requests: a new one has nothing in memory, which takes it up to 60 ms longer in a large database. An SQLite
            file is always opened anew, so that it can be restored, and its log is no longer than needed.

    Returns:
        An engine that opens a new connection for each use, unless some are kept.

    Raises:
        DatabaseError: The URL is not valid or is for another database; the message shows the two valid forms.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed, busy_timeout_seconds)
    engine = _postgresql_engine(parsed, _KEPT if keep_connections else _NEW)

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
    """Build a read-only engine for a foreign database of any version.

    Raises:
        DatabaseError: The URL is not valid or is for another kind of database.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "postgresql":
        return _postgresql_engine(parsed, _NEW).execution_options(postgresql_readonly=True)
    place = f"{Path(str(parsed.database)).absolute().as_uri()}?mode=ro"
    return sa.create_engine(
        parsed, poolclass=NullPool, hide_parameters=True, creator=lambda: sqlite3.connect(place, uri=True)
    )


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a read transaction with one consistent snapshot; it is rolled back at the end."""
    with database_errors_explained(engine), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


@contextmanager
def writing(engine: Engine, *, exclusive: bool = True) -> Iterator[Connection]:
    """Open a write transaction that takes the writers' lock and commits at the end.

    Args:
        engine: Engine of a migrated database.
        exclusive: Take the writers' lock before the first statement; SQLite always does.
    """
    with database_errors_explained(engine), engine.connect() as connection:
        connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        with connection.begin():
            if exclusive:
                lock_writers(connection)
            yield connection


def lock_writers(connection: Connection) -> None:
    """Take the writers' lock until the end of the transaction; on SQLite, BEGIN IMMEDIATE has already taken it."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER_LOCK})


SMALL_SAMPLES = "default_statistics_target = 10"
"""Setting of PostgreSQL for the statistics of temporary tables."""


def tune(connection: Connection) -> None:
    """Set PostgreSQL's memory and planner settings for one transaction that writes millions of rows."""
    # Only one writer at a time uses this memory. Statistics of temporary tables need only small samples. By default a
    # random page costs what it does on a turning disk, so that a night of few images reads whole tables several times.
    for setting in (
        "work_mem = '256MB'",
        "temp_buffers = '256MB'",
        SMALL_SAMPLES,
        "jit = off",
        "random_page_cost = 1.1",
    ):
        connection.exec_driver_sql(f"SET LOCAL {setting}")
    # The server notices within a second that a driver was killed, not only at the end of its statement.
    # Servers on systems without this check, such as Windows, refuse the setting; then it is left out.
    connection.exec_driver_sql("""
        DO $$ BEGIN
            PERFORM set_config('client_connection_check_interval', '1s', true);
        EXCEPTION WHEN invalid_parameter_value THEN
            NULL;
        END $$
    """)


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
        # A URL that cannot be parsed may contain a password anywhere, so it is not shown.
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


def _postgresql_engine(url: URL, pool: Mapping[str, Any]) -> Engine:
    # Options of the URL come last, so they override these.
    given = url.query.get("options", "")
    options = " ".join([_POSTGRESQL_SESSION, *([given] if isinstance(given, str) else given)]).strip()
    rest = url.difference_update_query(["options"])
    return sa.create_engine(
        rest.set(drivername="postgresql+psycopg"),
        **pool,
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
        # The driver itself sends BEGIN too late for DDL and reads, so `begin` below sends it.
        connection.isolation_level = None
        _set_wal_mode(connection, busy_timeout_seconds)
        connection.execute("PRAGMA foreign_keys = ON")
        # 64 MiB each for the file and for temporary tables; with the default of 2 MiB large merges are very slow.
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute("PRAGMA temp.cache_size = -65536")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))

    return engine


def _set_wal_mode(connection: sqlite3.Connection, busy_timeout_seconds: float) -> None:
    """Set the write-ahead log mode, in which readers and the writer do not wait for each other.

    It is a property of the file, which the first connection sets. SQLite itself does not wait if another connection
    sets it at the same time, so this tries again.
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
    """Create the directory of an SQLite file; SQLite itself does not create it."""
    if url.get_backend_name() == "sqlite" and not str(url.database).startswith("file:"):
        try:
            Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(
                f"The directory of {describe(url)} cannot be made ({error.strerror}): set SHELFWISE_DATABASE_URL to a "
                "place that you may write to."
            ) from error

"""Create this program's tables and views in a database, and check that a database has them.

Alembic revisions create and change the tables. The views and PostgreSQL's comments are code: each upgrade makes them
anew, in the same transaction. The identifier of the last revision is a hash of the definitions and of what all the
revisions run, so a database of an edited schema has an identifier that this program does not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.schema import SetColumnComment, SetTableComment

from sql.engine import lock_writers, make_parent_directory
from sql.errors import DatabaseError
from sql.explanations import database_errors_explained, describe
from sql.schema import set_aside
from sql.schema.tables import metadata
from sql.schema.views import view_comment, view_definitions

VERSION_TABLE = "shelfwise_version"
MIGRATIONS = Path(__file__).parents[1] / "migrations"


def upgrade(engine: Engine) -> None:
    """Migrate a database: create this program's tables and views; existing tables and rows stay.

    Raises:
        DatabaseError: The database cannot be written, or another version of shelfwise made it.
    """
    make_parent_directory(engine.url)
    with _schema_change(engine) as connection:
        _upgrade(engine, connection)


def upgrade_or_set_aside(engine: Engine) -> Path | None:
    """Migrate a database; one of SQLite that another version made is set aside, and a new one takes its place.

    The copy, the removal of the old tables and the new tables happen under one writers' lock. The removal and the new
    tables are one transaction, so a process that is killed leaves the old database as it was. A database of this
    program is upgraded and not copied.

    Returns:
        The copy, in the same directory; None if there was nothing to set aside.

    Raises:
        DatabaseError: The database cannot be read or written, or another version made it on PostgreSQL.
        OSError: The copy cannot be written.
    """
    make_parent_directory(engine.url)
    with _schema_change(engine) as connection:
        copy = None
        if engine.dialect.name == "sqlite" and not _is_known(_current(connection)):
            copy = set_aside.copy(connection)
            set_aside.drop_everything(connection)
        _upgrade(engine, connection)
    return copy


def make(engine: Engine) -> None:
    """Create the tables and views in a new SQLite database; a database with any table is left as it is.

    Of several processes that call this at the same time one creates them, and the others wait.

    Raises:
        DatabaseError: The database cannot be read or written.
    """
    if not is_new(engine):
        return
    make_parent_directory(engine.url)
    with _schema_change(engine) as connection:
        if not _tables(connection):
            _upgrade(engine, connection)


def is_new(engine: Engine) -> bool:
    """Return whether an SQLite file does not exist or has no table, because its maker was killed or still works.

    Raises:
        DatabaseError: The database cannot be read.
    """
    if not _sqlite_file_exists(engine):
        return True
    with database_errors_explained(engine), engine.connect() as connection:
        return not _tables(connection)


def check(engine: Engine) -> None:
    """Check that a database is migrated to this program's schema.

    Raises:
        DatabaseError: It is not migrated, or another version of shelfwise made it, or it cannot be reached; the message
            has the command to run.
    """
    if engine.url.get_backend_name() == "sqlite" and not _sqlite_file_exists(engine):
        raise DatabaseError(f"{describe(engine.url)} does not exist yet: run `shelfwise db upgrade`.")
    with database_errors_explained(engine), engine.connect() as connection:
        _refuse_other_version(engine, connection)
        if _current(connection) != head():
            raise DatabaseError(f"{describe(engine.url)} is not migrated: run `shelfwise db upgrade`.")


def head() -> str:
    """Return the Alembic revision of this program's schema."""
    return str(_scripts().get_current_head())


def _tables(connection: Connection) -> list[str]:
    return sa.inspect(connection).get_table_names()


def _upgrade(engine: Engine, connection: Connection) -> None:
    _refuse_other_version(engine, connection)
    _drop_views(connection)
    command.upgrade(_config(connection), "head")
    for name, definition in view_definitions().items():
        connection.exec_driver_sql(f"CREATE VIEW {name} AS\n{definition}")
    _set_comments(connection)


@contextmanager
def _schema_change(engine: Engine) -> Iterator[Connection]:
    with database_errors_explained(engine), engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # A table that is rebuilt or dropped would delete the rows that refer to it. SQLite ignores this pragma
            # inside a transaction.
            connection.connection.dbapi_connection.execute("PRAGMA foreign_keys = OFF")  # type: ignore[union-attr]
        with connection.execution_options(sqlite_begin="BEGIN IMMEDIATE").begin():
            lock_writers(connection)
            yield connection
            if engine.dialect.name == "sqlite":
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
                if broken:
                    raise DatabaseError(
                        f"{describe(engine.url)} was left as it is: the change breaks {len(broken)} references, the "
                        f"first in table {broken[0][0]}; restore the rows it refers to."
                    )


def _set_comments(connection: Connection) -> None:
    if connection.dialect.name != "postgresql":
        return
    for table in metadata.sorted_tables:
        connection.execute(SetTableComment(table))
        for column in table.columns:
            connection.execute(SetColumnComment(column))
    for name, definition in view_definitions().items():
        comment = sa.literal(view_comment(definition)).compile(
            dialect=connection.dialect, compile_kwargs={"literal_binds": True}
        )
        connection.exec_driver_sql(f"COMMENT ON VIEW {name} IS {comment}")


def _drop_views(connection: Connection) -> None:
    existing = set(sa.inspect(connection).get_view_names())
    for name in reversed(view_definitions()):  # a view reads those before it
        if name in existing:
            connection.exec_driver_sql(f"DROP VIEW {name}")


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def _is_known(revision: str | None) -> bool:
    return revision is None or revision in {script.revision for script in _scripts().walk_revisions()}


def _refuse_other_version(engine: Engine, connection: Connection) -> None:
    current = _current(connection)
    if _is_known(current):
        return
    remedy = (
        "run `shelfwise db upgrade --set-aside`, which keeps it in a file with a new name and makes a new database"
        if engine.dialect.name == "sqlite"
        else "create a new, empty database, set SHELFWISE_DATABASE_URL to it and run `shelfwise db upgrade`"
    )
    raise DatabaseError(
        f"{describe(engine.url)} is at revision {current!r}, which this version of shelfwise does not know: if a newer "
        f"version made it, upgrade shelfwise; if an earlier development version made it, it cannot be migrated, so "
        f"{remedy}."
    )


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@lru_cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(MIGRATIONS))


def _sqlite_file_exists(engine: Engine) -> bool:
    name = str(engine.url.database)
    return name.startswith("file:") or Path(name).exists()

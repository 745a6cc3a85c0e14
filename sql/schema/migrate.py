"""Bring a database to this program's schema, say whether it is there, and take it back.

The tables move by Alembic revisions. The views and PostgreSQL's comments are code: they are made anew at each upgrade,
in the same transaction.
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
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.schema import SetColumnComment, SetTableComment

from sql.engine import explained, lock_writers, make_parent_directory
from sql.errors import DatabaseError
from sql.explanations import describe
from sql.schema.products import metadata

VERSION_TABLE = "shelfwise_version"
VIEWS = Path(__file__).parents[1] / "views"
_MIGRATIONS = Path(__file__).parents[1] / "migrations"


def upgrade(engine: Engine) -> None:
    """Make the tables and views of this program; what is there already stays.

    Raises:
        DatabaseError: The database cannot be written, or is of a newer program.
    """
    make_parent_directory(engine.url)
    with _schema_change(engine) as connection:
        _upgrade(engine, connection)


def make(engine: Engine) -> None:
    """Make the tables and views in a new SQLite database; one with any table is left as it is.

    Of several processes that make it at once one does, and the others wait for it.

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
    """Say whether an SQLite database is not there, or has no table at all, as its maker was killed or is at work.

    Raises:
        DatabaseError: The database cannot be read.
    """
    if not _sqlite_file_exists(engine):
        return True
    with explained(engine), engine.connect() as connection:
        return not _tables(connection)


def downgrade(engine: Engine, revision: str = "-1") -> None:
    """Take the tables back by one revision, or to a named one, or to `base`; drops what only the later one has.

    Raises:
        DatabaseError: The revision is unknown, or the database is not migrated or of a newer program.
    """
    with _schema_change(engine) as connection:
        _refuse_newer(engine, connection)
        if not _current(connection):
            raise DatabaseError(f"{describe(engine.url)} is not migrated: run `shelfwise db upgrade`.")
        _drop_views(connection)
        try:
            command.downgrade(_config(connection), revision)
        except (ResolutionError, CommandError) as error:
            known = ", ".join(script.revision for script in _scripts().walk_revisions())
            raise DatabaseError(f"There is no revision {revision!r}: expected -1, base or one of {known}.") from error


def check(engine: Engine) -> None:
    """Make sure that the database is at this program's schema.

    Raises:
        DatabaseError: It is not migrated, or of a newer program, or cannot be reached.
    """
    if engine.url.get_backend_name() == "sqlite" and not _sqlite_file_exists(engine):
        raise DatabaseError(f"{describe(engine.url)} does not exist yet: run `shelfwise db upgrade`.")
    with explained(engine), engine.connect() as connection:
        _refuse_newer(engine, connection)
        if _current(connection) != _scripts().get_current_head():
            raise DatabaseError(f"{describe(engine.url)} is not migrated: run `shelfwise db upgrade`.")


def view_definitions() -> dict[str, str]:
    """Return the SELECT of each view by its name, comments included."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(VIEWS.glob("*.sql"))}


def _tables(connection: Connection) -> list[str]:
    return sa.inspect(connection).get_table_names()


def _upgrade(engine: Engine, connection: Connection) -> None:
    _refuse_newer(engine, connection)
    _drop_views(connection)
    command.upgrade(_config(connection), "head")
    for name, definition in view_definitions().items():
        connection.exec_driver_sql(f"CREATE VIEW {name} AS\n{definition}")
    _set_comments(connection)


@contextmanager
def _schema_change(engine: Engine) -> Iterator[Connection]:
    with explained(engine), engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # Batch mode rebuilds tables, which would delete their children's rows; a pragma only works outside.
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


def view_comment(definition: str) -> str:
    """Return the purpose in a view's header comment."""
    return definition.splitlines()[0].removeprefix("-- Purpose:").strip()


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
    for name in reversed(view_definitions()):  # a view stands on those before it
        if name in existing:
            connection.exec_driver_sql(f"DROP VIEW {name}")


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def _refuse_newer(engine: Engine, connection: Connection) -> None:
    current = _current(connection)
    if current and current not in {script.revision for script in _scripts().walk_revisions()}:
        raise DatabaseError(
            f"{describe(engine.url)} is at revision {current}, which this program does not know: it was migrated by "
            "a newer shelfwise; upgrade shelfwise."
        )


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@lru_cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_MIGRATIONS))


def _sqlite_file_exists(engine: Engine) -> bool:
    name = str(engine.url.database)
    return name.startswith("file:") or Path(name).exists()

"""The last revision of the schema is a hash of its definitions, so that an edited schema is never taken for another."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from types import ModuleType

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from sql.schema import migrate
from sql.schema.tables import metadata


def dialects() -> list[Dialect]:
    """Return SQLite, and PostgreSQL before and from 18, for which the migration differs."""
    before, since = postgresql.dialect(), postgresql.dialect()  # type: ignore[no-untyped-call]
    before.server_version_info, since.server_version_info = (17, 0), (18, 0)
    return [sqlite.dialect(), before, since]


def constraint(line: str) -> str:
    """Return a constraint's line as its own sort key; all others keep their order before it."""
    return line if line.startswith("CONSTRAINT") else ""


def tables(definitions: sa.MetaData, dialect: Dialect) -> list[str]:
    """Return the lines of the tables' and indexes' DDL; a table's constraints have no order, so they are sorted."""
    statements: list[str] = []
    for table in definitions.sorted_tables:
        lines = str(sa.schema.CreateTable(table).compile(dialect=dialect)).splitlines()
        statements += sorted((line.strip(" \t,") for line in lines), key=constraint)
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements += [str(sa.schema.CreateIndex(index).compile(dialect=dialect)) for index in indexes]
    return statements


def operations(migration: ModuleType, dialect: Dialect) -> str:
    """Return the SQL that a migration runs."""
    text = io.StringIO()
    context = MigrationContext.configure(dialect=dialect, opts={"as_sql": True, "output_buffer": text})
    with Operations.context(context):
        migration.upgrade()
    return text.getvalue()


def digest(parts: Sequence[str]) -> str:
    """Return the first 12 characters of the SHA-256 of texts, without regard to blanks."""
    return hashlib.sha256(" ".join("\n".join(parts).split()).encode()).hexdigest()[:12]


def revision_of(definitions: sa.MetaData, migrations: Sequence[ModuleType]) -> str:
    """Return the hash of everything that makes the schema."""
    parts: list[str] = []
    for dialect in dialects():
        parts += [*tables(definitions, dialect), *(operations(migration, dialect) for migration in migrations)]
    return digest(parts)


def all_migrations() -> list[ModuleType]:
    """Return the migrations, the first one first."""
    return [script.module for script in ScriptDirectory(str(migrate.MIGRATIONS)).walk_revisions()][::-1]


def test_the_last_revision_is_the_hash_of_the_definitions() -> None:
    migrations = all_migrations()
    expected = revision_of(metadata, migrations)
    last = migrations[-1]
    assert last.revision == expected, f'write `revision = "{expected}"` into {last.__file__}'
    assert migrate.head() == expected


def test_an_older_revision_is_not_edited() -> None:
    """Databases have it, and what it made is not made again; a change of the schema is a revision of its own."""
    assert {
        migration.revision: digest([operations(migration, dialect) for dialect in dialects()])
        for migration in all_migrations()[:-1]
    } == {
        "ab9d5ce486b6": "11d53127465c",
        "0e782109a2cc": "a92f0f8f83d4",
        "bfd6dadd11db": "9b96c3ad8604",
        "42dda2a513b6": "5995d632d243",
        "49e100314d11": "3e22641c3dfe",
    }


def test_an_edited_column_is_another_revision() -> None:
    edited = sa.MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        table.to_metadata(edited)
    assert revision_of(edited, all_migrations()) == migrate.head()
    edited.tables["overrides"].c.why.nullable = False
    assert revision_of(edited, all_migrations()) != migrate.head()


def test_an_edited_operation_is_another_revision() -> None:
    *older, last = all_migrations()
    edited = ModuleType("edited")

    def upgrade() -> None:
        last.upgrade()
        last.op.execute("CREATE INDEX ix_runs_state ON runs (state)")

    edited.upgrade = upgrade  # type: ignore[attr-defined]
    assert revision_of(metadata, [*older, edited]) != revision_of(metadata, [*older, last]) == migrate.head()


def test_a_comment_does_not_change_the_revision() -> None:
    """Each upgrade sets the comments anew, so an edited comment needs no new database."""
    edited = sa.MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        table.to_metadata(edited)
    edited.tables["overrides"].c.why.comment = "Another text"
    assert revision_of(edited, all_migrations()) == migrate.head()

"""Load a run's rows into temporary tables of the publishing connection, batch by batch.

PostgreSQL loads them by COPY, SQLite by prepared statements. Other connections do not see temporary tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError
from sqlalchemy.types import TypeEngine

from sql.engine import SMALL_SAMPLES
from sql.errors import DatabaseError
from sql.records import IMAGE_CHANGE_COLUMNS, PREDICTION_COLUMNS, PRODUCT_COLUMNS, REJECTION_COLUMNS, Rows
from sql.schema.columns import key_text
from sql.schema.products import catalog_changes, category_predictions, products
from sql.schema.runs import rejected_images


def _types(table: sa.Table, columns: tuple[str, ...], **more: TypeEngine[Any]) -> dict[str, TypeEngine[Any]]:
    return {name: more[name] if name in more else table.c[name].type for name in columns}


STAGED = {
    "staged_predictions": _types(category_predictions, PREDICTION_COLUMNS, catalog_name=key_text()),
    "staged_rejections": _types(rejected_images, REJECTION_COLUMNS, ingest_no=sa.Integer(), catalog_name=key_text()),
    "staged_products": _types(products, PRODUCT_COLUMNS),
    "staged_image_changes": _types(catalog_changes, IMAGE_CHANGE_COLUMNS, outcome=sa.Text(), image_sha256=key_text()),
}
"""Maps the name of each temporary table to its columns in order, with their types."""

_SORTED = {"staged_predictions": "product_id, image_sha256"}
"""Maps the name of a temporary table to the order of its rows on PostgreSQL.

The keys of several tables are filled in this order, so that these rows are sorted more than once. PostgreSQL sorts rows
that are in order already much faster, and a sorted copy of a temporary table costs little more than the sort itself.
"""

_LOCK_PATIENCE = "3s"
"""Time for which statistics wait for a table. The server's own maintenance gives way after one second."""

_COUNT = sa.text("""
INSERT INTO staged_counts (category_id, product_id, image_count, confidence_sum_e9)
SELECT
    category_id, min(product_id), count(*), coalesce(sum(CAST(round(confidence * 1000000000) AS BIGINT)), 0)
FROM staged_predictions
GROUP BY category_id
""")


def create_temporary(connection: Connection, name: str, columns: dict[str, TypeEngine[Any]]) -> None:
    """Create an empty temporary table to stage rows in; an existing one of that name is dropped."""
    dialect = connection.dialect
    listed = ", ".join(f"{column} {type_.compile(dialect)}" for column, type_ in columns.items())
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
    connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {name} ({listed})")


def stage(connection: Connection, name: str, batches: Iterable[Rows]) -> None:
    """Create one of the temporary tables `STAGED` and load batches of tuples into it.

    Args:
        connection: In a transaction.
        name: A key of `STAGED`.
        batches: Batches of tuples in the table's column order; any iterable, read once.

    Raises:
        DatabaseError: A tuple does not have one value for each column of the table.
    """
    types = STAGED[name]
    columns = tuple(types)
    create_temporary(connection, name, types)
    checked = (_checked(rows, name, columns) for rows in batches)
    if connection.dialect.name == "postgresql":
        _copy(connection, name, columns, checked)
        _sort(connection, name)
    else:
        _insert(connection, name, list(types.values()), checked)
    analyze(connection, name)


def count_staged(connection: Connection) -> None:
    """Count the staged predictions by category into the temporary table `staged_counts`."""
    types: dict[str, TypeEngine[Any]] = {"category_id": key_text(), "product_id": key_text()}
    numbers: dict[str, TypeEngine[Any]] = {"image_count": sa.BigInteger(), "confidence_sum_e9": sa.BigInteger()}
    create_temporary(connection, "staged_counts", {**types, **numbers})
    connection.execute(_COUNT)


def staged_images(connection: Connection) -> int:
    """Return the number of staged predictions, by `staged_counts`."""
    return int(connection.execute(sa.text("SELECT coalesce(sum(image_count), 0) FROM staged_counts")).scalar_one())


def analyze(connection: Connection, name: str) -> None:
    """Update the statistics of a temporary table for PostgreSQL's planner."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"ANALYZE {name}")


def rows_about(connection: Connection, name: str) -> float:
    """Return how many rows a table has; PostgreSQL estimates it, as counting ten million takes a second.

    The estimate is from the last time that statistics were made, -1 if that was never.
    """
    rows = sa.text(f"SELECT count(*) FROM {name}")  # noqa: S608 - a name of ours
    if connection.dialect.name == "postgresql":
        rows = sa.text("SELECT reltuples FROM pg_class WHERE oid = CAST(:name AS regclass)").bindparams(name=name)
    return float(connection.execute(rows).scalar_one())


def analyze_grown(connection: Connection, name: str, added: int) -> None:
    """Update the statistics of a table for PostgreSQL's planner, if this transaction has added a tenth of its rows.

    Without statistics the planner takes nearly all images for ones that have left, and reads whole tables where it
    could look the products of a night up. The server's own statistics come after the commit, in a minute; as these take
    their place, they are as fine. While somebody else maintains the table, such as by VACUUM or REINDEX, it is left as
    it is: this transaction would hold all writers up until that is done, or end as the victim of a deadlock.

    Args:
        connection: In the transaction that added the rows.
        name: The table.
        added: Number of rows added.
    """
    if connection.dialect.name == "postgresql" and added > 1000 + rows_about(connection, name) / 10:
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_PATIENCE}'")
                connection.exec_driver_sql("SET LOCAL default_statistics_target TO DEFAULT")
                analyze(connection, name)
        except OperationalError as error:
            if not isinstance(error.orig, (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)):
                raise
        connection.exec_driver_sql("SET LOCAL lock_timeout TO DEFAULT")
        connection.exec_driver_sql(f"SET LOCAL {SMALL_SAMPLES}")


def insert_rows(connection: Connection, name: str, columns: Mapping[str, TypeEngine[Any]], rows: Rows) -> None:
    """Add a batch of rows to a temporary table.

    Args:
        connection: In the transaction that created the table.
        name: The temporary table.
        columns: All columns of the table in order, with their types, as given to `create_temporary`.
        rows: Tuples in that order.
    """
    if connection.dialect.name == "postgresql":
        _copy(connection, name, tuple(columns), [rows])
    else:
        _insert(connection, name, list(columns.values()), [rows])


def _checked(rows: Rows, name: str, columns: tuple[str, ...]) -> Rows:
    for row in rows:
        if len(row) != len(columns):
            raise DatabaseError(
                f"A row for {name} has {len(row)} values, expected {len(columns)} in the order {', '.join(columns)}: "
                f"{row[:3]!r}."
            )
    return rows


def _copy(connection: Connection, name: str, columns: tuple[str, ...], batches: Iterable[Rows]) -> None:
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {name} ({', '.join(columns)}) FROM STDIN") as copy:
        for rows in batches:
            for row in rows:
                try:
                    copy.write_row(row)
                except (psycopg.DataError, UnicodeEncodeError) as error:
                    raise _unwritable(row, error) from error


def _sort(connection: Connection, name: str) -> None:
    if name in _SORTED:
        connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO {name}_unsorted")
        connection.exec_driver_sql(
            f"CREATE TEMPORARY TABLE {name} AS SELECT * FROM {name}_unsorted ORDER BY {_SORTED[name]}"  # noqa: S608 - ours
        )
        connection.exec_driver_sql(f"DROP TABLE {name}_unsorted")


def _insert(connection: Connection, name: str, types: list[TypeEngine[Any]], batches: Iterable[Rows]) -> None:
    driver: Any = connection.connection.driver_connection
    converters = {place: convert for place, type_ in enumerate(types) if (convert := _converter(type_))}
    for rows in batches:
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            statement = f"INSERT INTO {name} VALUES ({marks})"  # noqa: S608 - a name of ours
            try:
                driver.executemany(statement, (_converted(row, converters) for row in rows))
            except UnicodeEncodeError as error:
                raise _unwritable(rows[0], error) from error


def _unwritable(row: tuple[Any, ...], error: Exception) -> DatabaseError:
    return DatabaseError(
        f"The row of product {row[0]!r}, or one of the rows after it, holds text that a database cannot store "
        f"({error}): remove the character from the catalog, then run the same command again; nothing was written."
    )


def _converter(type_: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    if isinstance(type_, sa.Date):
        return _date_text
    if isinstance(type_, sa.TypeDecorator):
        return _moment_text
    return None


def _converted(row: tuple[Any, ...], converters: dict[int, Callable[[Any], Any]]) -> list[Any]:
    values = list(row)
    for place, convert in converters.items():
        if values[place] is not None:
            values[place] = convert(values[place])
    return values


def _date_text(value: date) -> str:
    return value.isoformat()


def _moment_text(value: datetime) -> str:
    # The format in which SQLAlchemy stores times in SQLite, so that values written either way compare equal.
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")

"""Building blocks of the tables: naming of constraints, column types for both engines, and check constraints."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(sa.TypeDecorator[datetime]):
    """Column type of a time with a time zone, stored in UTC; in SQLite it is text without a time zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert a time to UTC; for SQLite also remove its time zone."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Add the time zone UTC to a stored time."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def key_text() -> sa.types.TypeEngine[str]:
    """Return the column type of every identifier: text sorted by bytes, the same on SQLite and PostgreSQL."""
    return sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def one_of(column: str, values: tuple[str, ...], name: str, *, or_empty: bool = False) -> sa.CheckConstraint:
    """Return a check constraint that a column holds one of the given values.

    Args:
        column: The column.
        values: What it may hold.
        name: Name of the constraint, without that of the table.
        or_empty: Whether most rows are NULL there. It is allowed in any case, but SQLite needs two microseconds to look
            it up in the list, and none to see that it is NULL.
    """
    listed = ", ".join(f"'{value}'" for value in values)
    empty = f"{column} IS NULL OR " if or_empty else ""
    return sa.CheckConstraint(f"{empty}{column} IN ({listed})", name=name)


def confidence_range(column: str = "confidence") -> sa.CheckConstraint:
    """Return a check constraint that a column holds a number between 0 and 1."""
    return sa.CheckConstraint(f"{column} >= 0 AND {column} <= 1", name=f"{column}_range")

"""What the tables are made of: names of constraints, and types that mean the same on both engines."""

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
    """An aware moment in UTC; SQLite, which knows no zones, keeps it as text without one."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn an aware moment into UTC, without its zone for SQLite."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the moment its zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def key_text() -> sa.types.TypeEngine[str]:
    """Return the type of every identifier: text in byte order, which both engines sort alike and PostgreSQL fastest."""
    return sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def one_of(column: str, values: tuple[str, ...], name: str) -> sa.CheckConstraint:
    """Return a check that a column holds one of a closed list."""
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=name)


def confidence_range(column: str = "confidence") -> sa.CheckConstraint:
    """Return a check that a column holds a probability."""
    return sa.CheckConstraint(f"{column} >= 0 AND {column} <= 1", name=f"{column}_range")

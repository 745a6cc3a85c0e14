"""Read a shop's own product table or view as a catalog: mapped by configuration, read by key range, never written.

The driver checks the mapping and divides the keys into ranges. Each task of a cluster opens its own connection and
reads its range by plain SQL. The only right that is needed is SELECT on the mapped columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import NoSuchTableError

from sql.engine import make_reading_engine
from sql.errors import DatabaseError
from sql.explanations import database_errors_explained, describe
from sql.records import CATALOG_COLUMNS, CATALOG_REQUIRED

FETCH_ROWS = 10_000
_IDS = ("product_id", "group_id")


@dataclass(frozen=True)
class ProductMapping:
    """Names of the table and columns in which a shop's own database keeps its products.

    Attributes:
        table: Table or view, with its schema where it needs one: `products`, `shop.article_images`.
        columns: The shop's column name for each catalog column with another name, or several where several columns hold
            it: `{"product_id": "sku", "image_uri": ("front", "back")}`. Optional columns that the table does not have
            are left out.
        group_by: Column whose value makes one product of several rows; empty if the product_id does.
    """

    table: str = "products"
    columns: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    group_by: str = ""

    def __post_init__(self) -> None:
        """Refuse names that are not catalog columns."""
        unknown = sorted(set(self.columns) - set(CATALOG_COLUMNS))
        if unknown:
            raise ValueError(
                f"The product mapping names {unknown[0]!r}: expected catalog columns, {', '.join(CATALOG_COLUMNS)}."
            )

    def columns_of(self, name: str) -> tuple[str, ...]:
        """Return the shop's names of the columns that hold a catalog column."""
        theirs = self.columns.get(name, name)
        return (theirs,) if isinstance(theirs, str) else tuple(theirs)


@dataclass(frozen=True)
class KeyRange:
    """Range of a shop's product keys to read: after `low`, up to and including `high`; None is no bound.

    Rows without a key are in the range without `low`, at whichever end the database sorts them.
    """

    low: Any = None
    high: Any = None


class CatalogSource:
    """Reader of a shop's mapped product table as a catalog; create one in each process that reads."""

    def __init__(self, url: str, mapping: ProductMapping) -> None:
        """Check the mapping against the database.

        Args:
            url: Of the shop's database, `sqlite:///path` or `postgresql://...`; needs SELECT on the table only.
            mapping: The table and its columns.

        Raises:
            DatabaseError: The database cannot be reached, or lacks the table or a needed column.
        """
        self._engine = make_reading_engine(url)
        self._mapping = mapping
        self._table = _reflect(self._engine, mapping.table)
        self.names = self._map_columns()
        """Names of the table's columns that are read."""
        self._key = self._table.c[mapping.group_by or mapping.columns_of("product_id")[0]]

    def key_ranges(self, parts: int) -> list[KeyRange]:
        """Divide the products into ranges of about equal size; all images of a product are in one range.

        Args:
            parts: Number of ranges, at least 1; an empty or small table has fewer.
        """
        if parts < 1:
            raise ValueError(f"{parts} parts: expected at least 1.")
        key = self._key
        with database_errors_explained(self._engine), self._engine.connect() as connection:
            rows = connection.execute(sa.select(sa.func.count(key))).scalar_one()
            step = -(-rows // parts) or 1
            place = sa.func.row_number().over(order_by=key).label("place")
            placed = sa.select(key.label("product"), place).where(key.is_not(None)).subquery()
            cut = sa.select(placed.c.product).where(placed.c.place % step == 0, placed.c.place < rows)
            bounds = connection.execute(cut.order_by(placed.c.place)).scalars().all()
        bounds = list(dict.fromkeys(bounds))
        return [KeyRange(low, high) for low, high in zip([None, *bounds], [*bounds, None], strict=True)]

    def read(self, key_range: KeyRange) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a range, streamed.

        Yields:
            Values in the order of `names`: texts, or None if there is no value. The catalog's own check tests whether
            an image_no is a whole number, because databases round numbers or convert a word to 0. An id that the
            database stores as a float or a decimal number is that number, because the database's text of it may have
            lost digits: SQLite writes 15. The rows of one product are in an order that is the same each time where
            their order numbers its images.
        """
        key = self._key
        texts = [sa.cast(self._table.c[name], sa.Text) for name in self.names]
        named = {name for ours in _IDS for name in self._mapping.columns_of(ours)} | {self._mapping.group_by}
        ids = [index for index, name in enumerate(self.names) if name in named]
        numbers = [self._number(self.names[index]) for index in ids]
        statement = sa.select(*texts, *numbers).order_by(key, *(texts if self._mapping.group_by else ()))
        if key_range.low is not None:
            statement = statement.where(key > key_range.low)
        if key_range.high is not None:
            upto = key <= key_range.high
            statement = statement.where(upto if key_range.low is not None else sa.or_(upto, key.is_(None)))
        with database_errors_explained(self._engine), self._engine.connect() as connection:
            for row in connection.execute(statement.execution_options(yield_per=FETCH_ROWS)):
                values = list(row[: len(texts)])
                for index, number in zip(ids, row[len(texts) :], strict=True):
                    values[index] = values[index] if number is None else number
                yield tuple(values)

    def _map_columns(self) -> tuple[str, ...]:
        wanted = {name: self._mapping.columns_of(name) for name in CATALOG_COLUMNS}
        if self._mapping.group_by:
            wanted["group_by"] = (self._mapping.group_by,)
        needed = {*CATALOG_REQUIRED, *self._mapping.columns, "group_by"}
        missing = [each for name in wanted if name in needed for each in wanted[name] if each not in self._table.c]
        if missing:
            raise DatabaseError(
                f"Table {self._mapping.table!r} of {describe(self._engine.url)} has no column {missing[0]!r} (it has "
                f"{', '.join(self._table.c.keys())}): map the catalog columns to the ones that hold them."
            )
        present = (each for theirs in wanted.values() for each in theirs if each in self._table.c)
        return tuple(dict.fromkeys(present))

    def _number(self, name: str) -> sa.ColumnElement[Any]:
        """Return the value of a column where it is a float or a decimal number; else NULL."""
        column = self._table.c[name]
        if self._engine.dialect.name == "sqlite":  # a type of its own for each value, whatever the column's
            return sa.case((sa.func.typeof(column) == "real", sa.type_coerce(column, sa.Float())))
        return column if isinstance(column.type, sa.Numeric | sa.Float) else sa.null()


def table_columns(url: str, table: str) -> list[str]:
    """Return the names of the columns of a table or view, with its schema where it needs one.

    Raises:
        DatabaseError: The database cannot be reached, or lacks the table.
    """
    return [column.name for column in _reflect(make_reading_engine(url), table).columns]


def _reflect(engine: Engine, table: str) -> sa.Table:
    schema, _, name = table.rpartition(".")
    with database_errors_explained(engine), engine.connect() as connection:
        try:
            return sa.Table(name, sa.MetaData(), schema=schema or None, autoload_with=connection, resolve_fks=False)
        except NoSuchTableError as error:
            raise DatabaseError(
                f"{describe(engine.url)} has no table or view {table!r} that this user may read: correct the "
                "product mapping, or grant SELECT."
            ) from error

"""Read a shop's own product table or view as a catalog: mapped by configuration, read by key range, never written.

The driver checks the mapping and divides the keys into ranges. Each task of a cluster opens its own connection and
reads its range by plain SQL. The only right that is needed is SELECT on the mapped columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


@dataclass(frozen=True)
class ProductMapping:
    """Names of the table and columns in which a shop's own database keeps its products.

    Attributes:
        table: Table or view, with its schema where it needs one: `products`, `shop.article_images`.
        columns: The shop's column name for each catalog column with another name: `{"product_id": "sku"}`. Optional
            columns that the table does not have are left out.
    """

    table: str = "products"
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse names that are not catalog columns."""
        unknown = sorted(set(self.columns) - set(CATALOG_COLUMNS))
        if unknown:
            raise ValueError(
                f"The product mapping names {unknown[0]!r}: expected catalog columns, {', '.join(CATALOG_COLUMNS)}."
            )


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
        self._table = _reflect(self._engine, mapping)
        self._columns = self._map_columns()

    def key_ranges(self, parts: int) -> list[KeyRange]:
        """Divide the products into ranges of about equal size; all images of a product are in one range.

        Args:
            parts: Number of ranges, at least 1; an empty or small table has fewer.
        """
        if parts < 1:
            raise ValueError(f"{parts} parts: expected at least 1.")
        key = self._columns["product_id"]
        with database_errors_explained(self._engine), self._engine.connect() as connection:
            rows = connection.execute(sa.select(sa.func.count(key))).scalar_one()
            step = -(-rows // parts) or 1
            place = sa.func.row_number().over(order_by=key).label("place")
            placed = sa.select(key.label("product"), place).where(key.is_not(None)).subquery()
            cut = sa.select(placed.c.product).where(placed.c.place % step == 0, placed.c.place < rows)
            bounds = connection.execute(cut.order_by(placed.c.place)).scalars().all()
        bounds = list(dict.fromkeys(bounds))
        return [KeyRange(low, high) for low, high in zip([None, *bounds], [*bounds, None], strict=True)]

    def read(self, key_range: KeyRange) -> Iterator[tuple[str | None, ...]]:
        """Yield the rows of a range, streamed.

        Yields:
            Texts in the order of `CATALOG_COLUMNS`; None if the table has no such column or value, and "0" for a
            missing image_no. The catalog's own check tests whether an image_no is a whole number, because databases
            round numbers or convert a word to 0.
        """
        key = self._columns["product_id"]
        statement = sa.select(*(self._expression(name) for name in CATALOG_COLUMNS)).order_by(key)
        if key_range.low is not None:
            statement = statement.where(key > key_range.low)
        if key_range.high is not None:
            upto = key <= key_range.high
            statement = statement.where(upto if key_range.low is not None else sa.or_(upto, key.is_(None)))
        with database_errors_explained(self._engine), self._engine.connect() as connection:
            for row in connection.execute(statement.execution_options(yield_per=FETCH_ROWS)):
                yield tuple(row)

    def _map_columns(self) -> dict[str, sa.Column[Any]]:
        wanted = {name: self._mapping.columns.get(name, name) for name in CATALOG_COLUMNS}
        needed = {*CATALOG_REQUIRED, *self._mapping.columns}
        missing = [wanted[name] for name in CATALOG_COLUMNS if name in needed and wanted[name] not in self._table.c]
        if missing:
            raise DatabaseError(
                f"Table {self._mapping.table!r} of {describe(self._engine.url)} has no column {missing[0]!r} (it has "
                f"{', '.join(self._table.c.keys())}): map the catalog columns to the ones that hold them."
            )
        return {name: self._table.c[theirs] for name, theirs in wanted.items() if theirs in self._table.c}

    def _expression(self, name: str) -> sa.ColumnElement[Any]:
        column = self._columns.get(name)
        text = sa.null() if column is None else sa.cast(column, sa.Text)
        return sa.func.coalesce(text, "0") if name == "image_no" else text


def _reflect(engine: Engine, mapping: ProductMapping) -> sa.Table:
    schema, _, name = mapping.table.rpartition(".")
    with database_errors_explained(engine), engine.connect() as connection:
        try:
            return sa.Table(name, sa.MetaData(), schema=schema or None, autoload_with=connection, resolve_fks=False)
        except NoSuchTableError as error:
            raise DatabaseError(
                f"{describe(engine.url)} has no table or view {mapping.table!r} that this user may read: correct the "
                "product mapping, or grant SELECT."
            ) from error

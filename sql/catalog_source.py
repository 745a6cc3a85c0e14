"""A shop's own product table or view as a catalog: mapped by configuration, read by key range, never written to.

The driver checks the mapping and cuts the keys into ranges; each task of a cluster opens its own connection and reads
its range by plain SQL. Nothing of this database is assumed but SELECT on the mapped columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import NoSuchTableError

from sql.engine import explained, make_reading_engine
from sql.errors import DatabaseError
from sql.explanations import describe

CATALOG_COLUMNS = ("product_id", "image_no", "image_uri", "title", "category", "updated_at")
REQUIRED_COLUMNS = ("product_id", "image_uri")
FETCH_ROWS = 10_000


@dataclass(frozen=True)
class ProductMapping:
    """Where a shop keeps its products.

    Attributes:
        table: Table or view, with its schema where it needs one: `products`, `shop.article_images`.
        columns: Their name of each catalog column that is called otherwise: `{"product_id": "sku"}`. Of the optional
            columns, those that the table lacks are left out.
    """

    table: str = "products"
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse names that no catalog has."""
        unknown = sorted(set(self.columns) - set(CATALOG_COLUMNS))
        if unknown:
            raise ValueError(
                f"The product mapping names {unknown[0]!r}: expected catalog columns, {', '.join(CATALOG_COLUMNS)}."
            )


@dataclass(frozen=True)
class KeyRange:
    """Products after `low` up to and with `high`, in the order of their database; None has no bound.

    Rows without a key are in the range without `low`, whichever end of the table their database sorts them to.
    """

    low: Any = None
    high: Any = None


class CatalogSource:
    """A mapped product table of one database; open one in each process that reads."""

    def __init__(self, url: str, mapping: ProductMapping) -> None:
        """Check the mapping against the database.

        Args:
            url: Of the shop's database, `sqlite:///path` or `postgresql://...`; needs SELECT on the table only.
            mapping: Which table and columns.

        Raises:
            DatabaseError: The database cannot be reached, or lacks the table or a needed column.
        """
        self._engine = make_reading_engine(url)
        self._mapping = mapping
        self._table = _reflect(self._engine, mapping)
        self._columns = self._map_columns()

    def key_ranges(self, parts: int) -> list[KeyRange]:
        """Cut the products into ranges of about equal size; all images of a product are in one.

        Args:
            parts: At least 1; an empty or small table gives fewer.
        """
        if parts < 1:
            raise ValueError(f"{parts} parts: expected at least 1.")
        key = self._columns["product_id"]
        with explained(self._engine), self._engine.connect() as connection:
            rows = connection.execute(sa.select(sa.func.count(key))).scalar_one()
            step = -(-rows // parts) or 1
            place = sa.func.row_number().over(order_by=key).label("place")
            placed = sa.select(key.label("product"), place).where(key.is_not(None)).subquery()
            cut = sa.select(placed.c.product).where(placed.c.place % step == 0, placed.c.place < rows)
            bounds = connection.execute(cut.order_by(placed.c.place)).scalars().all()
        bounds = list(dict.fromkeys(bounds))
        return [KeyRange(low, high) for low, high in zip([None, *bounds], [*bounds, None], strict=True)]

    def read(self, key_range: KeyRange) -> Iterator[tuple[str | None, ...]]:
        """Stream the rows of a range.

        Yields:
            Texts in the order of `CATALOG_COLUMNS`; None where the table has no such column or value, and "0" for an
            image_no that it has not. Whether an image_no is a whole number is for the catalog's check to say: databases
            round, or make 0 of a word.
        """
        key = self._columns["product_id"]
        statement = sa.select(*(self._expression(name) for name in CATALOG_COLUMNS)).order_by(key)
        if key_range.low is not None:
            statement = statement.where(key > key_range.low)
        if key_range.high is not None:
            upto = key <= key_range.high
            statement = statement.where(upto if key_range.low is not None else sa.or_(upto, key.is_(None)))
        with explained(self._engine), self._engine.connect() as connection:
            for row in connection.execute(statement.execution_options(yield_per=FETCH_ROWS)):
                yield tuple(row)

    def _map_columns(self) -> dict[str, sa.Column[Any]]:
        wanted = {name: self._mapping.columns.get(name, name) for name in CATALOG_COLUMNS}
        needed = {*REQUIRED_COLUMNS, *self._mapping.columns}
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
    with explained(engine), engine.connect() as connection:
        try:
            return sa.Table(name, sa.MetaData(), schema=schema or None, autoload_with=connection, resolve_fks=False)
        except NoSuchTableError as error:
            raise DatabaseError(
                f"{describe(engine.url)} has no table or view {mapping.table!r} that this user may read: correct the "
                "product mapping, or grant SELECT."
            ) from error

"""A shop's own table or view as a catalog: which of its columns count, and its rows, read range by range in tasks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from jobs.catalog.description import Description
from jobs.catalog.layout import Layout
from jobs.catalog.rows import ROW_SCHEMA, Batches, Part, RowMaker, column_places, has_own_numbers, in_batches
from jobs.dataset.file_frames import frame_of_parts
from jobs.errors import UsageError
from jobs.ingest.config import ProductSource
from sql.catalog_source import CatalogSource, KeyRange, ProductMapping, table_columns

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_DETAILS = ("base_url", "image_separator", "group_by", "max_images")
_FOR_TABLES = {"columns", *_DETAILS}


@dataclass(frozen=True)
class ShopTable:
    """A table that can be read in ranges of its key.

    Attributes:
        layout: How it is read.
        names: Names of its columns.
        url: SQLAlchemy URL of its database; never shown, since it may hold a password.
        mapping: Which of its columns are read.
    """

    layout: Layout
    names: tuple[str, ...]
    url: str = field(repr=False)
    mapping: ProductMapping

    def ranges(self, parts: int) -> list[tuple[int, KeyRange]]:
        """Divide the rows into about so many numbered ranges; all rows of a product are in one."""
        return list(enumerate(CatalogSource(self.url, self.mapping).key_ranges(parts)))

    def read(self, part: tuple[int, KeyRange]) -> Batches:
        """Yield the rows of a range as record batches with the columns of `rows.ROW_SCHEMA`."""
        number, key_range = part
        source = CatalogSource(self.url, self.mapping)
        maker = RowMaker(source.names, self.layout, self.mapping.table, unit="row")
        first = Part(self.mapping.table, number).first_position
        rows = enumerate(source.read(key_range))
        yield from in_batches(row for index, values in rows for row in maker.rows(values, index + 1, first + index))


def shop_table(source: ProductSource | None, options: Description) -> ShopTable:
    """Find out how a database table is read as a catalog.

    Args:
        source: The table; None if no database was given.
        options: What the command line says about the catalog; it takes precedence over SHELFWISE_PRODUCTS_COLUMNS.

    Raises:
        UsageError: If there is no table, it lacks a column, or what was said does not fit a table.
        DatabaseError: If the database cannot be reached, or lacks the table.
    """
    if source is None:
        raise UsageError("the catalog `products` is a table, and no database was given; set SHELFWISE_PRODUCTS_URL")
    said = _said(source, options)
    names = table_columns(source.url, source.table)
    layout = layout_of_table(said)
    places = column_places(names, layout, source.table)
    columns = {ours: tuple(names[index] for index in indices) for ours, indices in places.items()}
    [group_by] = columns.pop("group_by", ("",))[:1]
    own_numbers = has_own_numbers(places, layout)
    layout = replace(layout, columns=columns, needed=(), group_by=group_by, own_numbers=own_numbers)
    return ShopTable(layout, tuple(names), source.url, ProductMapping(source.table, columns, group_by))


def table_frame(spark: SparkSession, table: ShopTable) -> DataFrame:
    """Read a table in ranges of its key; each Spark task opens its own connection.

    Returns:
        DataFrame of `rows.ROW_SCHEMA`.
    """
    return frame_of_parts(spark, table.ranges(2 * spark.sparkContext.defaultParallelism), table.read, ROW_SCHEMA)


def layout_of_table(said: Description) -> Layout:
    """Return how a table is read, by what was said; no shop system is recognised by a table's columns."""
    given = {name: getattr(said, name) for name in _DETAILS if getattr(said, name)}
    needed = tuple(name for theirs in said.columns.values() for name in theirs)
    return replace(Layout("table", columns=said.columns, needed=needed), **given)


def _said(source: ProductSource, options: Description) -> Description:
    """Return what was said about a table, by the setting and by options.

    Raises:
        UsageError: If the setting is not valid, an option is for files alone, or the table is the product database's.
    """
    for name in sorted(options.model_fields_set - _FOR_TABLES):
        if getattr(options, name) != Description.model_fields[name].default:
            raise UsageError(
                f"--{name.replace('_', '-')} is for files, and the catalog `products` is a table; leave it out"
            )
    if source.own and (options.columns or options.group_by):
        raise UsageError(
            "--columns and --group-by are for files and for a shop's own table, and the catalog `products` is the "
            "table that shelfwise itself writes; set SHELFWISE_PRODUCTS_TABLE or SHELFWISE_PRODUCTS_URL, or leave them "
            "out"
        )
    try:
        setting = Description.model_validate({"columns": source.columns} if source.columns else {})
    except ValidationError as error:
        reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise UsageError(f"SHELFWISE_PRODUCTS_COLUMNS: {reason[:300]}") from error
    return options.over(setting)

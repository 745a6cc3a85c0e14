"""A shop's own table or view as a catalog: which of its columns count, and its rows, read range by range in tasks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from jobs.catalog.description import Description
from jobs.catalog.layout import Layout
from jobs.catalog.rows import ROW_SCHEMA, Batches, Part, RowMaker, column_places, has_own_numbers, in_batches
from jobs.dataset.file_frames import frame_of_parts
from jobs.errors import UsageError
from jobs.ingest.config import ProductSource

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from sql.catalog_source import KeyRange

_DETAILS = ("base_url", "image_separator", "group_by", "max_images")
_FOR_TABLES = {"columns", *_DETAILS}


def table_frame(spark: SparkSession, source: ProductSource | None, options: Description) -> tuple[DataFrame, Layout]:
    """Read a database table in ranges of its key; each Spark task opens its own connection.

    Args:
        spark: The Spark session.
        source: The table; None if no database was given.
        options: What the command line says about the catalog; it takes precedence over SHELFWISE_PRODUCTS_COLUMNS.

    Returns:
        DataFrame of `rows.ROW_SCHEMA`, and the layout that the table was read in.

    Raises:
        UsageError: If there is no table, it lacks a column, or what was said does not fit a table.
        DatabaseError: If the database cannot be reached, or lacks the table.
    """
    from sql.catalog_source import CatalogSource, ProductMapping, table_columns

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
    mapping = ProductMapping(source.table, columns, group_by)
    whole = CatalogSource(source.url, mapping)
    ranges = list(enumerate(whole.key_ranges(2 * spark.sparkContext.defaultParallelism)))
    url, table, read_names = source.url, source.table, whole.names

    def read(part: tuple[int, KeyRange]) -> Batches:
        number, key_range = part
        maker = RowMaker(read_names, layout, table, unit="row")
        first = Part(table, number).first_position
        rows = enumerate(CatalogSource(url, mapping).read(key_range))
        yield from in_batches(row for index, values in rows for row in maker.rows(values, index + 1, first + index))

    return frame_of_parts(spark, ranges, read, ROW_SCHEMA), layout


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

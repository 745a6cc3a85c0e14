"""Reading a catalog: a directory of category folders, a CSV, JSON Lines or Parquet file, or the `products` table.

Whatever its form, the result is one DataFrame with the columns of `CATALOG_COLUMNS`, checked: every row has a
product_id, and (product_id, image_no) names one row. What a catalog says is not trusted further than that; image_uri is
checked when it is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.catalog_stores import catalog_records, catalog_tables, walked
from jobs.config import Place, Places, ProductSource, UsageError
from jobs.schema import CATALOG_COLUMNS, CATALOG_REQUIRED
from jobs.stores import children, is_dir, is_file, place, put
from models.release import sha256_of

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from sql.catalog_source import KeyRange

PRODUCTS_TABLE = "products"
MAX_ID_LENGTH = 255
_ROWS = pa.schema([(name, pa.int32() if name == "image_no" else pa.string()) for name in CATALOG_COLUMNS])
_BATCH_ROWS = 10_000
_CONTROL = r"[\x00-\x1f\x7f]"
_USER_INFO = r"(?i)^(\s*(?:https?|ftps?):[\\/]*)[^/?#]*@|^(\s*[a-z][a-z0-9+.-]*://)[^/?#@]*:[^/?#]*@"


def base_directory(catalog: str) -> Place:
    """Return the directory against which a catalog's relative image_uris resolve: its own, or for the table today's."""
    if catalog == PRODUCTS_TABLE:
        return Path.cwd()
    where = place(catalog)
    if isinstance(where, Path):
        path = where.absolute()
        return path if path.is_dir() else path.parent
    return where.parent if is_file(where) else where


def read_catalog(
    spark: SparkSession, catalog: str, *, places: Places, products: ProductSource | None = None
) -> DataFrame:
    """Read and check a catalog.

    Args:
        spark: The session.
        catalog: Path of a directory or file, its URI in a store, or `products`.
        places: Where a listing is kept while Spark reads it.
        products: The table that `products` means.

    Returns:
        DataFrame of `CATALOG_COLUMNS`, all strings but image_no (int), persisted; unpersist it after use.

    Raises:
        UsageError: If it is missing, empty or unreadable, lacks a column, or has rows without or with the same
            (product_id, image_no); one sentence with the file, the column or the first such rows.
    """
    with _refused(catalog):
        frame = _from_table(spark, products) if catalog == PRODUCTS_TABLE else _opened(spark, place(catalog), places)
        checked = _normalised(frame, catalog).persist()
        _check(checked, catalog)
    return checked


@contextmanager
def _refused(catalog: str) -> Iterator[None]:
    """Turn what Spark says of a file that it cannot read into one sentence."""
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    try:
        yield
    except Py4JJavaError as error:
        cause = error.java_exception
        while cause.getCause() is not None:
            cause = cause.getCause()
        raise _unreadable(catalog, cause.getMessage()) from error
    except PySparkException as error:
        raise _unreadable(catalog, str(error)) from error


def _unreadable(catalog: str, cause: str | None) -> UsageError:
    first = re.sub(r"://[^/?#\s]*@", "://***@", (cause or "no reason given").strip().splitlines()[0])[:200]
    return UsageError(f"catalog {catalog} cannot be read ({first}); write it again")


def _from_table(spark: SparkSession, source: ProductSource | None) -> DataFrame:
    """Read a table by ranges of its key, each task over a connection of its own."""
    from sql.catalog_source import CatalogSource, ProductMapping

    if source is None:
        raise UsageError("the catalog `products` is a table, and no database was given; set SHELFWISE_PRODUCTS_URL")
    try:
        mapping = ProductMapping(source.table, source.columns)
    except ValueError as error:
        raise UsageError(f"SHELFWISE_PRODUCTS_COLUMNS: {error}") from error
    ranges = CatalogSource(source.url, mapping).key_ranges(2 * spark.sparkContext.defaultParallelism)

    def rows(parts: Iterable[KeyRange]) -> Iterator[tuple[object, ...]]:
        reader = CatalogSource(source.url, mapping)
        for part in parts:
            yield from reader.read(part)

    types = ", ".join(f"{field.name} {'int' if pa.types.is_integer(field.type) else 'string'}" for field in _ROWS)
    return spark.createDataFrame(spark.sparkContext.parallelize(ranges, len(ranges)).mapPartitions(rows), types)


def _opened(spark: SparkSession, where: Place, places: Places) -> DataFrame:
    """Open a catalog by its form, with whatever columns it has."""
    directory = is_dir(where)
    if not directory and not is_file(where):
        raise UsageError(f"no catalog at {where}; give a directory, a .csv, .jsonl or .parquet file, or `products`")
    if directory:
        files = children(where, "*.parquet")
        if files:
            return _parquet(spark, where, files)
        return _listed(spark, _walk(where), places)
    name: Any = str(where.absolute()) if isinstance(where, Path) else catalog_records(spark, where)
    match where.name.lower().removesuffix(".gz").rpartition(".")[2]:
        case "csv":
            return spark.read.csv(name, header=True, multiLine=True, escape='"', mode="FAILFAST")
        case "jsonl" | "ndjson" | "json":
            return spark.read.json(name, primitivesAsString=True, mode="FAILFAST")
        case "parquet":
            return _parquet(spark, where, [where])
    raise UsageError(f"catalog {where} is of an unknown form; expected a directory or a .csv, .jsonl or .parquet file")


def _parquet(spark: SparkSession, where: Place, files: list[Place]) -> DataFrame:
    return spark.read.parquet(str(where.absolute())) if isinstance(where, Path) else catalog_tables(spark, files)


def _walk(root: Place) -> Iterator[tuple[object, ...]]:
    """List a directory: the folders are the category, the file name without its ending is the product."""
    for folder, subfolders, files in os.walk(root) if isinstance(root, Path) else walked(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        parts = PurePosixPath(folder[len(str(root)) :].strip("/")).parts
        if any(part.startswith(".") for part in parts) or (not parts and subfolders):
            continue
        for name in sorted(files):
            if name and not name.startswith("."):
                path = PurePosixPath(*parts, name)
                yield path.stem, 0, path.as_posix(), None, ".".join(parts) or None, None


def _listed(spark: SparkSession, rows: Iterable[tuple[object, ...]], places: Places) -> DataFrame:
    """Hand rows to Spark through a Parquet file, so that the driver never holds more than one batch of them."""
    places.scratch.mkdir(parents=True, exist_ok=True)
    target = places.scratch / "catalog.parquet"
    with pq.ParquetWriter(target, _ROWS) as writer:
        batch: list[tuple[object, ...]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == _BATCH_ROWS:
                writer.write_table(_table(batch))
                batch = []
        writer.write_table(_table(batch))
    if isinstance(places.home, Path):
        return spark.read.parquet(str(target))
    shared = places.home / "catalogs" / f"{sha256_of(target)[:32]}.parquet"
    put(target, shared)
    return catalog_tables(spark, [shared])


def _table(rows: list[tuple[object, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(_ROWS)
    values = [pa.array(_texts(column), field.type) for column, field in zip(columns, _ROWS, strict=True)]
    return pa.Table.from_arrays(values, schema=_ROWS)


def _texts(column: tuple[object, ...]) -> list[object]:
    """File names are bytes to the system: what is not UTF-8 in them must not stop the listing."""
    return [value.encode("utf-8", "replace").decode() if isinstance(value, str) else value for value in column]


def _normalised(frame: DataFrame, catalog: str) -> DataFrame:
    """Give a catalog the columns of `CATALOG_COLUMNS` and their types."""
    from pyspark.sql import functions as f

    present = {name.strip().lower(): name for name in frame.columns}
    missing = [name for name in CATALOG_REQUIRED if name not in present]
    if missing:
        raise UsageError(
            f"catalog {catalog} has no column {' and no column '.join(missing)}; "
            f"it needs product_id and image_uri and has {', '.join(frame.columns) or 'none'}"
        )

    def column(name: str) -> Column:
        if name not in present:
            return f.lit("0" if name == "image_no" else None).cast("string")
        return f.col(f"`{present[name]}`").cast("string")

    def clean(name: str) -> Column:
        return f.regexp_replace(column(name), _CONTROL, "\ufffd").alias(name)

    number = f.coalesce(f.trim(column("image_no")), f.lit("0")).try_cast("double")
    return frame.select(
        f.trim(column("product_id")).alias("product_id"),
        f.when(number == f.floor(number), number.try_cast("int")).alias("image_no"),
        # A password in a link would be in every table that names the image; such links are refused when they are read.
        f.regexp_replace(f.coalesce(clean("image_uri"), f.lit("")), _USER_INFO, "$1$2***@").alias("image_uri"),
        clean("title"),
        clean("category"),
        clean("updated_at"),
    )


def _check(frame: DataFrame, catalog: str) -> None:
    """Refuse a catalog whose rows cannot be told apart."""
    from pyspark.sql import functions as f

    bad_id = (
        f.col("product_id").isNull()
        | (f.length("product_id") == 0)
        | (f.length("product_id") > MAX_ID_LENGTH)
        | f.col("product_id").rlike(_CONTROL)
    )
    bad_number = f.col("image_no").isNull() | (f.col("image_no") < 0)
    found = frame.agg(
        f.count("*").alias("rows"), f.count_if(bad_id).alias("ids"), f.count_if(bad_number).alias("numbers")
    ).collect()[0]
    if not found["rows"]:
        raise UsageError(f"catalog {catalog} is empty; it needs at least one row with product_id and image_uri")
    if found["ids"]:
        rows = _examples(frame.where(bad_id))
        raise UsageError(
            f"catalog {catalog} has {found['ids']} rows whose product_id is empty, over {MAX_ID_LENGTH} characters or "
            f"holds control characters, the first: {rows}; correct them"
        )
    if found["numbers"]:
        rows = _examples(frame.where(bad_number))
        raise UsageError(
            f"catalog {catalog} has {found['numbers']} rows whose image_no is not a whole number from 0, "
            f"the first: {rows}; correct them"
        )
    doubles = frame.groupBy("product_id", "image_no").count().where("count > 1").orderBy("product_id", "image_no")
    first = doubles.limit(3).collect()
    if first:
        named = ", ".join(f"({row['product_id']}, {row['image_no']}) {row['count']} times" for row in first)
        raise UsageError(
            f"catalog {catalog} names the same (product_id, image_no) more than once, the first: {named}; "
            "number a product's images from 0 in image_no"
        )


def _examples(frame: DataFrame) -> str:
    rows = frame.select("product_id", "image_no", "image_uri").limit(3).collect()
    return ", ".join(f"(product_id {row[0]!r}, image_no {row[1]}, image_uri {row[2][:80]!r})" for row in rows)

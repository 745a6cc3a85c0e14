"""Read a catalog: a directory of category folders, a CSV, JSON Lines or Parquet file, or the `products` table.

Whatever the format, the result is one checked DataFrame with the columns of `CATALOG_COLUMNS`: every row has a
product_id, and (product_id, image_no) is unique. Nothing else in a catalog is trusted; each image_uri is checked when
the image is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jobs.dataset.file_frames import frame_of_files, frame_of_parts
from jobs.dataset.schema import CATALOG_KEY, CATALOG_TEXTS
from jobs.errors import UsageError
from jobs.ingest.config import ProductSource
from jobs.ingest.formats.csv import read_csv
from jobs.ingest.formats.folders import folder_rows
from jobs.ingest.formats.json_lines import read_json
from jobs.ingest.formats.parquet import parquet_schema, read_parquet
from jobs.ingest.formats.rows import TEXTS, Batches, catalog_error, in_batches, read_errors_explained
from jobs.spark.faults import spark_errors_explained
from jobs.storage.places import Place
from jobs.storage.stores import children, is_dir, is_file, on_disk, place, reading, uri

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from sql.catalog_source import KeyRange

PRODUCTS_TABLE = "products"
MAX_ID_LENGTH = 255
_READERS = {"csv": read_csv, "jsonl": read_json, "ndjson": read_json, "json": read_json}
_CONTROL = r"[\x00-\x1f\x7f]"
_USER_INFO = r"(?i)^(\s*(?:https?|ftps?):[\\/]*)[^/?#]*@|^(\s*[a-z][a-z0-9+.-]*://)[^/?#@]*:[^/?#]*@"


def base_directory(catalog: str) -> Place:
    """Return the directory to which the relative image_uris of a catalog are relative.

    It is the catalog's own directory; for the `products` table it is the current working directory.
    """
    if catalog == PRODUCTS_TABLE:
        return Path.cwd()
    where = place(catalog)
    if isinstance(where, Path):
        path = where.absolute()
        return path if path.is_dir() else path.parent
    return where.parent if is_file(where) else where


def read_catalog(spark: SparkSession, catalog: str, *, products: ProductSource | None = None) -> DataFrame:
    """Read a catalog of any form to a Spark DataFrame, and check its rows.

    Args:
        spark: The Spark session.
        catalog: Path of a directory or file, used literally; or a URI in an object store; or `products`.
        products: Database table to read when `catalog` is `products`.

    Returns:
        DataFrame of `CATALOG_COLUMNS`, persisted; unpersist it after use. All columns are strings but image_no (int).

    Raises:
        UsageError: If the catalog is missing, empty or damaged, lacks a column, has a malformed row, or has rows
            whose (product_id, image_no) is missing or repeated. One sentence names the file with the line, the column
            or the rows to correct.
        RunFailed: If the store, the disk or the shop's database becomes unavailable while it is read.
    """
    with spark_errors_explained():
        frame = _from_table(spark, products) if catalog == PRODUCTS_TABLE else _from_files(spark, place(catalog))
        checked = _normalised(frame).persist()
        _check(checked, catalog)
    return checked


def _from_table(spark: SparkSession, source: ProductSource | None) -> DataFrame:
    """Read a database table in ranges of its key; each Spark task opens its own connection."""
    from sql.catalog_source import CatalogSource, ProductMapping

    if source is None:
        raise UsageError("the catalog `products` is a table, and no database was given; set SHELFWISE_PRODUCTS_URL")
    try:
        mapping = ProductMapping(source.table, source.columns)
    except ValueError as error:
        raise UsageError(f"SHELFWISE_PRODUCTS_COLUMNS: {error}") from error
    ranges = CatalogSource(source.url, mapping).key_ranges(2 * spark.sparkContext.defaultParallelism)

    def read(part: KeyRange) -> Batches:
        yield from in_batches(CatalogSource(source.url, mapping).read(part))

    return frame_of_parts(spark, ranges, read, TEXTS)


def _from_files(spark: SparkSession, where: Place) -> DataFrame:
    """Read a file or directory with the reader of its format."""
    if is_dir(where):
        # Hidden files are not data: file systems and other programs keep their own files under such names.
        tables = [file for file in children(where, "*.parquet") if not file.name.startswith(".")]
        if tables:
            return _from_parquet(spark, tables)
        return frame_of_files(spark, [where], lambda root: in_batches(folder_rows(root)), TEXTS)
    if not is_file(where):
        raise UsageError(f"no catalog at {where}; give a directory, a .csv, .jsonl or .parquet file, or `products`")
    suffix = where.name.lower().removesuffix(".gz").rpartition(".")[2]
    if suffix == "parquet":
        return _from_parquet(spark, [where])
    if suffix not in _READERS:
        raise catalog_error(where, "is of an unknown form; expected a directory or a .csv, .jsonl or .parquet file")

    def read(file: Place) -> Batches:
        with read_errors_explained(file), on_disk(file) as path:
            yield from _READERS[suffix](path, uri(file))

    return frame_of_files(spark, [where], read, TEXTS)


def _from_parquet(spark: SparkSession, files: list[Place]) -> DataFrame:
    """Read Parquet files; the schema of the first file gives the column types of all."""
    with read_errors_explained(files[0]):
        schema = reading(files[0], parquet_schema)

    def read(file: Place) -> Batches:
        with read_errors_explained(file), on_disk(file) as path:
            yield from read_parquet(path, uri(file), schema)

    return frame_of_files(spark, files, read, schema)


def _normalised(frame: DataFrame) -> DataFrame:
    """Cast a catalog's columns to their types, trim keys, replace control characters and remove passwords in links."""
    from pyspark.sql import functions as f

    def clean(name: str) -> Column:
        return f.regexp_replace(f.col(name).cast("string"), _CONTROL, "\ufffd").alias(name)

    number = f.coalesce(f.trim(f.col("image_no").cast("string")), f.lit("0")).try_cast("double")
    return frame.select(
        f.trim(f.col("product_id").cast("string")).alias("product_id"),
        f.when(number == f.floor(number), number.try_cast("int")).alias("image_no"),
        # A password in a link would be copied into every table that names the image. So it is replaced here; the link
        # itself is rejected when the image is read.
        f.regexp_replace(f.coalesce(clean("image_uri"), f.lit("")), _USER_INFO, "$1$2***@").alias("image_uri"),
        *map(clean, CATALOG_TEXTS),
    )


def _check(frame: DataFrame, catalog: str) -> None:
    """Raise UsageError if the catalog is empty or a row's (product_id, image_no) is invalid or not unique."""
    from pyspark.sql import functions as f

    bad_id = (
        f.col("product_id").isNull()
        | (f.length("product_id") == 0)
        | (f.length("product_id") > MAX_ID_LENGTH)
        | f.col("product_id").rlike(_CONTROL)
    )
    bad_number = f.col("image_no").isNull() | (f.col("image_no") < 0)
    counts = frame.agg(
        f.count("*").alias("rows"), f.count_if(bad_id).alias("ids"), f.count_if(bad_number).alias("numbers")
    ).collect()[0]
    if not counts["rows"]:
        raise UsageError(f"catalog {catalog} is empty; it needs at least one row with product_id and image_uri")
    if counts["ids"]:
        rows = _examples(frame.where(bad_id))
        raise UsageError(
            f"catalog {catalog} has {counts['ids']} rows whose product_id is empty, over {MAX_ID_LENGTH} characters or "
            f"holds control characters, the first: {rows}; correct them"
        )
    if counts["numbers"]:
        rows = _examples(frame.where(bad_number))
        raise UsageError(
            f"catalog {catalog} has {counts['numbers']} rows whose image_no is not a whole number from 0, "
            f"the first: {rows}; correct them"
        )
    duplicates = frame.groupBy(*CATALOG_KEY).count().where("count > 1").orderBy(*CATALOG_KEY)
    first = duplicates.limit(3).collect()
    if first:
        keys = ", ".join(f"({row['product_id']}, {row['image_no']}) {row['count']} times" for row in first)
        raise UsageError(
            f"catalog {catalog} names the same (product_id, image_no) more than once, the first: {keys}; "
            "number a product's images from 0 in image_no"
        )


def _examples(frame: DataFrame) -> str:
    rows = frame.select(*CATALOG_KEY, "image_uri").limit(3).collect()
    return ", ".join(f"(product_id {row[0]!r}, image_no {row[1]}, image_uri {row[2][:80]!r})" for row in rows)

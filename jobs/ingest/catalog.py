"""Read a catalog of any form to one Spark DataFrame, and check its rows.

Every row has a product_id, and (product_id, image_no) is unique. Nothing else in a catalog is trusted; each image_uri
is checked when the image is read.
"""

from __future__ import annotations

import logging
import re
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.catalog.description import Description
from jobs.catalog.errors import refusals_point_to_check
from jobs.catalog.files import parts_of, read_part
from jobs.catalog.layout import Layout
from jobs.catalog.passed_over import PassedOver
from jobs.catalog.recognise import recognise
from jobs.catalog.rows import ROW_SCHEMA, Batches, Part
from jobs.catalog.values import MAX_CHARS, NO_ID_CHARACTER
from jobs.dataset.file_frames import frame_of_parts
from jobs.dataset.schema import CATALOG_COLUMNS, CATALOG_KEY, CATALOG_TEXTS
from jobs.errors import UsageError
from jobs.ingest.config import ProductSource
from jobs.ingest.shop_table import shop_table, table_frame
from jobs.spark.faults import spark_errors_explained
from jobs.storage.faults import masked
from jobs.storage.places import Place
from jobs.storage.stores import is_file, place

if TYPE_CHECKING:
    from pyspark import Accumulator
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

PRODUCTS_TABLE = "products"
READ_COLUMNS = (*CATALOG_COLUMNS, "fetch_uri")
"""Columns of the DataFrame: those of the catalog, and the link to send where `image_uri` masks secrets in it."""


class _Union:
    """Joins the dictionaries of an accumulator of Spark; a part that is read again counts once."""

    def zero(self, value: dict[int, PassedOver]) -> dict[int, PassedOver]:
        """Return what no task has added to."""
        return {}

    def addInPlace(self, value1: dict[int, PassedOver], value2: dict[int, PassedOver]) -> dict[int, PassedOver]:
        """Join two dictionaries."""
        return value1 | value2


def bad_product_id(product_id: str | None) -> bool:
    """Return whether a product_id is empty, too long or holds control characters; `_check` asks Spark the same."""
    return (
        not product_id
        or len(product_id) > MAX_CHARS["product_id"]
        or re.search(NO_ID_CHARACTER, product_id) is not None
    )


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


def read_catalog(
    spark: SparkSession,
    catalog: str,
    *,
    products: ProductSource | None = None,
    description: Description | None = None,
) -> DataFrame:
    """Read a catalog of any form to a Spark DataFrame, and check its rows.

    Args:
        spark: The Spark session.
        catalog: Path of a directory or file, used literally; or a URI in an object store; or `products`.
        products: Database table to read when `catalog` is `products`.
        description: What the command line says about it; it takes precedence over its `shelfwise.toml`.

    Returns:
        DataFrame of `READ_COLUMNS`, persisted; unpersist it after use. All columns are strings but image_no (int).

    Raises:
        UsageError: If the catalog is missing, empty or damaged, lacks a column, has a malformed row, or has rows
            whose (product_id, image_no) is missing or repeated. One sentence names the file with the line, the column
            or the rows to correct.
        RunFailed: If the store, the disk or the shop's database becomes unavailable while it is read.
    """
    with spark_errors_explained():
        if catalog == PRODUCTS_TABLE:
            table = shop_table(products, description or Description())
            return _checked(table_frame(spark, table), catalog, table.layout)
        if products and products.columns:
            log.warning(
                "SHELFWISE_PRODUCTS_COLUMNS is for the catalog `products` and does not count for %s; name the columns "
                "of a file with --columns",
                catalog,
            )
        recognised = recognise(place(catalog), description)
        log.info("catalog %s: read as %s", masked(catalog), "; ".join((recognised.words, *recognised.notes)))
        return _from_files(spark, catalog, recognised.layout)


def _from_files(spark: SparkSession, catalog: str, layout: Layout) -> DataFrame:
    """Read a file or directory in tasks, check its rows, and log what was passed over."""
    passed_over: Accumulator[dict[int, PassedOver]]
    passed_over = spark.sparkContext.accumulator({}, _Union())  # type: ignore[arg-type]

    def read(part: Part) -> Batches:
        return read_part(part, layout, lambda each: passed_over.add({part.number: each}))

    frame = frame_of_parts(spark, parts_of(place(catalog), layout), read, ROW_SCHEMA)
    try:
        return _checked(frame, catalog, layout)
    finally:
        for each in passed_over.value.values():
            if sentences := each.sentences():
                log.info("catalog %s: %s", masked(catalog), "; ".join(sentences))


def _checked(frame: DataFrame, catalog: str, layout: Layout) -> DataFrame:
    """Number the images, check the rows, and leave out the images of a product beyond the most that are read."""
    numbered = _numbered(frame, layout).persist()
    with nullcontext() if layout.form == "table" else refusals_point_to_check():
        beyond = _check(numbered, catalog, layout)
    if not beyond:
        return numbered
    log.warning(
        "catalog: %s images are not read, as their products have more than %s; --max-images reads more",
        beyond,
        layout.max_images,
    )
    return numbered.where(numbered["image_no"] < layout.max_images)


def _numbered(frame: DataFrame, layout: Layout) -> DataFrame:
    """Cast image_no, or number the images of a product by their order where several rows are one product.

    There, an image that a product has twice counts once, a row without a link counts only if no other row of the
    product has one, and the first text of a column counts for all rows.
    """
    from pyspark.sql import functions as f
    from pyspark.sql.window import Window

    # The readers write numbers in one form; any other text has to become null, and not a number of Spark's choice.
    whole = f.when(f.col("image_no").rlike(r"^-?[0-9]+\z"), f.col("image_no").try_cast("int"))
    if not layout.group_by:
        return frame.withColumn("image_no", whole).select(*READ_COLUMNS)
    product = Window.partitionBy("product_id")
    in_order = product.orderBy("position")
    whole_product = in_order.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    same_link = Window.partitionBy("product_id", f.coalesce("fetch_uri", "image_uri")).orderBy("position")
    last = f.lit(2**31 - 1)
    numbered = product.orderBy(f.coalesce("number", last), "position")
    texts = [f.first(name, ignorenulls=True).over(whole_product).alias(name) for name in CATALOG_TEXTS]
    return (
        frame.select("product_id", "image_uri", "fetch_uri", "group_id", "position", whole.alias("number"), *texts)
        .withColumn("repeated", f.row_number().over(same_link))
        .withColumn("with_link", f.max(f.col("image_uri") != "").over(product))
        .where("repeated = 1 AND (image_uri <> '' OR NOT with_link)")
        .withColumn("image_no", f.row_number().over(numbered) - 1)
        .select(*READ_COLUMNS)
    )


def _check(frame: DataFrame, catalog: str, layout: Layout) -> int:
    """Raise UsageError if the catalog is empty or a row's (product_id, image_no) is invalid or not unique.

    Returns:
        Number of the images beyond the most that are read of a product.
    """
    from pyspark.sql import functions as f

    catalog = masked(catalog)
    bad_id = (
        f.col("product_id").isNull()
        | (f.length("product_id") == 0)
        | (f.length("product_id") > MAX_CHARS["product_id"])
        | f.col("product_id").rlike(NO_ID_CHARACTER)
    )
    bad_number = f.col("image_no").isNull() | (f.col("image_no") < 0)
    beyond = f.lit(not layout.own_numbers) & (f.col("image_no") >= layout.max_images)
    conditions = {"ids": bad_id, "numbers": bad_number, "beyond": beyond}
    counted = [f.count_if(condition).alias(name) for name, condition in conditions.items()]
    counts = frame.agg(f.count("*").alias("rows"), *counted).collect()[0]
    if not counts["rows"] and layout.form == "folders":
        raise UsageError(
            f"catalog {catalog} has no picture; it needs files with the suffix of an image format, such as .jpg or .png"
        )
    if not counts["rows"]:
        raise UsageError(f"catalog {catalog} is empty; it needs at least one row with product_id and image_uri")
    if counts["ids"]:
        rows = _examples(frame.where(bad_id))
        raise UsageError(
            f"catalog {catalog} has {counts['ids']} rows whose product_id is empty, over {MAX_CHARS['product_id']} "
            f"characters or holds control characters or invisible ones, the first: {rows}; correct them"
        )
    if counts["numbers"]:
        rows = _examples(frame.where(bad_number))
        raise UsageError(
            f"catalog {catalog} has {counts['numbers']} rows whose image_no is not a whole number from 0, "
            f"the first: {rows}; correct them"
        )
    uris = (f.min("image_uri").alias("one"), f.max("image_uri").alias("other"))
    keyed = frame.groupBy(*CATALOG_KEY).agg(f.count("*").alias("rows"), *uris)
    first = keyed.where("rows > 1").orderBy(*CATALOG_KEY).limit(3).collect()
    if first:
        remedy = remedy_for_repeated(layout)
        if layout.form == "folders":
            pairs = ", ".join(f"{row['product_id']} of {row['one']} and {row['other']}" for row in first)
            what = f"has the same product_id for several pictures, the first: {pairs}"
        else:
            keys = ", ".join(f"({row['product_id']}, {row['image_no']}) {row['rows']} times" for row in first)
            what = f"names the same (product_id, image_no) more than once, the first: {keys}"
        raise UsageError(f"catalog {catalog} {what}; {remedy}")
    return int(counts["beyond"])


def remedy_for_repeated(layout: Layout) -> str:
    """Return what helps when two rows have the same product_id and image_no."""
    if layout.form != "folders":
        return (
            "number a product's images from 0 in image_no, or make a product's rows its images: --group-by with the "
            "product's column"
        )
    if layout.product_id == "path":
        return "rename one of them"
    remedy = "with `--product-id path` each picture is a product, named by its path"
    if layout.product_id == "folder":
        return remedy
    return f"{remedy}; with `--product-id folder` the pictures of a folder are the images of one product"


def _examples(frame: DataFrame) -> str:
    rows = frame.select(*CATALOG_KEY, "image_uri").limit(3).collect()
    return ", ".join(f"(product_id {row[0]!r}, image_no {row[1]}, image_uri {row[2][:80]!r})" for row in rows)

"""Which pictures a product has had: a picture that returns, or moves to another position, is not stored again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.dataset.file_frames import frame_of_files
from jobs.dataset.partitions import partition_dates
from jobs.dataset.schema import IMAGES
from jobs.dataset.shards import read_errors_explained, shards
from jobs.storage.places import Place, Places
from jobs.storage.stores import reading

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_COLUMNS = pa.schema([IMAGES.field(name) for name in ("product_id", "image_sha256")])
_TASKS_A_CORE = 2


def with_former_pictures(spark: SparkSession, changed: DataFrame, places: Places) -> DataFrame:
    """Add the pictures that the products of rows to read have had at any position and time.

    Only if a product that is known already has a row to read is the dataset read for this. So new products and nights
    without changes pay nothing.

    Args:
        spark: The Spark session.
        changed: Changed rows, as `changed_rows` returns them; persisted, as they are read several times.
        places: Directories of the dataset.

    Returns:
        `changed` with `former_sha256s`, an array of SHA-256; null for a product without a stored picture.
    """
    from pyspark.sql import functions as f

    files = shards(places.images, partition_dates(places.images, date.min, date.max))
    # An image that is new at a later position was added to a product; the first image of a product is new with it.
    known = f.bool_or("is_known") | (f.min("image_no") > 0)
    products = changed.where("to_read").groupBy("product_id").agg(known.alias("known")).where("known")
    products = products.select("product_id")
    if not files or products.isEmpty():
        return changed.withColumn("former_sha256s", f.lit(None).cast("array<string>"))
    tasks = _TASKS_A_CORE * spark.sparkContext.defaultParallelism
    stored = frame_of_files(spark, files, _read, _COLUMNS, tasks=tasks)
    former = (
        stored.join(products, on="product_id", how="left_semi")
        .groupBy("product_id")
        .agg(f.array_sort(f.collect_set("image_sha256")).alias("former_sha256s"))
    )
    return changed.join(former, on="product_id", how="left")


def _read(shard: Place) -> Iterator[pa.RecordBatch]:
    with read_errors_explained(shard):
        table = reading(shard, lambda file: pq.read_table(file, columns=_COLUMNS.names, schema=_COLUMNS))
    yield from table.to_batches()

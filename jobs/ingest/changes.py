"""Compare a catalog with the stored dataset and select the rows that ingest must process.

The dataset is its own index. The newest row of each image under `images/` and `seen/` is the record of its content; the
newest row under `images/` and `catalog_rows/` is the record of its catalog row. `jobs.dataset.schema` defines which row
is the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.dataset.file_frames import frame_of_files
from jobs.dataset.partitions import partition_dates
from jobs.dataset.schema import CATALOG_COLUMNS, CATALOG_KEY, CATALOG_NULLABLE, CATALOG_ROWS, IMAGES, SEEN
from jobs.dataset.shards import check_columns, ingest_date_of, read_errors_explained, shards
from jobs.ingest.sources import file_status, is_readable, is_remote, link_to_read
from jobs.storage.places import Place, Places
from jobs.storage.stores import reading

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_SOURCE = ("source_size_bytes", "source_mtime_ns", "source_version")
_KNOWN = ("image_uri", "image_sha256", *_SOURCE, "reason", "ingest_date")
_TASKS_A_CORE = 2
_CATALOG_FIELDS = ("image_uri", *CATALOG_NULLABLE)
_CHANGED = pa.schema(
    [pa.field(name, IMAGES.field(name).type) for name in CATALOG_COLUMNS]
    + [pa.field("fetch_uri", pa.string())]
    + [pa.field(f"known_{name}", pa.string()) for name in ("sha256", "ingest_date", "source_version", "reason")]
    + [pa.field("to_read", pa.bool_()), pa.field("catalog_row_changed", pa.bool_())]
)


def next_ingest_no(places: Places, day: date) -> int:
    """Number the ingest of the changed rows: one more than the highest ingest_no in the date's Parquet files, or 1."""
    files = (file for root in (places.images, places.seen, places.catalog_rows) for file in shards(root, [day]))
    return 1 + max((_highest_ingest_no(file) for file in files), default=0)


def _highest_ingest_no(file: Place) -> int:
    with read_errors_explained(file):
        footer = reading(file, pq.read_metadata)
    check_columns(file, footer.schema.names, ["ingest_no"])
    column = footer.schema.names.index("ingest_no")
    groups = (footer.row_group(i).column(column) for i in range(footer.num_row_groups))
    return max((int(group.statistics.max) for group in groups), default=0)


def known_images(spark: SparkSession, places: Places, day: date) -> DataFrame:
    """Return the newest stored record of each image as of an ingest date: one row per image.

    A missed night may be ingested after later ones. It is compared with the records up to its own date, so that
    ingesting it a second time finds nothing new. Records of later dates are used only for an image that has no record
    of this date or an earlier one.

    Args:
        spark: The Spark session.
        places: Directories of the dataset.
        day: The ingest date.

    Returns:
        DataFrame of product_id, image_no, the `known_*` columns (of the newest stored content or rejection) and
        `stored_row` (struct of the image's newest stored catalog row).
    """
    from pyspark.sql import functions as f

    wanted = [*CATALOG_KEY, "image_uri", "image_sha256", *_SOURCE]
    tasks = _TASKS_A_CORE * spark.sparkContext.defaultParallelism

    def rows(root: Place, schema: pa.Schema, *more: str) -> DataFrame:
        fields = [field for field in schema if field.name in (*wanted, "ingest_no", *more)]
        kept = pa.schema([*fields, pa.field("ingest_date", pa.string())])
        files = shards(root, partition_dates(root, date.min, date.max))
        return frame_of_files(spark, files, _reader(kept), kept, tasks=tasks)

    catalog_columns = [name for name in _CATALOG_FIELDS if name not in wanted]
    stored = (
        rows(places.images, IMAGES, *catalog_columns)
        .withColumn("has_content", f.lit(True))
        .withColumn("has_catalog_row", f.lit(True))
    )
    seen = rows(places.seen, SEEN, "reason")
    catalog_only = rows(places.catalog_rows, CATALOG_ROWS, *catalog_columns).withColumn("has_catalog_row", f.lit(True))
    newness = f.struct(f.col("ingest_date") <= day.isoformat(), "ingest_date", "ingest_no", "image_sha256")
    newest = (
        stored.unionByName(seen.withColumn("has_content", f.lit(True)), allowMissingColumns=True)
        .unionByName(catalog_only, allowMissingColumns=True)
        .groupBy(*CATALOG_KEY)
        .agg(
            f.max_by(f.struct(*_KNOWN), f.when(f.col("has_content"), newness)).alias("known"),
            f.max_by(f.struct(*_CATALOG_FIELDS), f.when(f.col("has_catalog_row"), newness)).alias("stored_row"),
        )
    )
    known = [f.col(f"known.{name}").alias(f"known_{name}") for name in _KNOWN]
    return newest.select(*CATALOG_KEY, *known, "stored_row")


def _reader(schema: pa.Schema) -> Callable[[Place], Iterator[pa.RecordBatch]]:
    """Return the function with which a task reads one file.

    Args:
        schema: Columns to read. The last one is ingest_date, which comes from the file's path.
    """
    *names, _ingest_date = schema.names
    stored = schema.remove(len(names))

    def read(shard: Place) -> Iterator[pa.RecordBatch]:
        with read_errors_explained(shard):
            table = reading(shard, lambda file: pq.read_table(file, columns=names, schema=stored))
        day = pa.array([ingest_date_of(shard).isoformat()] * len(table), pa.string())
        yield from table.append_column("ingest_date", day).cast(schema).to_batches()

    return read


def changed_rows(catalog: DataFrame, known: DataFrame, *, base: Place) -> DataFrame:
    """Keep the catalog rows whose image may have changed, or whose text columns changed.

    An image may have changed unless a record with the same URI, size and modification time is stored.

    Args:
        catalog: Catalog rows, as `read_catalog` returns them.
        known: Stored records, as `known_images` returns them.
        base: Directory to which relative image_uris are relative.

    Returns:
        DataFrame of the columns of `catalog` and:
        `known_sha256`, `known_ingest_date`: Of the content that is stored already; null if there is none.
        `known_source_version`, `known_reason`: Of the stored record with the same image_uri; null if there is none.
        `to_read`: Whether the image may have changed and must be read.
        `catalog_row_changed`: Whether the catalog row of a stored image differs from the stored one.
    """
    from pyspark.sql.pandas.types import from_arrow_schema

    def compare(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = [
                {**row, "to_read": _may_have_changed(row, base), "catalog_row_changed": _catalog_row_changed(row)}
                for row in batch.to_pylist()
            ]
            rows = [row for row in rows if row["to_read"] or row["catalog_row_changed"]]
            columns = {name: [row[name] for row in rows] for name in (*CATALOG_COLUMNS, "fetch_uri")}
            stored = [row if row["known_reason"] is None else {} for row in rows]
            columns["known_sha256"] = [row.get("known_image_sha256") for row in stored]
            columns["known_ingest_date"] = [row.get("known_ingest_date") for row in stored]
            for name in ("source_version", "reason"):
                columns[f"known_{name}"] = [row[f"known_{name}"] if _same_link(row) else None for row in rows]
            columns |= {name: [row[name] for row in rows] for name in ("to_read", "catalog_row_changed")}
            yield pa.RecordBatch.from_pydict(columns, schema=_CHANGED)

    joined = catalog.join(known, on=list(CATALOG_KEY), how="left")
    return joined.mapInArrow(compare, from_arrow_schema(_CHANGED))


def _may_have_changed(row: Mapping[str, Any], base: Place) -> bool:
    """Return whether an image must be read or requested from its server; checks file metadata, never the content."""
    if not _same_link(row) or row["known_reason"] == "unreadable":
        return True
    if is_remote(row["image_uri"], base):
        # A catalog that is a table of stored links has no signatures to send; its stored images are good until then.
        return is_readable(row) or row["known_reason"] is not None
    status = file_status(link_to_read(row), base)
    return (status.size_bytes, status.mtime_ns) != (row["known_source_size_bytes"], row["known_source_mtime_ns"])


def _catalog_row_changed(row: Mapping[str, Any]) -> bool:
    """Return whether the catalog row of a stored image differs from the stored one."""
    return row["stored_row"] is not None and any(row["stored_row"][name] != row[name] for name in _CATALOG_FIELDS)


def _same_link(row: Mapping[str, Any]) -> bool:
    return bool(row["known_image_uri"] == row["image_uri"])


def spread_over_tasks(rows: DataFrame, tasks: int, *, tasks_per_host: int) -> DataFrame:
    """Spread the changed rows over tasks; at most `tasks_per_host` tasks have rows of the same web server."""
    from pyspark.sql import functions as f

    host = f.lower(f.regexp_extract("image_uri", r"(?i)^\s*https?://([^/?#]*)", 1))
    share = f.pmod(f.hash(*CATALOG_KEY), f.lit(tasks_per_host)).cast("string")
    local = host == ""
    key = (host, f.when(local, f.col("product_id")).otherwise(share), f.when(local, f.col("image_no")))
    # Sorted, so that a task that Spark retries writes the same files again: their names derive from their content.
    return rows.repartition(tasks, *key).sortWithinPartitions(*CATALOG_KEY)

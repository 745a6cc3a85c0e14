"""Compare a catalog with the stored dataset and select the rows that ingest must process.

The dataset is its own index. The newest row of each image under `images/` and `seen/` is the record of its content; the
newest row under `images/` and `catalog_rows/` is the record of its catalog row; the latest event of each catalog says
whether the catalog names the image. `jobs.dataset.schema` defines which row is the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.dataset.file_frames import frame_of_files
from jobs.dataset.partitions import partition_dates
from jobs.dataset.schema import CATALOG_COLUMNS, CATALOG_KEY, CATALOG_NULLABLE, CATALOG_ROWS, IMAGES, SEEN
from jobs.dataset.shards import highest_ingest_no, ingest_date_of, read_errors_explained, shards
from jobs.ingest.leaving import KeptProducts
from jobs.ingest.membership import CatalogNight, event_columns, names_it
from jobs.ingest.sources import file_status, is_readable, is_remote, link_to_read
from jobs.storage.places import Place, Places
from jobs.storage.stores import reading

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_SOURCE = ("source_size_bytes", "source_mtime_ns", "source_version")
_KNOWN = ("image_uri", "image_sha256", *_SOURCE, "reason", "ingest_date")
_TASKS_A_CORE = 2
_CATALOG_FIELDS = ("image_uri", *CATALOG_NULLABLE)
_CATALOG_TEXTS = tuple(name for name in _CATALOG_FIELDS if name != "image_uri")
_CONTENT = ("rejected", "unchanged")
"""Outcomes of rows under seen/ that record the content of an image."""
_COMPUTED = pa.schema(
    {
        "ingest_date": pa.string(),
        "mine": pa.int64(),
        "unnamed": pa.int64(),
        "has_content": pa.bool_(),
        "has_catalog_row": pa.bool_(),
    }
)
_EVENT = pa.struct([(name, pa.string()) for name in ("outcome", "catalog_name", "counts_from")])
_CHANGED = pa.schema(
    [pa.field(name, IMAGES.field(name).type) for name in CATALOG_COLUMNS]
    + [pa.field("fetch_uri", pa.string())]
    + [pa.field(f"known_{name}", pa.string()) for name in ("sha256", "ingest_date", "source_version", "reason")]
    + [pa.field(name, pa.bool_()) for name in ("in_catalog", "is_known", "to_read", "catalog_row_changed")]
    + [pa.field("events", pa.list_(_EVENT))]
)


def next_ingest_no(places: Places, day: date) -> int:
    """Number the ingest of the changed rows: one more than the highest ingest_no in the date's Parquet files, or 1."""
    files = (file for root in (places.images, places.seen, places.catalog_rows) for file in shards(root, [day]))
    return 1 + max((highest_ingest_no(file) for file in files), default=0)


def known_images(spark: SparkSession, places: Places, night: CatalogNight) -> DataFrame:
    """Return the newest stored record of each image as of an ingest date: one row per image.

    A missed night may be ingested after later ones. It is compared with the records up to its own date, so that
    ingesting it a second time finds nothing new. Records of later dates are used only for an image that has no record
    of this date or an earlier one.

    Args:
        spark: The Spark session.
        places: Directories of the dataset.
        night: The ingest date and the catalog.

    Returns:
        DataFrame of product_id, image_no, the `known_*` columns (of the newest stored content or rejection),
        `stored_row` (struct of the image's newest stored catalog row), and `mine` and `unnamed`, the latest events of
        the catalog and of '' (see `jobs.ingest.membership`).
    """
    from pyspark.sql import functions as f

    wanted = [*CATALOG_KEY, "image_uri", "image_sha256", *_SOURCE]
    tasks = _TASKS_A_CORE * spark.sparkContext.defaultParallelism

    def rows(root: Place, schema: pa.Schema, *more: str) -> DataFrame:
        fields = [field for field in schema if field.name in (*wanted, "ingest_no", *more)]
        kept = pa.schema([*fields, *_COMPUTED])
        files = shards(root, partition_dates(root, date.min, date.max))
        read = _reader(pa.schema(fields), kept, schema, night.catalog_name)
        return frame_of_files(spark, files, read, kept, tasks=tasks)

    stored = rows(places.images, IMAGES, *_CATALOG_TEXTS)
    seen = rows(places.seen, SEEN, "reason")
    catalog_only = rows(places.catalog_rows, CATALOG_ROWS, *_CATALOG_TEXTS)
    day = night.day.isoformat()
    newness = f.struct(f.col("ingest_date") <= day, "ingest_date", "ingest_no", "image_sha256")
    newest = (
        stored.unionByName(seen, allowMissingColumns=True)
        .unionByName(catalog_only, allowMissingColumns=True)
        .groupBy(*CATALOG_KEY)
        .agg(
            f.max_by(f.struct(*_KNOWN), f.when(f.col("has_content"), newness)).alias("known"),
            f.max_by(f.struct(*_CATALOG_FIELDS), f.when(f.col("has_catalog_row"), newness)).alias("stored_row"),
            f.max("mine").alias("mine"),
            f.max("unnamed").alias("unnamed"),
        )
    )
    known = [f.col(f"known.{name}").alias(f"known_{name}") for name in _KNOWN]
    return newest.select(*CATALOG_KEY, *known, "stored_row", "mine", "unnamed", f.lit(True).alias("is_known"))


def _reader(
    columns: pa.Schema, schema: pa.Schema, stored: pa.Schema, catalog_name: str
) -> Callable[[Place], Iterator[pa.RecordBatch]]:
    """Return the function with which a task reads one file.

    Args:
        columns: Columns of the result that are read as they are.
        schema: Columns of the result: these, and those of `_COMPUTED`.
        stored: Schema of the files.
        catalog_name: The catalog whose events are computed.
    """
    for_events = [name for name in ("catalog_name", "outcome", "counts_from") if name in stored.names]
    read_columns = pa.schema([*columns, *(stored.field(name) for name in for_events)])

    def read(shard: Place) -> Iterator[pa.RecordBatch]:
        with read_errors_explained(shard):
            table = reading(shard, lambda file: pq.read_table(file, columns=read_columns.names, schema=read_columns))
        day, count = ingest_date_of(shard), len(table)
        computed: dict[str, Any] = {"ingest_date": pa.array([day.isoformat()] * count, pa.string())}
        if for_events:
            computed |= event_columns(table, day, catalog_name)
        if "outcome" in for_events:
            computed["has_content"] = pc.is_in(table["outcome"], pa.array(_CONTENT))
        else:
            computed |= {"has_content": pa.scalar(bool(for_events)), "has_catalog_row": pa.scalar(True)}
        kept = table.select(columns.names)
        for field in _COMPUTED:
            value = computed.get(field.name)
            if not isinstance(value, pa.Array | pa.ChunkedArray):
                value = pa.repeat(pa.scalar(None if value is None else value.as_py(), field.type), count)
            kept = kept.append_column(field, value)
        yield from kept.cast(schema).to_batches()

    return read


def compared(catalog: DataFrame, known: DataFrame, night: CatalogNight) -> DataFrame:
    """Join a catalog with the stored records, and with those that it named before and does not name now.

    The rest of what is stored, of other catalogs, is dropped before it would reach a Python process.
    """
    from pyspark.sql import functions as f

    here = catalog.withColumn("in_catalog", f.lit(True))
    if not night.removes:
        return here.join(known, on=list(CATALOG_KEY), how="left")
    joined = here.join(known, on=list(CATALOG_KEY), how="full")
    return joined.where(f"in_catalog OR {night.named_before_sql}")


def changed_rows(rows: DataFrame, night: CatalogNight, *, base: Place, kept: KeptProducts) -> DataFrame:
    """Keep the rows whose image may have changed, whose text columns changed, or with an event to record.

    An image may have changed unless a record with the same URI, size and modification time is stored.

    Args:
        rows: Catalog rows with stored records, as `compared` returns them.
        night: The ingest date and the catalog.
        base: Directory to which relative image_uris are relative.
        kept: Counts the first images that the catalog named before and names now.

    Returns:
        DataFrame of the columns of the catalog and:
        `known_sha256`, `known_ingest_date`: Of the content that is stored already; null if there is none.
        `known_source_version`, `known_reason`: Of the stored record with the same image_uri; null if there is none.
        `in_catalog`: Whether the catalog names the image; else it left.
        `is_known`: Whether anything is stored of the position.
        `to_read`: Whether the image may have changed and must be read.
        `catalog_row_changed`: Whether the catalog row of a known image differs, or the image returns.
        `events`: Rows of `SEEN` to record beside the content, as `CatalogNight.events` returns them.
    """
    from pyspark.sql.pandas.types import from_arrow_schema

    def compare(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        first_images = 0
        for batch in batches:
            rows = batch.to_pylist()
            first = (row for row in rows if row["in_catalog"] and not row["image_no"])
            first_images += sum(map(night.named_before, first))
            yield _changed(rows, night, base)
        kept.add(first_images)

    return rows.mapInArrow(compare, from_arrow_schema(_CHANGED))


def _changed(rows: Iterable[Mapping[str, Any]], night: CatalogNight, base: Place) -> pa.RecordBatch:
    """Return those of some compared rows that must be processed."""
    columns: dict[str, list[Any]] = {name: [] for name in _CHANGED.names}
    for row in rows:
        named = bool(row["in_catalog"])
        to_read = named and _may_have_changed(row, base)
        events = night.events(row)
        row_changed = named and (_catalog_row_changed(row) or _returned(row, events))
        if not (to_read or row_changed or events):
            continue
        same_link, usable = _same_link(row), row["known_reason"] is None
        values = {
            **{name: row[name] for name in (*CATALOG_COLUMNS, "fetch_uri")},
            "image_uri": row["image_uri"] if named else row["known_image_uri"] or "",
            "known_sha256": row["known_image_sha256"] if usable else None,
            "known_ingest_date": row["known_ingest_date"] if usable else None,
            "known_source_version": row["known_source_version"] if same_link else None,
            "known_reason": row["known_reason"] if same_link else None,
            "in_catalog": named,
            "is_known": bool(row["is_known"]),
            "to_read": to_read,
            "catalog_row_changed": row_changed,
            "events": events,
        }
        for name, value in values.items():
            columns[name].append(value)
    return pa.RecordBatch.from_pydict(columns, schema=_CHANGED)


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
    """Return whether the catalog row of a known image differs from the stored one, or none is stored."""
    stored = row["stored_row"]
    if stored is None:
        return bool(row["is_known"])
    return any(stored[name] != row[name] for name in _CATALOG_FIELDS)


def _returned(row: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether a catalog names an image that it did not: publish may have deleted its row of `products`."""
    named_before = names_it(row["mine"]) or names_it(row["unnamed"])
    return not named_before and any(event["outcome"] == "named" for event in events)


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

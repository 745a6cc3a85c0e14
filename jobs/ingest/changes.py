"""What ingest knows of a catalog's images from its own files, and which rows it must look into.

The dataset is its own index: the newest row of each image under `images/` and `seen/` says what is known of it, and the
newest under `images/` and `catalog_rows/` what the catalog said of it; `jobs.dataset.schema` says which is the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.dataset.file_frames import frame_of_files
from jobs.dataset.schema import CATALOG_COLUMNS, CATALOG_ROWS, IMAGES, SEEN
from jobs.dataset.shards import check_columns, ingest_date_of, partition_dates, shards, sound
from jobs.ingest.sources import is_remote, look
from jobs.storage.places import Place, Places
from jobs.storage.stores import reading

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_SOURCE = ("source_size_bytes", "source_mtime_ns", "source_version")
_KNOWN = ("image_uri", "image_sha256", *_SOURCE, "reason", "ingest_date")
_TASKS_A_CORE = 2
_SAID = ("image_uri", "title", "category", "updated_at")
_CHANGED = pa.schema(
    [pa.field(name, pa.int32() if name == "image_no" else pa.string()) for name in CATALOG_COLUMNS]
    + [pa.field(f"known_{name}", pa.string()) for name in ("sha256", "ingest_date", "source_version", "reason")]
    + [pa.field("to_read", pa.bool_()), pa.field("says_more", pa.bool_())]
)
_SPARK_TYPES = {pa.int32(): "int", pa.bool_(): "boolean", pa.string(): "string"}


def next_ingest_no(places: Places, day: date) -> int:
    """Return the number of the next ingest of a date: one more than the highest in the footers of its files, or 1."""
    files = (file for root in (places.images, places.seen, places.catalog_rows) for file in shards(root, [day]))
    return 1 + max((_highest_ingest_no(file) for file in files), default=0)


def _highest_ingest_no(file: Place) -> int:
    with sound(file):
        footer = reading(file, pq.read_metadata)
    check_columns(file, footer.schema.names, ["ingest_no"])
    column = footer.schema.names.index("ingest_no")
    groups = (footer.row_group(i).column(column) for i in range(footer.num_row_groups))
    return max((int(group.statistics.max) for group in groups), default=0)


def known_images(spark: SparkSession, places: Places, day: date) -> DataFrame:
    """Return what is known of each image when a date is ingested: one row an image.

    A night that was missed and is ingested after later ones is compared with what was known on its own date, so that
    ingesting it once more finds nothing new. Only an image that no earlier date has is compared with later dates.

    Args:
        spark: The session.
        places: Where the dataset is.
        day: The ingest date.

    Returns:
        DataFrame of product_id, image_no, `known_*` (the newest content, or the rejection) and `said`, what the catalog
        said of it last.
    """
    from pyspark.sql import functions as f
    from pyspark.sql.pandas.types import from_arrow_schema

    wanted = ["product_id", "image_no", "image_uri", "image_sha256", *_SOURCE]
    tasks = _TASKS_A_CORE * spark.sparkContext.defaultParallelism

    def rows(root: Place, schema: pa.Schema, *more: str) -> DataFrame:
        fields = [field for field in schema if field.name in (*wanted, "ingest_no", *more)]
        kept = pa.schema([*fields, pa.field("ingest_date", pa.string())])
        files = shards(root, partition_dates(root, date.min, date.max))
        return frame_of_files(spark, files, _reader(kept), from_arrow_schema(kept), tasks=tasks)

    said = [name for name in _SAID if name not in wanted]
    stored = rows(places.images, IMAGES, *said).withColumn("read", f.lit(True)).withColumn("said", f.lit(True))
    seen = rows(places.seen, SEEN, "reason")
    heard = rows(places.catalog_rows, CATALOG_ROWS, *said).withColumn("said", f.lit(True))
    newness = f.struct(f.col("ingest_date") <= day.isoformat(), "ingest_date", "ingest_no", "image_sha256")
    newest = (
        stored.unionByName(seen.withColumn("read", f.lit(True)), allowMissingColumns=True)
        .unionByName(heard, allowMissingColumns=True)
        .groupBy("product_id", "image_no")
        .agg(
            f.max_by(f.struct(*_KNOWN), f.when(f.col("read"), newness)).alias("known"),
            f.max_by(f.struct(*_SAID), f.when(f.col("said"), newness)).alias("said"),
        )
    )
    known = [f.col(f"known.{name}").alias(f"known_{name}") for name in _KNOWN]
    return newest.select("product_id", "image_no", *known, "said")


def _reader(schema: pa.Schema) -> Callable[[Place], Iterator[pa.RecordBatch]]:
    """Return the function that reads these columns of a file in a task; the last one is the date in its path."""
    *names, _ingest_date = schema.names
    stored = schema.remove(len(names))

    def read(shard: Place) -> Iterator[pa.RecordBatch]:
        with sound(shard):
            table = reading(shard, lambda file: pq.read_table(file, columns=names, schema=stored))
        day = pa.array([ingest_date_of(shard).isoformat()] * len(table), pa.string())
        yield from table.append_column("ingest_date", day).cast(schema).to_batches()

    return read


def changed_rows(catalog: DataFrame, known: DataFrame, *, base: Place) -> DataFrame:
    """Keep the catalog's rows whose file is not known with this URI, size and modification time, or that say more.

    Args:
        catalog: As `read_catalog` returns it.
        known: As `known_images` returns it.
        base: Relative image_uris resolve against it.

    Returns:
        DataFrame of the catalog's columns; the content that is stored already, if any: `known_sha256` and
        `known_ingest_date`; and of what is known of this very link, `known_source_version` and `known_reason`. And
        `to_read`, that the image may have changed, and `says_more`, that the catalog's row of a stored image has.
    """

    def compare(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = [
                {**row, "to_read": _may_have_changed(row, base), "says_more": _says_more(row)}
                for row in batch.to_pylist()
            ]
            rows = [row for row in rows if row["to_read"] or row["says_more"]]
            columns = {name: [row[name] for row in rows] for name in CATALOG_COLUMNS}
            stored = [row if row["known_reason"] is None else {} for row in rows]
            columns["known_sha256"] = [row.get("known_image_sha256") for row in stored]
            columns["known_ingest_date"] = [row.get("known_ingest_date") for row in stored]
            for name in ("source_version", "reason"):
                columns[f"known_{name}"] = [row[f"known_{name}"] if _same_link(row) else None for row in rows]
            columns |= {name: [row[name] for row in rows] for name in ("to_read", "says_more")}
            yield pa.RecordBatch.from_pydict(columns, schema=_CHANGED)

    joined = catalog.join(known, on=["product_id", "image_no"], how="left")
    types = ", ".join(f"{field.name} {_SPARK_TYPES[field.type]}" for field in _CHANGED)
    return joined.mapInArrow(compare, types)


def _may_have_changed(row: Mapping[str, Any], base: Place) -> bool:
    """Say whether an image must be read or its server asked; looks at a directory entry, never at the content."""
    if not _same_link(row) or row["known_reason"] == "unreadable":
        return True
    if is_remote(row["image_uri"], base):
        return True
    found = look(row["image_uri"], base)
    return (found.size_bytes, found.mtime_ns) != (row["known_source_size_bytes"], row["known_source_mtime_ns"])


def _says_more(row: Mapping[str, Any]) -> bool:
    """Say whether the catalog's row of a stored image is another one than before."""
    return row["said"] is not None and any(row["said"][name] != row[name] for name in _SAID)


def _same_link(row: Mapping[str, Any]) -> bool:
    return bool(row["known_image_uri"] == row["image_uri"])


def parted(rows: DataFrame, tasks: int, *, askers: int) -> DataFrame:
    """Spread rows over tasks, so that at most `askers` of these have rows of the same web server."""
    from pyspark.sql import functions as f

    host = f.lower(f.regexp_extract("image_uri", r"(?i)^\s*https?://([^/?#]*)", 1))
    share = f.pmod(f.hash("product_id", "image_no"), f.lit(askers)).cast("string")
    local = host == ""
    key = (host, f.when(local, f.col("product_id")).otherwise(share), f.when(local, f.col("image_no")))
    # In order: a task that Spark starts again then makes the same files, whose names follow from what they hold.
    return rows.repartition(tasks, *key).sortWithinPartitions("product_id", "image_no")

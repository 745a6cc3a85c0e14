"""Bring what is new or changed in a catalog into the dataset.

    shelfwise ingest --catalog shop.csv --run-date 2026-11-01

Reads the catalog and the images that it names; writes images/ingest_date=D/ and seen/ingest_date=D/. The dataset is
its own index: what ingest knows is what these files say, and each file appears whole, so a killed ingest is simply
repeated. Size and modification time say which images to read; the SHA-256 of their bytes says which have changed.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.catalog import base_directory, read_catalog
from jobs.config import IngestConfig, Places
from jobs.images import Rejected, normalise, read_source, resolve_uri
from jobs.schema import CATALOG_COLUMNS, IMAGES, SEEN
from jobs.shards import ShardWriter, row_count, shards

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

ROWS_A_TASK = 4096
_KNOWN = ("image_uri", "image_sha256", "source_size_bytes", "source_mtime_ns", "reason", "ingest_date")
_CHANGED = pa.schema(
    [pa.field(name, pa.int32() if name == "image_no" else pa.string()) for name in CATALOG_COLUMNS]
    + [pa.field("known_sha256", pa.string()), pa.field("known_ingest_date", pa.string())]
)
_TASK_REPORT = "files long, stored long, unchanged long, rejected long, source_bytes long"


@dataclass(frozen=True)
class IngestSummary:
    """What one ingest did.

    Attributes:
        catalog_rows: Images that the catalog names.
        images_unchanged: Of these, not stored again: same size and time, or same bytes.
        images_stored: Read, verified and written by this ingest.
        images_rejected: Read and found unusable by this ingest.
        source_bytes: Bytes of the images read.
        seconds: Wall time without Spark's start.
    """

    catalog_rows: int
    images_unchanged: int
    images_stored: int
    images_rejected: int
    source_bytes: int
    seconds: float


@dataclass(frozen=True)
class Partition:
    """What one ingest date holds on disk.

    Attributes:
        images: Usable images.
        rejections: Rows of `SEEN` for unusable ones, those that were later stored on the same date left out.
        contents: For each (product_id, image_no) that was stored more than once on this date, the latest SHA-256.
    """

    images: int
    rejections: list[dict[str, Any]]
    contents: dict[tuple[str, int], str]

    @property
    def rejected_share(self) -> float:
        """Share of the date's new images that were rejected, in [0, 1]."""
        total = self.images + len(self.rejections)
        return len(self.rejections) / total if total else 0.0

    def rejected_by_reason(self) -> dict[str, int]:
        """Count the rejections, the most frequent reason first."""
        counts: dict[str, int] = {}
        for row in self.rejections:
            counts[row["reason"]] = counts.get(row["reason"], 0) + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def run(spark: SparkSession, config: IngestConfig) -> IngestSummary:
    """Ingest a catalog.

    Args:
        spark: A session whose tasks own one core each.
        config: What to read and where to write.

    Returns:
        What was done.

    Raises:
        UsageError: If the catalog cannot be used; nothing was written then.
    """
    started = time.perf_counter()
    scratch_dir = config.places.home / "scratch"
    catalog = read_catalog(spark, config.catalog, scratch_dir=scratch_dir, products=config.products)
    changed = changed_rows(catalog, known_images(spark, config), base=base_directory(config.catalog)).persist()
    total, to_read = catalog.count(), changed.count()
    log.info("%s images in the catalog, %s to read", total, to_read)
    done = {"stored": 0, "unchanged": 0, "rejected": 0, "source_bytes": 0}
    if to_read:
        tasks = max(spark.sparkContext.defaultParallelism, math.ceil(to_read / ROWS_A_TASK))
        reports = changed.repartition(tasks, "product_id", "image_no").mapInArrow(_task(config), _TASK_REPORT)
        for report in reports.collect():
            done = {name: count + report[name] for name, count in done.items()}
    catalog.unpersist()
    changed.unpersist()
    return IngestSummary(
        catalog_rows=total,
        images_unchanged=total - to_read + done["unchanged"],
        images_stored=done["stored"],
        images_rejected=done["rejected"],
        source_bytes=done["source_bytes"],
        seconds=round(time.perf_counter() - started, 3),
    )


def known_images(spark: SparkSession, config: IngestConfig) -> DataFrame:
    """Return the latest that is known of each image: one row for each (product_id, image_no)."""
    from pyspark.sql import functions as f
    from pyspark.sql.pandas.types import from_arrow_schema
    from pyspark.sql.types import StringType, StructField, StructType

    wanted = ["product_id", "image_no", "image_uri", "image_sha256", "source_size_bytes", "source_mtime_ns"]

    def rows(root: Path, schema: pa.Schema, *more: str) -> DataFrame:
        fields = [field for field in from_arrow_schema(schema) if field.name in (*wanted, "seen_at_utc", *more)]
        types = StructType([*fields, StructField("ingest_date", StringType())])
        files = [str(path) for path in root.glob("ingest_date=*")]
        if not files:
            return spark.createDataFrame([], types)
        return spark.read.schema(types).option("basePath", str(root)).parquet(*files)

    stored = rows(config.places.images, IMAGES).withColumn("reason", f.lit(None).cast("string"))
    seen = rows(config.places.seen, SEEN, "reason", "outcome").where("outcome != 'superseded'").drop("outcome")
    latest = (
        stored.unionByName(seen)
        .groupBy("product_id", "image_no")
        .agg(f.max_by(f.struct(*_KNOWN), "seen_at_utc").alias("known"))
    )
    return latest.select("product_id", "image_no", *[f.col(f"known.{name}").alias(f"known_{name}") for name in _KNOWN])


def changed_rows(catalog: DataFrame, known: DataFrame, *, base: Path) -> DataFrame:
    """Keep the catalog's rows whose file is not known with this URI, size and modification time.

    Args:
        catalog: As `read_catalog` returns it.
        known: As `known_images` returns it.
        base: Relative image_uris resolve against it.

    Returns:
        DataFrame of the catalog's columns and the content that is stored already, if any: `known_sha256` and
        `known_ingest_date`.
    """

    def compare(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = [row for row in batch.to_pylist() if _may_have_changed(row, base)]
            columns = {name: [row[name] for row in rows] for name in CATALOG_COLUMNS}
            stored = [row if row["known_reason"] is None else {} for row in rows]
            columns["known_sha256"] = [row.get("known_image_sha256") for row in stored]
            columns["known_ingest_date"] = [row.get("known_ingest_date") for row in stored]
            yield pa.RecordBatch.from_pydict(columns, schema=_CHANGED)

    joined = catalog.join(known, on=["product_id", "image_no"], how="left")
    types = ", ".join(f"{field.name} {'int' if pa.types.is_integer(field.type) else 'string'}" for field in _CHANGED)
    return joined.mapInArrow(compare, types)


def _may_have_changed(row: Mapping[str, Any], base: Path) -> bool:
    """Say whether an image must be read; a look at the directory entry, never at the content."""
    if row["known_image_uri"] != row["image_uri"] or row["known_reason"] == "unreadable":
        return True
    return _stat(row["image_uri"], base) != (row["known_source_size_bytes"], row["known_source_mtime_ns"])


def _stat(image_uri: str, base: Path) -> tuple[int | None, int | None]:
    try:
        found = resolve_uri(image_uri, base).stat()
    except (Rejected, OSError, ValueError):
        return None, None
    return found.st_size, found.st_mtime_ns


def _task(config: IngestConfig) -> Any:
    """Return the function that Spark runs on each part of the changed rows."""
    base = base_directory(config.catalog)

    def process(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        report = read_and_store((row for batch in batches for row in batch.to_pylist()), config, base=base)
        yield pa.RecordBatch.from_pylist([report])

    return process


def read_and_store(rows: Iterator[Mapping[str, Any]], config: IngestConfig, *, base: Path) -> dict[str, int]:
    """Read, verify, normalise and write images; the same with and without Spark.

    Args:
        rows: As `changed_rows` gives them.
        config: Where to write.
        base: Relative image_uris resolve against it.

    Returns:
        Counts: files, stored, unchanged, rejected, source_bytes.
    """
    places, day = config.places, config.ingest_date
    images = ShardWriter(places.partition(places.images, day), IMAGES, shard_bytes=config.shard_bytes)
    seen = ShardWriter(places.partition(places.seen, day), SEEN, shard_bytes=config.shard_bytes)
    counts = {"files": 0, "stored": 0, "unchanged": 0, "rejected": 0, "source_bytes": 0}
    for row in rows:
        size, mtime = _stat(row["image_uri"], base)
        source: dict[str, Any] = {"source_size_bytes": size, "source_mtime_ns": mtime, "image_sha256": None}
        source |= {"seen_at_utc": datetime.now(UTC), "reason": None, "detail": None}
        try:
            data = read_source(resolve_uri(row["image_uri"], base))
            counts["source_bytes"] += len(data)
            source["image_sha256"] = hashlib.sha256(data).hexdigest()
            if source["image_sha256"] == row["known_sha256"]:
                seen.add({**row, **source, "outcome": "unchanged"})
                counts["unchanged"] += 1
                continue
            image = normalise(data)
        except Rejected as rejection:
            rejected = {"outcome": "rejected", "reason": rejection.reason, "detail": rejection.detail}
            seen.add({**row, **source, **rejected})
            counts["rejected"] += 1
            continue
        if row["known_ingest_date"] == day.isoformat():  # the date holds an older content of the same image
            seen.add({**row, **source, "image_sha256": row["known_sha256"], "outcome": "superseded"})
        images.add({**row, **source, "width_px": image.width_px, "height_px": image.height_px, "jpeg": image.jpeg})
        counts["stored"] += 1
    images.flush()
    seen.flush()
    counts["files"] = images.files + seen.files
    return counts


def partition(places: Places, day: date) -> Partition:
    """Look at what one ingest date holds on disk.

    Args:
        places: Where state lives.
        day: The ingest date.

    Returns:
        Its usable images counted, its rejections listed.
    """
    rejected: dict[tuple[str, int], dict[str, Any]] = {}
    superseded: dict[tuple[str, int], dict[str, Any]] = {}
    for path in shards(places.seen, [day]):
        for row in pq.read_table(path).to_pylist():
            if row["outcome"] == "rejected":
                _keep_latest(rejected, row)
            elif row["outcome"] == "superseded":
                superseded[row["product_id"], row["image_no"]] = row
    stored: dict[tuple[str, int], dict[str, Any]] = {}
    interesting = rejected.keys() | superseded.keys()
    files = shards(places.images, [day])
    for path in files if rejected or superseded else []:
        for row in pq.read_table(path, columns=["product_id", "image_no", "image_sha256", "seen_at_utc"]).to_pylist():
            if (row["product_id"], row["image_no"]) in interesting:
                _keep_latest(stored, row)
    return Partition(
        images=row_count(files),
        rejections=[
            row for key, row in rejected.items() if key not in stored or stored[key]["seen_at_utc"] < row["seen_at_utc"]
        ],
        contents={key: stored[key]["image_sha256"] for key in superseded if key in stored},
    )


def _keep_latest(rows: dict[tuple[str, int], dict[str, Any]], row: dict[str, Any]) -> None:
    key = (row["product_id"], row["image_no"])
    if key not in rows or rows[key]["seen_at_utc"] < row["seen_at_utc"]:
        rows[key] = row

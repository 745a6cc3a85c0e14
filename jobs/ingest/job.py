"""The ingest job: add the new and changed images of a catalog to the dataset.

    shelfwise ingest --catalog shop.csv --run-date 2026-11-01

Reads the catalog and its images. Writes the partition ingest_date=D of images/, seen/ and catalog_rows/. The dataset is
its own index: ingest keeps no state but these files, and writes each file atomically, so a killed ingest is simply run
again. An image is read if its size or modification time differs from the stored record; it has changed if the SHA-256
of its bytes differs.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from jobs.dataset.label_findings import log_unmapped
from jobs.dataset.schema import CATALOG_ROWS, IMAGES, SEEN
from jobs.dataset.shards import ShardWriter
from jobs.images.normalise import Rejected, normalise
from jobs.ingest.catalog import base_directory, read_catalog
from jobs.ingest.changes import changed_rows, known_images, next_ingest_no, spread_over_tasks
from jobs.ingest.config import IngestConfig
from jobs.ingest.sources import Source, SourceReader, is_remote
from jobs.storage.places import Place

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from jobs.dataset.label_map import LabelMap

log = logging.getLogger(__name__)

ROWS_A_TASK = 4096
_TASK_REPORT = "files long, stored long, unchanged long, rejected long, source_bytes long"


@dataclass(frozen=True)
class IngestSummary:
    """Counts of one ingest job: rows, stored, unchanged and rejected images, seconds.

    Attributes:
        catalog_rows: Images in the catalog.
        images_unchanged: Images of the catalog that were not stored again: same size and modification time, same
            version on the server, or same bytes.
        images_stored: Images that this ingest read, verified and wrote.
        images_rejected: Images that this ingest read and found unusable.
        source_bytes: Total size of the source images that were read, in bytes.
        seconds: Wall time in seconds, without the start of Spark.
    """

    catalog_rows: int
    images_unchanged: int
    images_stored: int
    images_rejected: int
    source_bytes: int
    seconds: float


def run(spark: SparkSession, config: IngestConfig) -> IngestSummary:
    """Run the ingest job: read the catalog, select the changed rows, and store their images in Spark tasks.

    Args:
        spark: Spark session in which each task uses one core.
        config: Catalog to read and dataset to write.

    Returns:
        Counts of the ingest.

    Raises:
        UsageError: If the catalog is missing or invalid; nothing has been written then.
    """
    started = time.perf_counter()
    context = spark.sparkContext
    context.setJobDescription(f"ingest {config.ingest_date}: read the catalog")
    catalog = read_catalog(spark, config.catalog, products=config.products, description=config.description)
    if config.labels:
        _log_unmapped(catalog, config.labels)
    known = known_images(spark, config.places, config.ingest_date)
    changed = changed_rows(catalog, known, base=base_directory(config.catalog)).persist()
    context.setJobDescription(f"ingest {config.ingest_date}: compare the catalog with what is known")
    total, to_read = catalog.count(), changed.count()
    log.info("%s images in the catalog, %s to look into", total, to_read)
    done = {"stored": 0, "unchanged": 0, "rejected": 0, "source_bytes": 0}
    if to_read:
        context.setJobDescription(f"ingest {config.ingest_date}: read, verify and store {to_read} images")
        parallelism = context.defaultParallelism
        tasks = max(parallelism, math.ceil(to_read / ROWS_A_TASK))
        tasks_per_host = min(parallelism, config.http.per_host)
        process = _task(replace(config, labels=None), tasks_per_host, next_ingest_no(config.places, config.ingest_date))
        rows = spread_over_tasks(changed, tasks, tasks_per_host=tasks_per_host)
        reports = rows.mapInArrow(process, _TASK_REPORT)
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


def _log_unmapped(catalog: DataFrame, labels: LabelMap) -> None:
    """Log which texts of the column `category` the label map does not have, with the numbers of their rows."""
    counts = catalog.where("trim(category) <> ''").groupBy("category").count().toLocalIterator()
    log_unmapped(
        {row["category"]: row["count"] for row in counts if labels.category(row["category"]) is None},
        labels.name,
        of="rows of the catalog",
    )


def _task(config: IngestConfig, tasks_per_host: int, ingest_no: int) -> Any:
    """Return the function that Spark runs on each partition of the changed rows."""
    base = base_directory(config.catalog)

    def process(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows = (row for batch in batches for row in batch.to_pylist())
        counts = read_and_store(rows, config, base=base, tasks_per_host=tasks_per_host, ingest_no=ingest_no)
        yield pa.RecordBatch.from_pylist([counts])

    return process


def read_and_store(
    rows: Iterator[Mapping[str, Any]], config: IngestConfig, *, base: Place, tasks_per_host: int = 1, ingest_no: int = 1
) -> dict[str, int]:
    """Ingest some rows in a task: read, verify, normalise and write their images; works without Spark too.

    Args:
        rows: Catalog rows, as `changed_rows` returns them.
        config: Dataset to write and limits for web servers.
        base: Directory to which relative image_uris are relative.
        tasks_per_host: Tasks that may send requests to the same web server at a time, this one included.
        ingest_no: Number of this ingest among those of its date, as `next_ingest_no` returns it.

    Returns:
        Counts of `files` written, of images `stored`, `unchanged` and `rejected`, and `source_bytes` read.
    """
    places, day = config.places, config.ingest_date
    images = ShardWriter(places.partition(places.images, day), IMAGES, shard_bytes=config.shard_bytes)
    seen = ShardWriter(places.partition(places.seen, day), SEEN, shard_bytes=config.shard_bytes)
    catalog_rows = ShardWriter(places.partition(places.catalog_rows, day), CATALOG_ROWS, shard_bytes=config.shard_bytes)
    counts = {"files": 0, "stored": 0, "unchanged": 0, "rejected": 0, "source_bytes": 0}
    reader = SourceReader(base, config.http, home=places.home, tasks=tasks_per_host)
    numbered = ({**row, "ingest_no": ingest_no} for row in rows)
    for row, source in reader.read(_to_read(numbered, catalog_rows, counts)):
        record = _record(source)
        try:
            if source.rejection is not None:
                raise source.rejection
            if source.data is None:  # the server answered that the image has not changed: there is nothing to record
                counts["unchanged"] += 1
                continue
            counts["source_bytes"] += len(source.data)
            record["image_sha256"] = hashlib.sha256(source.data).hexdigest()
            if record["image_sha256"] == row["known_sha256"]:
                if not is_remote(row["image_uri"], base) or source.version != row["known_source_version"]:
                    seen.add({**row, **record, "outcome": "unchanged"})
                counts["unchanged"] += 1
                continue
            image = normalise(source.data)
        except Rejected as rejection:
            if is_remote(row["image_uri"], base) and rejection.reason == row["known_reason"]:
                counts["unchanged"] += 1  # a link that fails as before is not recorded again every night
                continue
            rejected = {"outcome": "rejected", "reason": rejection.reason, "detail": rejection.detail}
            seen.add({**row, **record, **rejected})
            counts["rejected"] += 1
            continue
        images.add({**row, **record, "width_px": image.width_px, "height_px": image.height_px, "jpeg": image.jpeg})
        counts["stored"] += 1
    images.flush()
    seen.flush()
    catalog_rows.flush()
    counts["files"] = images.files + seen.files + catalog_rows.files
    return counts


def _to_read(
    rows: Iterator[Mapping[str, Any]], catalog_rows: ShardWriter, counts: dict[str, int]
) -> Iterator[Mapping[str, Any]]:
    """Yield the rows whose image must be read; store the changed catalog rows and count unchanged images on the way."""
    for row in rows:
        if row["catalog_row_changed"]:
            catalog_rows.add(row)
        if row["to_read"]:
            yield row
        else:
            counts["unchanged"] += 1


def _record(source: Source) -> dict[str, Any]:
    """Return the columns that record the source, the time of reading and (to be filled in) the outcome."""
    return {
        "source_size_bytes": source.size_bytes,
        "source_mtime_ns": source.mtime_ns,
        "source_version": source.version,
        "image_sha256": None,
        "seen_at_utc": datetime.now(UTC),
        "reason": None,
        "detail": None,
    }

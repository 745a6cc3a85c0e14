"""Bring what is new or changed in a catalog into the dataset.

    shelfwise ingest --catalog shop.csv --run-date 2026-11-01

Reads the catalog and the images that it names; writes images/, seen/ and catalog_rows/ingest_date=D/. The dataset is
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
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from jobs.dataset.schema import CATALOG_ROWS, IMAGES, SEEN
from jobs.dataset.shards import ShardWriter
from jobs.images.normalise import Rejected, normalise
from jobs.ingest.catalog import base_directory, read_catalog
from jobs.ingest.changes import changed_rows, known_images, next_ingest_no, parted
from jobs.ingest.config import IngestConfig
from jobs.ingest.sources import Source, SourceReader, is_remote
from jobs.storage.places import Place

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


log = logging.getLogger(__name__)


ROWS_A_TASK = 4096
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
    context = spark.sparkContext
    context.setJobDescription(f"ingest {config.ingest_date}: read the catalog")
    catalog = read_catalog(spark, config.catalog, products=config.products)
    known = known_images(spark, config.places, config.ingest_date)
    changed = changed_rows(catalog, known, base=base_directory(config.catalog)).persist()
    context.setJobDescription(f"ingest {config.ingest_date}: compare the catalog with what is known")
    total, to_read = catalog.count(), changed.count()
    log.info("%s images in the catalog, %s to look into", total, to_read)
    done = {"stored": 0, "unchanged": 0, "rejected": 0, "source_bytes": 0}
    if to_read:
        context.setJobDescription(f"ingest {config.ingest_date}: read, verify and store {to_read} images")
        at_once = context.defaultParallelism
        tasks = max(at_once, math.ceil(to_read / ROWS_A_TASK))
        askers = min(at_once, config.http.per_host)
        process = _task(config, askers, next_ingest_no(config.places, config.ingest_date))
        reports = parted(changed, tasks, askers=askers).mapInArrow(process, _TASK_REPORT)
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


def _task(config: IngestConfig, askers: int, ingest_no: int) -> Any:
    """Return the function that Spark runs on each part of the changed rows."""
    base = base_directory(config.catalog)

    def process(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows = (row for batch in batches for row in batch.to_pylist())
        yield pa.RecordBatch.from_pylist([read_and_store(rows, config, base=base, askers=askers, ingest_no=ingest_no)])

    return process


def read_and_store(
    rows: Iterator[Mapping[str, Any]], config: IngestConfig, *, base: Place, askers: int = 1, ingest_no: int = 1
) -> dict[str, int]:
    """Read, verify, normalise and write images; the same with and without Spark.

    Args:
        rows: As `changed_rows` gives them.
        config: Where to write.
        base: Relative image_uris resolve against it.
        askers: Tasks that may ask the same web server at a time.
        ingest_no: Number of this ingest among those of its date, as `next_ingest_no` gives it.

    Returns:
        Counts: files, stored, unchanged, rejected, source_bytes.
    """
    places, day = config.places, config.ingest_date
    images = ShardWriter(places.partition(places.images, day), IMAGES, shard_bytes=config.shard_bytes)
    seen = ShardWriter(places.partition(places.seen, day), SEEN, shard_bytes=config.shard_bytes)
    heard = ShardWriter(places.partition(places.catalog_rows, day), CATALOG_ROWS, shard_bytes=config.shard_bytes)
    counts = {"files": 0, "stored": 0, "unchanged": 0, "rejected": 0, "source_bytes": 0}
    reader = SourceReader(base, config.http, home=places.home, tasks=askers)
    numbered = ({**row, "ingest_no": ingest_no} for row in rows)
    for row, source in reader.read(_to_read(numbered, heard, counts)):
        known = _as_seen(source)
        try:
            if source.rejection is not None:
                raise source.rejection
            if source.data is None:  # the server says that nothing has changed, so there is nothing new to remember
                counts["unchanged"] += 1
                continue
            counts["source_bytes"] += len(source.data)
            known["image_sha256"] = hashlib.sha256(source.data).hexdigest()
            if known["image_sha256"] == row["known_sha256"]:
                if not is_remote(row["image_uri"], base) or source.version != row["known_source_version"]:
                    seen.add({**row, **known, "outcome": "unchanged"})
                counts["unchanged"] += 1
                continue
            image = normalise(source.data)
        except Rejected as rejection:
            if is_remote(row["image_uri"], base) and rejection.reason == row["known_reason"]:
                counts["unchanged"] += 1  # a link that stays dead is no news every night
                continue
            rejected = {"outcome": "rejected", "reason": rejection.reason, "detail": rejection.detail}
            seen.add({**row, **known, **rejected})
            counts["rejected"] += 1
            continue
        images.add({**row, **known, "width_px": image.width_px, "height_px": image.height_px, "jpeg": image.jpeg})
        counts["stored"] += 1
    images.flush()
    seen.flush()
    heard.flush()
    counts["files"] = images.files + seen.files + heard.files
    return counts


def _to_read(
    rows: Iterator[Mapping[str, Any]], heard: ShardWriter, counts: dict[str, int]
) -> Iterator[Mapping[str, Any]]:
    """Give on the rows whose image must be read, and keep what the catalog says anew of stored images."""
    for row in rows:
        if row["says_more"]:
            heard.add(row)
        if row["to_read"]:
            yield row
        else:
            counts["unchanged"] += 1


def _as_seen(source: Source) -> dict[str, Any]:
    """Return the columns that say what was read and when."""
    found = {"source_size_bytes": source.size_bytes, "source_mtime_ns": source.mtime_ns}
    return {
        **found,
        "source_version": source.version,
        "image_sha256": None,
        "seen_at_utc": datetime.now(UTC),
        "reason": None,
        "detail": None,
    }

"""The ingest job: add the new and changed images of a catalog to the dataset.

    shelfwise ingest --catalog shop.csv --run-date 2026-11-01

Reads the catalog and its images. Writes the partition ingest_date=D of images/, seen/, catalog_rows/ and, for a full
catalog, catalogs/. The dataset is its own index: ingest keeps no state but these files, and writes each file
atomically, so a killed ingest is simply run again. An image is read if its size or modification time differs from the
stored record; it has changed if the SHA-256 of its bytes differs. What a full catalog no longer names has left.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from jobs.dataset.label_findings import log_unmapped
from jobs.ingest.catalog import base_directory, read_catalog
from jobs.ingest.changes import changed_rows, compared, known_images, next_ingest_no, spread_over_tasks
from jobs.ingest.config import IngestConfig
from jobs.ingest.former_pictures import with_former_pictures
from jobs.ingest.full_catalogs import full_catalog_names, keep_full_catalog, next_full_night, was_read_in_full
from jobs.ingest.leaving import KeptProducts, check_left, count_left
from jobs.ingest.membership import CatalogNight
from jobs.ingest.task import COUNTS, read_and_store

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from jobs.dataset.label_map import LabelMap

log = logging.getLogger(__name__)

ROWS_A_TASK = 4096


@dataclass(frozen=True)
class IngestSummary:
    """Counts of one ingest job: rows, stored, unchanged, rejected, named and left images, seconds.

    Attributes:
        catalog_rows: Images in the catalog.
        images_unchanged: Images of the catalog that were not stored again: same size and modification time, same
            version on the server, or bytes that the product has had before.
        images_stored: Images that this ingest read, verified and wrote.
        images_rejected: Images that this ingest read and found unusable.
        source_bytes: Total size of the source images that were read, in bytes.
        seconds: Wall time in seconds, without the start of Spark.
        catalog_name: Name under which products remember the catalog.
        images_named: Known images that the catalog names again, or for the first time; of a catalog that names changes
            only, all known images that it names.
        images_left: Images that the catalog named before and does not name now.
        products_left: Products of these of which it names no image now.
    """

    catalog_rows: int
    images_unchanged: int
    images_stored: int
    images_rejected: int
    source_bytes: int
    seconds: float
    catalog_name: str = ""
    images_named: int = 0
    images_left: int = 0
    products_left: int = 0


def run(spark: SparkSession, config: IngestConfig) -> IngestSummary:
    """Run the ingest job: read the catalog, select the changed rows, and store their images in Spark tasks.

    Args:
        spark: Spark session in which each task uses one core.
        config: Catalog to read and dataset to write.

    Returns:
        Counts of the ingest.

    Raises:
        UsageError: If the catalog is missing or invalid; nothing has been written then.
        RunRefused: If a full catalog lacks too many of its former products; nothing has been written then.
    """
    started = time.perf_counter()
    context, places = spark.sparkContext, config.places
    night = _night(config)
    context.setJobDescription(f"ingest {config.ingest_date}: read the catalog")
    catalog = read_catalog(spark, config.catalog, products=config.products, description=config.description)
    if config.labels:
        _log_unmapped(catalog, config.labels)
    kept = KeptProducts(spark)
    rows = compared(catalog, known_images(spark, places, night), night)
    changed = changed_rows(rows, night, base=base_directory(config.catalog), kept=kept).persist()
    context.setJobDescription(f"ingest {config.ingest_date}: compare the catalog with what is known")
    total, todo = catalog.count(), _count(changed)
    log.info("%s images in the catalog, %s to look into, %s left", total, todo["named_rows"], todo["left"])
    _warn_of_new_name(config, todo["named"], total)
    left = count_left(changed, catalog, todo["left"])
    check_left(left, rows, night, config, kept)
    done = dict.fromkeys(COUNTS, 0)
    if todo["rows"]:
        context.setJobDescription(f"ingest {config.ingest_date}: read, verify and store {todo['to_read']} images")
        if todo["to_read"]:
            changed = with_former_pictures(spark, changed, places)
        done = _store(changed, todo["rows"], config)
    if not config.partial:
        keep_full_catalog(places, config.ingest_date, night.catalog_name)
    catalog.unpersist()
    changed.unpersist()
    return IngestSummary(
        catalog_name=night.catalog_name,
        catalog_rows=total,
        images_unchanged=total - todo["named_rows"] + done["unchanged"],
        images_stored=done["stored"],
        images_rejected=done["rejected"],
        images_named=todo["named"],
        images_left=left.images,
        products_left=left.products,
        source_bytes=done["source_bytes"],
        seconds=round(time.perf_counter() - started, 3),
    )


def _night(config: IngestConfig) -> CatalogNight:
    """Return the night of an ingest, and log what is unusual about it."""
    name = config.name
    later = next_full_night(config.places, config.ingest_date, name)
    if later is not None:
        log.info("catalog %r was read in full for %s already, so nothing leaves on %s", name, later, config.ingest_date)
    if config.partial and not was_read_in_full(config.places, name):
        log.warning(
            "catalog %r names changes only and was never read in full; give it the name of its full catalog with "
            "--catalog-name: %s",
            name,
            ", ".join(map(repr, full_catalog_names(config.places))) or "none was read in full yet",
        )
    return CatalogNight(name, config.ingest_date, config.partial, later)


def _warn_of_new_name(config: IngestConfig, named: int, total: int) -> None:
    """Log a warning if a full catalog of a new name has mostly images that other catalogs have named.

    Its name may have a part that changes every night; then each night is another catalog, and nothing ever leaves.

    Args:
        config: The catalog; before it is recorded as read.
        named: Its images that were known and that it has not named before.
        total: All its images.
    """
    if config.partial or 2 * named <= total or was_read_in_full(config.places, config.name):
        return
    if others := full_catalog_names(config.places):  # none where the files are from before catalogs had names
        log.warning(
            "catalog %r is read in full for the first time, and %s of its %s images are known from other catalogs: if "
            "it is one of these with a new date or number in its name, stop and give it that catalog's name with "
            "--catalog-name, or nothing leaves any more: %s",
            config.name,
            named,
            total,
            ", ".join(map(repr, others)),
        )


def _count(changed: DataFrame) -> dict[str, int]:
    """Count the changed rows: all, those in the catalog, those to read, those that it names again, and what left."""
    from pyspark.sql import functions as f

    outcome_named = f.exists("events", lambda event: event["outcome"] == "named")
    counts = {
        "rows": f.count("*"),
        "named_rows": f.count_if("in_catalog"),
        "to_read": f.count_if("to_read"),
        "named": f.count_if(outcome_named),
        "left": f.count_if(~f.col("in_catalog")),
    }
    return dict(changed.agg(*(count.alias(name) for name, count in counts.items())).collect()[0].asDict())


def _store(changed: DataFrame, count: int, config: IngestConfig) -> dict[str, int]:
    """Read the images of the changed rows and record their events, in Spark tasks; return the counts of all tasks."""
    parallelism = changed.sparkSession.sparkContext.defaultParallelism
    tasks = max(parallelism, math.ceil(count / ROWS_A_TASK))
    tasks_per_host = min(parallelism, config.http.per_host)
    process = _task(replace(config, labels=None), tasks_per_host, next_ingest_no(config.places, config.ingest_date))
    spread = spread_over_tasks(changed, tasks, tasks_per_host=tasks_per_host)
    done = dict.fromkeys(COUNTS, 0)
    for report in spread.mapInArrow(process, ", ".join(f"{name} long" for name in COUNTS)).collect():
        done = {name: number + report[name] for name, number in done.items()}
    return done


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

"""Write a run's predictions and rejections to the product database, in one transaction.

    shelfwise publish --run-date 2026-11-01

Reads predictions/run_id=R/, the run's rejections and the changed catalog rows; writes the tables of `sql.schema`. A run
is refused if some of its shards are not predicted, or were predicted by another release. Publishing a run again changes
no row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq

from jobs.dataset.partitions import partition
from jobs.dataset.shards import check_columns, ingest_date_of, shards, sound, whole_table
from jobs.errors import PREDICT_AGAIN, RunFailed
from jobs.predict.config import PredictConfig
from jobs.predict.job import finished, prediction_file
from jobs.predict.selection import of_run
from jobs.releases.records import category_records, decider, manifest_of, release_record
from jobs.runs.config import RunConfig
from jobs.storage.places import Place, Places
from jobs.storage.stores import modified_at, on_disk
from models.release import Release
from sql.records import (
    PREDICTION_COLUMNS,
    PRODUCT_COLUMNS,
    REJECTION_COLUMNS,
    PublishCounts,
    RunRecord,
)

if TYPE_CHECKING:
    from sql.store import ProductDatabase

Batch = list[tuple[Any, ...]]

_BATCH_ROWS = 10_000


@dataclass(frozen=True)
class RunFiles:
    """The files of a run, complete and predicted by one release.

    Attributes:
        predictions: Prediction files, one per shard.
        rejections: Rows of `jobs.dataset.schema.SEEN` with their `ingest_date`, from ingest.
        catalog_rows: Files of the run's dates with changed catalog rows of stored images.
        images: Number of images that the run predicts.
    """

    predictions: tuple[Place, ...]
    rejections: tuple[Mapping[str, Any], ...]
    catalog_rows: tuple[Place, ...]
    images: int


def collect(config: PredictConfig, release: Release, *, with_rejections: bool) -> RunFiles:
    """Find a run's files and check that none is missing.

    Args:
        config: Configuration that the run was predicted with.
        release: Release that must have predicted every file.
        with_rejections: Whether to include the images that ingest rejected on these dates, as for a night.

    Returns:
        The files.

    Raises:
        RunFailed: If a shard is not predicted by this release; the message contains the number and the command to run.
    """
    every = of_run(config)
    missing = [chosen for chosen in every if not finished(config, chosen, release.release_id)]
    if missing:
        raise RunFailed(
            f"{len(missing)} of {len(every)} shards of run {config.run_id} are not predicted by release "
            f"{release.release_id}; run the same command again, or `shelfwise predict` for its dates first"
        )
    rejections: list[Mapping[str, Any]] = []
    for day in config.dates if with_rejections else ():
        rejections += [{**row, "ingest_date": day} for row in partition(config.places, day).rejections]
    files = tuple(prediction_file(config, chosen.shard) for chosen in every)
    images = sum(chosen.images for chosen in every)
    return RunFiles(
        predictions=files,
        rejections=tuple(rejections),
        catalog_rows=tuple(shards(config.places.catalog_rows, config.dates)),
        images=images,
    )


def check_rejected(places: Places, run: RunConfig) -> None:
    """Stop a night if too many of its images were rejected.

    Args:
        places: Directories and stores of the home.
        run: The night, with the largest share that may be rejected.

    Raises:
        RunFailed: If the share is larger; the message contains the counts by reason and the remedy.
    """
    ingested = partition(places, run.run_date)
    if ingested.rejected_share <= run.max_rejected:
        return
    rejected, total = len(ingested.rejections), ingested.images + len(ingested.rejections)
    reasons = ", ".join(f"{count} {reason}" for reason, count in ingested.rejected_by_reason().items())
    raise RunFailed(
        f"{rejected} of {total} new images ({rejected / total:.0%}) were rejected, more than the "
        f"{run.max_rejected:.0%} that --max-rejected allows: {reasons}; nothing was published, mend the catalog "
        f"or raise --max-rejected and run {run.run_date} again"
    )


def run(
    database: ProductDatabase,
    files: RunFiles,
    release: Release,
    run_config: RunConfig,
    *,
    started_at_utc: datetime,
    seconds: Mapping[str, float],
    summary: Mapping[str, Any],
    fill_products: bool = True,
    token: str | None = None,
) -> PublishCounts:
    """Publish a run.

    Args:
        database: Migrated database.
        files: Files of the run, from `collect`.
        release: Release that made the predictions.
        run_config: The run.
        started_at_utc: Start of the run, used if its row has none yet.
        seconds: Seconds by step, added to those in the run's row.
        summary: Reports by step, added to the summary in the run's row.
        fill_products: Whether to write the catalog rows to the table `products`; False if the shop maintains its own
            table.
        token: Token of the claim on the run; None if the driver has no claim.

    Returns:
        The numbers of rows written.
    """
    record = RunRecord(
        run_id=run_config.run_id,
        kind=run_config.kind,
        run_date=run_config.run_date,
        release_id=release.release_id,
        started_at_utc=started_at_utc,
        counts={"images": files.images, "rejected": len(files.rejections)},
        seconds=seconds,
        summary=summary,
    )
    return database.publish(
        record,
        predictions=prediction_rows(files),
        rejections=_rejections(files),
        products=product_rows(files) if fill_products else (),
        categories=category_records(release),
        release=release_record(release),
        combine=decider(manifest_of(release)),
        force=run_config.force,
        token=token,
    )


def prediction_rows(files: RunFiles) -> Iterator[Batch]:
    """Stream a run's predictions in batches of rows, with the columns in the order of `PREDICTION_COLUMNS`."""
    return _rows(files, PREDICTION_COLUMNS, answered_only=True)


def _rows(files: RunFiles, columns: Sequence[str], *, answered_only: bool) -> Iterator[Batch]:
    """Stream rows of prediction files, at most `_BATCH_ROWS` per batch; `answered_only` skips failed images."""
    wanted = ds.field("reason").is_null() if answered_only else None
    for path in files.predictions:
        with on_disk(path) as local, sound(path, PREDICT_AGAIN):
            scanner = ds.dataset(local).scanner(columns=list(columns), filter=wanted, batch_size=_BATCH_ROWS)
            for batch in scanner.to_batches():
                yield list(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def product_rows(files: RunFiles) -> Iterator[Batch]:
    """Yield the catalog rows of predicted images, then the changed catalog rows of images stored before."""
    yield from _rows(files, PRODUCT_COLUMNS, answered_only=False)
    for path in files.catalog_rows:
        partition_column = {"ingest_date": ingest_date_of(path)}
        with on_disk(path) as local, sound(path):
            rows = ds.dataset(local)
            check_columns(path, [*rows.schema.names, *partition_column], PRODUCT_COLUMNS)
            for batch in rows.scanner(batch_size=_BATCH_ROWS).to_batches():
                yield [
                    tuple({**row, **partition_column}[name] for name in PRODUCT_COLUMNS) for row in batch.to_pylist()
                ]


def _rejections(files: RunFiles) -> Iterator[Batch]:
    """Yield the images that ingest rejected, then those that the networks could not predict."""
    yield [tuple(row[name] for name in REJECTION_COLUMNS) for row in files.rejections]
    for path in files.predictions:
        with sound(path, PREDICT_AGAIN):
            failed = whole_table(path, _failed)
        seen_at_utc = datetime.fromtimestamp(modified_at(path)).astimezone() if failed else None
        yield [tuple({**row, "seen_at_utc": seen_at_utc}[name] for name in REJECTION_COLUMNS) for row in failed]


def _failed(file: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(file, filters=[("reason", "!=", "")]).to_pylist()
    return rows

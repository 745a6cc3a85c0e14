"""Publish a run's files: stream its predictions and rejections to the product database, in one transaction.

    shelfwise publish --run-date 2026-11-01

Reads predictions/run_id=R/, the run's rejections, the changed catalog rows and, for a night, what catalogs name or name
no longer; writes the tables of `sql.schema`. A run is refused if some of its shards are not predicted, or were
predicted by another release. Publishing a run again changes no row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq

from jobs.dataset.partitions import Partition
from jobs.dataset.shards import check_columns, ingest_date_of, read_errors_explained, shards, with_later_columns
from jobs.errors import PREDICT_AGAIN, RunFailed
from jobs.predict.config import PredictConfig
from jobs.predict.job import finished_report, prediction_file
from jobs.predict.selection import of_run
from jobs.releases.records import category_records, decider, manifest_of, release_record
from jobs.runs.config import RunConfig
from jobs.runs.image_changes import image_changes
from jobs.runs.inputs import RunInputs
from jobs.storage.places import Place
from jobs.storage.stores import modified_at, on_disk, on_disk_once
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
Local = Callable[[Place], AbstractContextManager[Path]]

_BATCH_ROWS = 10_000


@dataclass(frozen=True)
class RunFiles:
    """The files of a run to publish, complete and predicted by one release.

    Attributes:
        predictions: Prediction files, one per shard.
        rejections: Rows of `jobs.dataset.schema.SEEN` with their `ingest_date`, from ingest.
        catalog_rows: Files with changed catalog rows of stored images.
        changes: Files with changes of which images catalogs name, and of pictures that products had before. Only a
            night has them.
        images: Number of images that the run predicts.
        failed: Those of the prediction files with an image that the networks could not predict.
    """

    predictions: tuple[Place, ...]
    rejections: tuple[Mapping[str, Any], ...]
    catalog_rows: tuple[Place, ...]
    images: int
    failed: frozenset[Place] = frozenset()
    changes: tuple[Place, ...] = ()


def collect(config: PredictConfig, release: Release, inputs: RunInputs, *, earlier: Sequence[date] = ()) -> RunFiles:
    """Find the files of a run to publish, and check that none is missing.

    Args:
        config: Configuration that the run was predicted with.
        release: Release that must have predicted every file.
        inputs: What the driver has read of the run; shards that it did not read are read now.
        earlier: Earlier nights that were not published: what their catalogs named is published with this one.

    Returns:
        The files.

    Raises:
        RunFailed: If a shard is not predicted by this release; the message contains the number and the command to run.
    """
    every = of_run(config, inputs.selected)
    reports = [finished_report(config, chosen, release.release_id) for chosen in every]
    missing = reports.count(None)
    if missing:
        raise RunFailed(
            f"{missing} of {len(every)} shards of run {config.run_id} are not predicted by release "
            f"{release.release_id}; run the same command again, or `shelfwise predict` for its dates first"
        )
    files = tuple(prediction_file(config, chosen.shard) for chosen in every)
    return RunFiles(
        predictions=files,
        rejections=inputs.rejections,
        catalog_rows=tuple(shards(config.places.catalog_rows, [*earlier, *config.dates])),
        images=sum(chosen.images for chosen in every),
        failed=frozenset(file for file, report in zip(files, reports, strict=True) if report and report.failed),
        changes=(*shards(config.places.seen, earlier), *inputs.changes),
    )


def check_rejected(ingested: Partition, run: RunConfig) -> None:
    """Refuse a night, before it is published, if too many of its images were rejected.

    Args:
        ingested: Partition of the night.
        run: The night, with the largest share that may be rejected.

    Raises:
        RunFailed: If the share is larger; the message contains the counts by reason and the remedy.
    """
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
    """Publish a run from its prediction files to the product database.

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
    with on_disk_once() as copy_of:

        def local(path: Place) -> AbstractContextManager[Path]:
            """Keep the copy of a file that is read again; the copy of another file is deleted after use."""
            read_again = fill_products or path in files.failed
            return nullcontext(copy_of(path)) if read_again else on_disk(path)

        return database.publish(
            record,
            predictions=prediction_rows(files, local),
            rejections=_rejections(files, local),
            products=product_rows(files, local) if fill_products else (),
            image_changes=image_changes(files.changes),
            categories=category_records(release),
            release=release_record(release),
            combine=decider(manifest_of(release)),
            combine_by=decider,
            force=run_config.force,
            token=token,
        )


def prediction_rows(files: RunFiles, local: Local = on_disk) -> Iterator[Batch]:
    """Stream a run's prediction files to publish, in batches of rows, with the columns of `PREDICTION_COLUMNS`.

    Args:
        files: Files of the run.
        local: Provides the local path of a prediction file within a block.
    """
    return _rows(files, PREDICTION_COLUMNS, local, answered_only=True)


def _rows(files: RunFiles, columns: Sequence[str], local: Local, *, answered_only: bool) -> Iterator[Batch]:
    """Stream rows of prediction files, at most `_BATCH_ROWS` per batch; `answered_only` skips failed images."""
    wanted = ds.field("reason").is_null() if answered_only else None
    for path in files.predictions:
        with local(path) as copy, read_errors_explained(path, PREDICT_AGAIN):
            rows = with_later_columns(ds.dataset(copy))
            scanner = rows.scanner(columns=list(columns), filter=wanted, batch_size=_BATCH_ROWS)
            for batch in scanner.to_batches():
                yield list(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def product_rows(files: RunFiles, local: Local = on_disk) -> Iterator[Batch]:
    """Yield the catalog rows of predicted images, then the changed catalog rows of images stored before."""
    yield from _rows(files, PRODUCT_COLUMNS, local, answered_only=False)
    for path in files.catalog_rows:
        partition_column = {"ingest_date": ingest_date_of(path)}
        with on_disk(path) as copy, read_errors_explained(path):
            rows = with_later_columns(ds.dataset(copy))
            check_columns(path, [*rows.schema.names, *partition_column], PRODUCT_COLUMNS)
            for batch in rows.scanner(batch_size=_BATCH_ROWS).to_batches():
                yield [
                    tuple({**row, **partition_column}[name] for name in PRODUCT_COLUMNS) for row in batch.to_pylist()
                ]


def _rejections(files: RunFiles, local: Local) -> Iterator[Batch]:
    """Yield the images that ingest rejected, then those that the networks could not predict."""
    yield [tuple(row[name] for name in REJECTION_COLUMNS) for row in files.rejections]
    for path in files.predictions:
        if path not in files.failed:
            continue
        with local(path) as copy, read_errors_explained(path, PREDICT_AGAIN):
            failed = _failed(copy)
        seen_at_utc = datetime.fromtimestamp(modified_at(path)).astimezone()
        yield [tuple({**row, "seen_at_utc": seen_at_utc}.get(name) for name in REJECTION_COLUMNS) for row in failed]


def _failed(file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(file, filters=[("reason", "!=", "")]).to_pylist()
    return rows

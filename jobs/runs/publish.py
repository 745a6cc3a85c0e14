"""Publish a run's files: stream its predictions and rejections to the product database, in one transaction.

    shelfwise publish --run-date 2026-11-01

Reads predictions/run_id=R/, the run's rejections, the changed catalog rows and, for a night, what catalogs name or name
no longer; writes the tables of `sql.schema`. A run is refused if some of its shards are not predicted, or were
predicted by another release. Publishing a run again changes no row. What the run's gates hold back is written with the
prediction rows (`held_by`), and noted with the run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.dataset.partitions import Partition
from jobs.dataset.shards import (
    check_columns,
    ingest_date_of,
    read_errors_explained,
    rows_of,
    shards,
    with_later_columns,
)
from jobs.errors import PREDICT_AGAIN, RunFailed, RunRefused
from jobs.predict.config import PredictConfig
from jobs.predict.job import finished_report, prediction_file
from jobs.predict.reports import ShardReport, read_report
from jobs.predict.selection import of_run
from jobs.releases.records import category_records, decider, manifest_of, release_record
from jobs.runs.config import RunConfig
from jobs.runs.gates import NOTE, RunGates
from jobs.runs.image_changes import image_changes
from jobs.runs.inputs import RunInputs
from jobs.storage.places import Place
from jobs.storage.stores import modified_at, on_disk, on_disk_once
from models.answers.reasons import BELOW_THRESHOLD, TAXONOMY
from models.release import Release
from sql.records import (
    PREDICTION_COLUMNS,
    PRODUCT_COLUMNS,
    REJECTION_COLUMNS,
    PublishCounts,
    RunRecord,
    SharedPictures,
)

if TYPE_CHECKING:
    from sql.store import ProductDatabase

Batch = list[tuple[Any, ...]]
Local = Callable[[Place], AbstractContextManager[Path]]

_BATCH_ROWS = 10_000
_STORED = tuple(name for name in PREDICTION_COLUMNS if name != "held_by")


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
        reports: Reports in the prediction files, in their order.
    """

    predictions: tuple[Place, ...]
    rejections: tuple[Mapping[str, Any], ...]
    catalog_rows: tuple[Place, ...]
    images: int
    failed: frozenset[Place] = frozenset()
    reports: tuple[ShardReport, ...] = ()
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
        reports=tuple(report for report in reports if report),
        changes=(*shards(config.places.seen, earlier), *inputs.changes),
    )


def check_rejected(ingested: Partition, run: RunConfig) -> None:
    """Refuse a night, before it is published, if too many of its images were rejected.

    Args:
        ingested: Partition of the night.
        run: The night, with the largest share that may be rejected.

    Raises:
        RunRefused: If the share is larger; the message contains the counts by reason and the remedy.
    """
    if ingested.rejected_share <= run.max_rejected:
        return
    rejected, total = len(ingested.rejections), ingested.images + len(ingested.rejections)
    reasons = ", ".join(f"{count} {reason}" for reason, count in ingested.rejected_by_reason().items())
    raise RunRefused(
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
    gates: RunGates,
    started_at_utc: datetime,
    seconds: Mapping[str, float],
    summary: Mapping[str, Any],
    picture_groups: int = SharedPictures.groups,
    fill_products: bool = True,
    token: str | None = None,
) -> PublishCounts:
    """Publish a run from its prediction files to the product database.

    Args:
        database: Migrated database.
        files: Files of the run, from `collect`.
        release: Release that made the predictions.
        run_config: The run.
        gates: Which answers are held back; noted in the summary.
        started_at_utc: Start of the run, used if its row has none yet.
        seconds: Seconds by step, added to those in the run's row.
        summary: Reports by step, added to the summary in the run's row.
        picture_groups: Fewest groups of products whose same picture holds their answers back; 0 looks for none.
        fill_products: Whether to write the catalog rows to the table `products`; False if the shop maintains its own
            table. Then they only tell which products with the same picture are variants.
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
        summary={**summary, NOTE: gates.note()},
    )
    noted = gates.shared_pictures if picture_groups else None
    pictures = SharedPictures(picture_groups, noted=noted, in_table=fill_products)
    needs_catalog = fill_products or (picture_groups > 0 and noted is None)
    with on_disk_once() as copy_of:

        def local(path: Place) -> AbstractContextManager[Path]:
            """Keep the copy of a file that is read again; the copy of another file is deleted after use."""
            read_again = needs_catalog or path in files.failed
            return nullcontext(copy_of(path)) if read_again else on_disk(path)

        return database.publish(
            record,
            predictions=prediction_rows(files, gates, local),
            rejections=_rejections(files, local),
            products=product_rows(files, local) if needs_catalog else (),
            image_changes=image_changes(files.changes),
            categories=category_records(release),
            release=release_record(release),
            combine=decider(manifest_of(release)),
            combine_by=decider,
            pictures=pictures,
            force=run_config.force,
            token=token,
        )


def prediction_rows(files: RunFiles, gates: RunGates, local: Local = on_disk) -> Iterator[Batch]:
    """Stream a run's prediction files to publish, in batches of rows, with the columns of `PREDICTION_COLUMNS`.

    Args:
        files: Files of the run.
        gates: Which answers are held back.
        local: Provides the local path of a prediction file within a block.
    """
    place, reasons = PREDICTION_COLUMNS.index("held_by"), _STORED.index("review_reason")
    statuses, pictures = _STORED.index("status"), _STORED.index("picture_at")
    for columns in _columns(files, _STORED, local, answered_only=True):
        columns[reasons] = _reasons(columns)
        held = _held_by(gates, columns)
        # Nobody has to look at what is published by itself, so the database keeps no place of it.
        columns[pictures] = [
            None if status == "auto" and not reason else at
            for at, status, reason in zip(columns[pictures], columns[statuses], held, strict=True)
        ]
        columns.insert(place, held)
        yield list(zip(*columns, strict=True))


def _reasons(columns: Sequence[Sequence[Any]]) -> list[str | None]:
    """Return why each row of a batch is not published; files of an earlier version do not say it.

    Args:
        columns: Values of the columns `_STORED`.
    """
    named = (columns[_STORED.index(name)] for name in ("status", "review_reason", "category_id", "top_k"))
    return [
        (TAXONOMY if category and _leaf(top) != category else BELOW_THRESHOLD)
        if reason is None and status != "auto"
        else reason
        for status, reason, category, top in zip(*named, strict=True)
    ]


def _held_by(gates: RunGates, columns: Sequence[Sequence[Any]]) -> list[str | None]:
    """Return for each row of a batch the reason for which the run holds it back; JSON is parsed only if it holds any.

    Args:
        gates: Which answers are held back.
        columns: Values of the columns `_STORED`.
    """
    if not gates.holds:
        return [None] * len(columns[0])
    dates, tops = columns[_STORED.index("ingest_date")], columns[_STORED.index("top_k")]
    return [gates.held_by(day, _leaf(top)) for day, top in zip(dates, tops, strict=True)]


def _leaf(top_k: str) -> str:
    """Return the category with the highest confidence of a stored distribution; empty if it has none."""
    best = json.loads(top_k)
    return str(best[0][0]) if best else ""


def _columns(files: RunFiles, names: Sequence[str], local: Local, *, answered_only: bool) -> Iterator[list[list[Any]]]:
    """Stream columns of prediction files, at most `_BATCH_ROWS` rows at once; `answered_only` skips failed images."""
    wanted = pc.field("reason").is_null() if answered_only else None
    for path in files.predictions:
        with local(path) as copy, read_errors_explained(path, PREDICT_AGAIN):
            rows = with_later_columns(rows_of(copy))
            scanner = rows.scanner(columns=list(names), filter=wanted, batch_size=_BATCH_ROWS)
            for batch in scanner.to_batches():
                yield [column.to_pylist() for column in batch.columns]


def product_rows(files: RunFiles, local: Local = on_disk) -> Iterator[Batch]:
    """Yield the catalog rows of predicted images, then the changed catalog rows of images stored before."""
    for columns in _columns(files, PRODUCT_COLUMNS, local, answered_only=False):
        yield list(zip(*columns, strict=True))
    for path in files.catalog_rows:
        partition_column = {"ingest_date": ingest_date_of(path)}
        with on_disk(path) as copy, read_errors_explained(path):
            rows = with_later_columns(rows_of(copy))
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
            failed, report = _failed(copy), read_report(copy)
        seen_at_utc = _predicted_at(path, report)
        yield [tuple({**row, "seen_at_utc": seen_at_utc}.get(name) for name in REJECTION_COLUMNS) for row in failed]


def _predicted_at(path: Place, report: ShardReport | None) -> datetime:
    """Return when a file's images were predicted: as its report says, because a copied file has another age.

    Reports of earlier versions do not say it; then it is when the file was written.
    """
    if report and report.predicted_at_utc:
        return datetime.fromisoformat(report.predicted_at_utc)
    return datetime.fromtimestamp(modified_at(path), UTC)


def _failed(file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(file, filters=[("reason", "!=", "")]).to_pylist()
    return rows

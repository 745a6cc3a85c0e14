"""Prediction files: the rows of a predicted shard with its report, written as a whole, after its thumbnails."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.dataset.schema import IMAGE_KEY, PREDICTIONS
from jobs.dataset.shards import ingest_date_of, whole_file
from jobs.errors import RunFailed
from jobs.predict.config import PredictConfig
from jobs.predict.networks import ComputeReport
from jobs.predict.reports import ShardReport, with_report
from jobs.predict.rows import leaf_counts
from jobs.predict.selection import Selected
from jobs.predict.thumbnails import keep_thumbnails
from jobs.storage.places import Place
from models.release import Release


@dataclass(frozen=True)
class Predicted:
    """A predicted shard.

    Attributes:
        rows: Rows of its images, from `jobs.predict.rows.rows_of`.
        chosen: Selected images of the shard.
        path: The shard, or its copy, on this machine.
        target: Prediction file to write.
        stages: Seconds by stage.
        in_quarantine: Whether helper processes predicted it, a few images at a time.
    """

    rows: list[dict[str, Any]]
    chosen: Selected
    path: Path
    target: Place
    stages: Mapping[str, float]
    in_quarantine: bool = False


def put(predicted: Predicted, release: Release, config: PredictConfig, on: ComputeReport) -> ShardReport:
    """Write a shard's thumbnails and then its prediction file, and return its report.

    Raises:
        RunFailed: If the number of rows is not the number of selected images; run the same again.
    """
    rows, chosen, shard = predicted.rows, predicted.chosen, predicted.chosen.shard
    if len(rows) != chosen.images:  # a fault of a reader must not lose an image
        raise RunFailed(f"{shard} holds {chosen.images} images to predict, {len(rows)} were read; run the same again")
    by_leaf, failed = leaf_counts(rows), sum(row["reason"] is not None for row in rows)
    scored = sum(images for images, _ in by_leaf.values())
    thumbnails, keeping = keep_thumbnails(rows, shard, predicted.path, config, reduced=not predicted.in_quarantine)
    stages = {**predicted.stages, "thumbnails_seconds": keeping}
    seconds: dict[str, Any] = {name: round(each, 3) for name, each in stages.items()}
    report = ShardReport(
        shard=str(shard),
        release_id=release.release_id,
        images=len(rows),
        failed=failed,
        writing_seconds=0.0,
        selection=chosen.digest,
        device=on.device,
        batch_size=config.batch_size,
        precision=on.precision,
        engine=on.engine,
        attempt=on.attempt,
        tried=on.tried,
        compared=on.compared,
        gate="open" if release.known is None else "computed",
        by_leaf=by_leaf,
        not_computed=0 if release.known is None else len(rows) - failed - scored,
        predicted_at_utc=datetime.now(UTC).isoformat(),
        thumbnails=thumbnails,
        **seconds,
    )
    return _write(rows, report, shard, predicted.target)


def _write(rows: Iterable[dict[str, Any]], report: ShardReport, shard: Place, target: Place) -> ShardReport:
    """Write the rows in order of their keys, so that the same shard always gives the same file content."""
    started = time.perf_counter()
    ordered = sorted(rows, key=itemgetter(*IMAGE_KEY))
    day = ingest_date_of(shard)
    table = pa.Table.from_pylist([{**row, "ingest_date": day} for row in ordered], schema=PREDICTIONS)
    schema = with_report(PREDICTIONS, report)
    with whole_file(target, schema) as writer:
        writer.write_table(table.replace_schema_metadata(schema.metadata))
    return replace(report, writing_seconds=round(report.thumbnails_seconds + time.perf_counter() - started, 3))

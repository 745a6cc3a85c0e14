"""Backfills: predict and publish older partitions again, without reading the source images."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Any

from jobs.dataset.partitions import partition_dates
from jobs.dataset.shards import ingest_date_of
from jobs.errors import UsageError
from jobs.predict import job as predict
from jobs.predict import selection
from jobs.predict.config import PredictConfig
from jobs.runs.claim import recorded
from jobs.runs.config import RunConfig, RunContext
from jobs.runs.inputs import RunInputs
from jobs.runs.night import predict_and_publish, predict_config
from jobs.storage.places import Places
from sql.run_history import seconds_per_image
from sql.store import ProductDatabase


def backfill(context: RunContext, database: ProductDatabase, run: RunConfig) -> dict[str, Any]:
    """Run a backfill: predict and publish older partitions; no source image is read.

    Args:
        context: Places, Spark settings and release.
        database: Migrated database.
        run: The run; its dates are those of the partitions.

    Returns:
        The summary of the run.
    """
    config = predict_config(context, run)
    chosen = _chosen(context, database, run)
    with recorded(database, run, steps=("predict",)) as claim:
        if run.selects or run.leaves_out:
            selection.write(config, chosen)
        return predict_and_publish(context, database, run, claim, RunInputs(selected=tuple(chosen)))


def backfill_plan(context: RunContext, database: ProductDatabase | None, run: RunConfig) -> dict[str, Any]:
    """Return what a backfill would do, without doing it (dry run).

    Args:
        context: Places and release.
        database: Migrated database; None if nothing was ever published.
        run: The run, with the dates and the selection of the backfill.

    Returns:
        Numbers of shards and images, in total and by ingest date. `estimated_seconds` is the expected time to predict,
        from the release's last runs; None if it has no earlier run. `release` is the name or path that finds the
        release on other machines too.
    """
    release_id = context.release.release_id
    config = predict_config(context, run)
    every = [chosen for chosen in _chosen(context, database, run) if chosen.images]
    todo = [chosen for chosen in every if not predict.finished(config, chosen, release_id)]
    images_to_predict = sum(chosen.images for chosen in todo)
    seconds_each = seconds_per_image(database, release_id) if database else None
    by_date = Counter[str]()
    for chosen in every:
        by_date[ingest_date_of(chosen.shard).isoformat()] += chosen.images
    return {
        "run_id": run.run_id,
        "release_id": release_id,
        "release": context.release_name or str(context.release_dir),
        "dry_run": True,
        "dates": [day.isoformat() for day in run.dates],
        "shards": len(every),
        "shards_to_predict": len(todo),
        "images": sum(by_date.values()),
        "images_to_predict": images_to_predict,
        "images_by_date": dict(by_date),
        "estimated_seconds": None if seconds_each is None else round(seconds_each * images_to_predict, 1),
    }


def _chosen(context: RunContext, database: ProductDatabase | None, run: RunConfig) -> list[selection.Selected]:
    """Return the images that a backfill predicts, by shard of its dates."""
    config, release_id = predict_config(context, run), context.release.release_id
    chosen = selection.choose(
        database,
        config,
        release_id,
        category=run.category,
        only_missing=run.only_missing,
        include_left=run.include_left,
    )
    return [_finished_with_more(config, each, release_id) or each for each in chosen] if run.leaves_out else chosen


def _finished_with_more(
    config: PredictConfig, chosen: selection.Selected, release_id: str
) -> selection.Selected | None:
    """Return the images with which the run has finished a shard, if products have only left since; None if not.

    A backfill may go on for days, while nights publish; what it has predicted is not predicted again because of them.
    """
    if chosen.keys is None:
        return None
    earlier = selection.of_shard(config, chosen.shard)
    covered = earlier.keys is None or earlier.keys >= chosen.keys
    return earlier if covered and predict.finished(config, earlier, release_id) else None


def backfill_dates(places: Places, first: date, last: date) -> tuple[date, ...]:
    """Return the ingest dates of a backfill: those in a range that have a partition.

    Args:
        places: Directories and stores of the home.
        first: First ingest date.
        last: Last ingest date, included.

    Raises:
        UsageError: If the range is empty or contains no partition; the message contains the dates that exist.
    """
    if first > last:
        raise UsageError(f"--from {first} is after --to {last}; exchange them")
    dates = partition_dates(places.images, first, last)
    if not dates:
        every = partition_dates(places.images, date.min, date.max)
        existing = f"there are {len(every)}, from {every[0]} to {every[-1]}" if every else "there is none yet"
        raise UsageError(f"no ingested images from {first} to {last}; {existing}")
    return tuple(dates)

"""Backfills: predict and publish over older partitions, of which no source image is read."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Any

from jobs.dataset.shards import ingest_date_of, partition_dates
from jobs.errors import UsageError
from jobs.predict import job as predict
from jobs.predict import selection
from jobs.runs.claim import recorded
from jobs.runs.config import RunConfig, Workshop
from jobs.runs.night import predict_and_publish, predict_config
from jobs.storage.places import Places
from sql.selection import seconds_per_image
from sql.store import ProductDatabase


def backfill(workshop: Workshop, database: ProductDatabase, run: RunConfig) -> dict[str, Any]:
    """Predict and publish older partitions; no source image is read.

    Args:
        workshop: Places, Spark and release.
        database: Migrated.
        run: Its dates are those of the partitions.

    Returns:
        The run's summary.
    """
    config = predict_config(workshop, run)
    chosen = _chosen(workshop, database, run)
    with recorded(database, run, steps=("predict",)) as claim:
        if run.selects:
            selection.write(config, chosen)
        return predict_and_publish(workshop, database, run, claim, steps={})


def backfill_plan(workshop: Workshop, database: ProductDatabase | None, run: RunConfig) -> dict[str, Any]:
    """Say what a backfill would do, and do nothing.

    Args:
        workshop: Places and release.
        database: Migrated; None where nothing was ever published.
        run: What the backfill was asked for.

    Returns:
        Counts, in all and by ingest date, and how long predicting should take by the release's last runs:
        `estimated_seconds`, None if it has none. `release` is what finds the release on other machines too.
    """
    release_id = workshop.release.release_id
    config = predict_config(workshop, run)
    every = _chosen(workshop, database, run)
    todo = [chosen for chosen in every if not predict.finished(config, chosen, release_id)]
    images_to_predict = sum(chosen.images for chosen in todo)
    each = seconds_per_image(database, release_id) if database else None
    by_date = Counter[str]()
    for chosen in every:
        by_date[ingest_date_of(chosen.shard).isoformat()] += chosen.images
    return {
        "run_id": run.run_id,
        "release_id": release_id,
        "release": workshop.release_name or str(workshop.release_dir),
        "dry_run": True,
        "dates": [day.isoformat() for day in run.dates],
        "shards": len(every),
        "shards_to_predict": len(todo),
        "images": sum(by_date.values()),
        "images_to_predict": images_to_predict,
        "images_by_date": dict(by_date),
        "estimated_seconds": None if each is None else round(each * images_to_predict, 1),
    }


def _chosen(workshop: Workshop, database: ProductDatabase | None, run: RunConfig) -> list[selection.Selected]:
    """Return what a backfill takes of each shard of its dates."""
    return selection.choose(
        database,
        predict_config(workshop, run),
        workshop.release.release_id,
        category=run.category,
        only_missing=run.only_missing,
    )


def backfill_dates(places: Places, first: date, last: date) -> tuple[date, ...]:
    """Return the ingest dates that a backfill covers.

    Raises:
        UsageError: If the range is empty or holds no partition; says which dates there are.
    """
    if first > last:
        raise UsageError(f"--from {first} is after --to {last}; exchange them")
    found = partition_dates(places.images, first, last)
    if not found:
        there = partition_dates(places.images, date.min, date.max)
        known = f"there are {len(there)}, from {there[0]} to {there[-1]}" if there else "there is none yet"
        raise UsageError(f"no ingested images from {first} to {last}; {known}")
    return tuple(found)

"""Batch size and precision by release and accelerator, kept between runs in `SHELFWISE_HOME/tuning.json`.

Tasks report the values and the driver writes the file, so that executors need no write access. The file may be deleted,
for example after a change of the hardware: the next run measures the values again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from jobs.predict.reports import ShardReport
from jobs.storage.faults import StoreError
from jobs.storage.home_json import locked, read_json, write_json
from jobs.storage.places import Places

log = logging.getLogger(__name__)

_NAME = "tuning.json"


def known(places: Places, release_id: str) -> dict[str, tuple[int, str]]:
    """Read (batch size, precision) by device name for a release from tuning.json; empty if it cannot be read."""
    try:
        by_device = _read(places).get(release_id, {})
    except (OSError, StoreError):
        return {}
    return {device: (int(batch_size), str(precision)) for device, (batch_size, precision) in by_device.items()}


def remember(places: Places, release_id: str, reports: Iterable[ShardReport]) -> None:
    """Save the batch size and precision that a run measured to tuning.json.

    If two machines write to a store at the same moment, one result is lost, and that machine measures again in its next
    run.

    Args:
        places: Directories and stores of the home.
        release_id: Release that the shards were predicted with.
        reports: Reports of the run's shards; only those with `tried` are saved.
    """
    measured: dict[str, list[Any]] = {
        report.device: [report.batch_size, report.precision] for report in reports if report.tried and report.batch_size
    }
    if not measured:
        return
    try:
        with locked(places.home / _NAME):
            before = _read(places)
            after = {**before, release_id: {**before.get(release_id, {}), **measured}}
            if after != before:
                write_json(places.home / _NAME, after)
    except (OSError, StoreError) as error:
        log.warning("tuning.json cannot be written (%s); the next run looks for batch sizes again", error)


def _read(places: Places) -> Mapping[str, Mapping[str, list[Any]]]:
    """Return the file's content; empty if the file is missing or does not have the form that `remember` writes."""
    content = read_json(places.home / _NAME)
    return content if _is_valid(content) else {}


def _is_valid(content: object) -> bool:
    """Return whether the content has the form that `remember` writes; other content is measured again and replaced."""
    releases = content.values() if isinstance(content, dict) else [None]
    tunings = [tuning for each in releases for tuning in (each.values() if isinstance(each, dict) else [None])]
    return all(
        isinstance(tuning, list) and len(tuning) == 2 and isinstance(tuning[0], int) and isinstance(tuning[1], str)
        for tuning in tunings
    )

"""What accelerators were found to take, remembered from run to run in `SHELFWISE_HOME/tuning.json`.

Tasks report it and the driver writes it down, so that no executor needs to write there. Whoever changes a machine may
delete the file; it is found again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from jobs.config import Place, Places
from jobs.shard_reports import ShardReport
from jobs.store_faults import StoreError
from jobs.stores import put, read_bytes
from jobs.temporary import own_directory

log = logging.getLogger(__name__)


def known(places: Places, release_id: str) -> dict[str, tuple[int, str]]:
    """Return batch size and precision of a release by device; empty where nothing is known."""
    found = _read(places).get(release_id, {})
    return {device: (int(batch_size), str(precision)) for device, (batch_size, precision) in found.items()}


def remember(places: Places, release_id: str, reports: Iterable[ShardReport]) -> None:
    """Keep what a run's shards were predicted with, where that was found by trying."""
    found = {
        report.device: (report.batch_size, report.precision) for report in reports if report.tried and report.batch_size
    }
    before = _read(places)
    after = {**before, release_id: {**before.get(release_id, {}), **found}}
    if not found or after == before:
        return
    try:
        _write(places.home / "tuning.json", json.dumps(after, indent=2) + "\n")
    except (OSError, StoreError) as error:
        log.warning("tuning.json cannot be written (%s); the next run looks for batch sizes again", error)


def _read(places: Places) -> Mapping[str, Mapping[str, tuple[int, str]]]:
    try:
        found = json.loads(read_bytes(places.home / "tuning.json"))
    except (OSError, ValueError, StoreError):
        return {}
    return found if _is_of_this_form(found) else {}


def _is_of_this_form(found: object) -> bool:
    """Say whether this is what `remember` writes; anything else is measured anew and written over."""
    devices = found.values() if isinstance(found, dict) else [None]
    answers = [answer for each in devices for answer in (each.values() if isinstance(each, dict) else [None])]
    return all(
        isinstance(answer, list) and len(answer) == 2 and isinstance(answer[0], int) and isinstance(answer[1], str)
        for answer in answers
    )


def _write(target: Place, text: str) -> None:
    if isinstance(target, Path):
        target.write_text(text, encoding="utf-8")
        return
    with own_directory() as directory:
        written = directory / target.name
        written.write_text(text, encoding="utf-8")
        put(written, target)

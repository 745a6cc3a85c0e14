"""What accelerators were found to take, remembered from run to run in `SHELFWISE_HOME/tuning.json`.

Tasks report it and the driver writes it down, so that no executor needs to write there. Whoever changes a machine may
delete the file; it is found again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping

from jobs.config import Places
from jobs.shard_reports import ShardReport

log = logging.getLogger(__name__)


def known(places: Places, release_id: str) -> dict[str, tuple[int, str]]:
    """Return batch size and precision of a release by device; empty where nothing is known."""
    found = _read(places).get(release_id, {})
    return {device: (int(batch_size), str(precision)) for device, (batch_size, precision) in found.items()}


def remember(places: Places, release_id: str, reports: Iterable[ShardReport]) -> None:
    """Keep what a run's shards were predicted with on accelerators; processors need no trying."""
    found = {
        report.device: (report.batch_size, report.precision)
        for report in reports
        if report.device and report.batch_size and not report.device.startswith("CPU")
    }
    before = _read(places)
    after = {**before, release_id: {**before.get(release_id, {}), **found}}
    if not found or after == before:
        return
    try:
        (places.local_home / "tuning.json").write_text(json.dumps(after, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        log.warning("tuning.json cannot be written (%s); the next run looks for batch sizes again", error)


def _read(places: Places) -> Mapping[str, Mapping[str, tuple[int, str]]]:
    try:
        found = json.loads((places.local_home / "tuning.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

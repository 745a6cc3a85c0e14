"""What the last ingest of a date reported, kept in the home for the step that predicts or publishes the date later.

An ingest is no run: it may serve a training, and no database need be there. A night of separate steps takes its figures
and its start from this file.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from jobs.storage.places import Place, Places
from jobs.storage.stores import is_file, read_bytes, write_bytes

log = logging.getLogger(__name__)


def keep(places: Places, day: date, report: Mapping[str, Any]) -> None:
    """Write the report of an ingest, in place of an earlier one of its date."""
    write_bytes(_file(places, day), json.dumps(report).encode())


def last(places: Places, day: date) -> dict[str, Any]:
    """Return the report of the last ingest of a date; empty if there is none, or none that can be read."""
    where = _file(places, day)
    if not is_file(where):
        return {}
    try:
        report: dict[str, Any] = json.loads(read_bytes(where))
        datetime.fromisoformat(report["started_at_utc"])
    except (ValueError, KeyError, TypeError) as error:
        log.warning("%s is no report of an ingest (%s); its figures are missing from the run's row", where, error)
        return {}
    return report


def _file(places: Places, day: date) -> Place:
    return places.partition(places.ingests, day) / "report.json"

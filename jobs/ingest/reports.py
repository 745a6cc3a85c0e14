"""Store the report of the last ingest of a date, for the step that predicts or publishes this date later.

An ingest is not a run in the database: it may serve a training, and needs no database. A night whose steps are separate
commands reads the figures and the start time of its ingest from this file, `ingests/ingest_date=D/report.json` of the
home.
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


def keep_report(places: Places, day: date, report: Mapping[str, Any]) -> None:
    """Write the report of an ingest to the home; it replaces an earlier report of the same date."""
    write_bytes(_file(places, day), json.dumps(report).encode())


def last_report(places: Places, day: date) -> dict[str, Any]:
    """Read the report of the last ingest of a date from the home; empty if there is none or it is damaged."""
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

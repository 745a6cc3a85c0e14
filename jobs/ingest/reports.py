"""Store the report of the last ingest of a date, for the step that predicts or publishes this date later.

An ingest that was refused leaves the reason in `refusal.json` beside it, for whoever has to tell people.

An ingest is not a run in the database: it may serve a training, and needs no database. A night whose steps are separate
commands reads the figures and the start time of its ingest from this file, `ingests/ingest_date=D/report.json` of the
home.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from jobs.storage.places import Place, Places
from jobs.storage.stores import delete, is_file, read_bytes, write_bytes

log = logging.getLogger(__name__)


CATALOG = "catalog"
"""Name, in the file, of the catalog as the ingest was called with it."""


def keep_report(places: Places, day: date, report: Mapping[str, Any], *, catalog: str) -> None:
    """Write the report of an ingest to the home; it replaces an earlier report or refusal of the same date.

    Args:
        places: Where the home is.
        day: Date of the ingest.
        report: Figures of the ingest.
        catalog: Path or URI of its catalog, without secrets.
    """
    write_bytes(_file(places, day), json.dumps({**report, CATALOG: catalog}).encode())
    delete(_refusal_file(places, day))


def last_catalog(places: Places, day: date) -> str | None:
    """Read which catalog the last ingest of a date was called with; None if that is not known."""
    catalog = _read(places, day).get(CATALOG)
    return catalog if isinstance(catalog, str) else None


def last_report(places: Places, day: date) -> dict[str, Any]:
    """Read the report of the last ingest of a date from the home; empty if there is none or it is damaged."""
    return {name: value for name, value in _read(places, day).items() if name != CATALOG}


def _read(places: Places, day: date) -> dict[str, Any]:
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


def keep_refusal(places: Places, day: date, sentence: str) -> None:
    """Write to the home why an ingest was refused; the report of an earlier ingest of the date stays."""
    refusal = {"refused_at_utc": datetime.now(UTC).isoformat(), "sentence": sentence}
    write_bytes(_refusal_file(places, day), json.dumps(refusal).encode())


def last_refusal(places: Places, day: date) -> dict[str, str | None]:
    """Read why the last ingest of a date was refused.

    Returns:
        `refused_at_utc`, a time in ISO 8601, and `sentence`; both are None if it was not refused.
    """
    where = _refusal_file(places, day)
    if not is_file(where):
        return {"refused_at_utc": None, "sentence": None}
    refusal: dict[str, str | None] = json.loads(read_bytes(where))
    return refusal


def _refusal_file(places: Places, day: date) -> Place:
    return places.partition(places.ingests, day) / "refusal.json"


def _file(places: Places, day: date) -> Place:
    return places.partition(places.ingests, day) / "report.json"

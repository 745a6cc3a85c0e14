"""The job that reports on a run: an HTML page for people, and the same figures as a JSON document.

    shelfwise report --run-id nightly-2026-11-01

Reads the product database and, for the pictures, some files under images/ingest_date=*/. Writes one HTML file. The
figures are those that were stored when the run was published, so the report of an older run does not change later. Only
the products that have left since are no longer shown.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.errors import RunFailed, check_name
from jobs.report import page as report_page
from jobs.report.facts import Facts, load_facts
from jobs.report.gallery import build_gallery
from jobs.report.verdict import assess_run
from jobs.storage.places import Places
from models.whole_files import write_whole
from sql.store import ProductDatabase

log = logging.getLogger(__name__)


def write(database: ProductDatabase, places: Places, run_id: str, target: Path | None = None) -> dict[str, Any]:
    """Load the facts of a run, render its report and write the HTML file; return the figures.

    Args:
        database: Migrated database.
        places: Directories and stores of the home.
        run_id: Identifier of the run; it may be in any state.
        target: Path of the HTML file; None means reports/RUN_ID.html in the home. An existing file is replaced
            atomically. If the path is a pipe or a device, the page is written into it.

    Returns:
        The figures, the number of pictures, the files whose pictures are missing with the reason of each, and path and
        size of the page in bytes.

    Raises:
        UsageError: If there is no such run; the message names the latest runs.
        RunFailed: If the file cannot be written; choose another path with `--output`.
    """
    check_name("run id", run_id)
    facts = load_facts(database, run_id)
    gallery = build_gallery(database, places, facts)
    target = target or places.local_home / "reports" / f"{run_id}.html"
    try:
        size = write_whole(target, report_page.render(facts, gallery, made_at_utc=datetime.now(UTC)))
    except OSError as error:
        raise RunFailed(
            f"the report cannot be written to {target} ({error.strerror}); name another place with --output"
        ) from error
    log.info("report: run %s, %s pictures, %s bytes", run_id, len(gallery.pictures), size)
    return {
        **figures(facts),
        "pictures": len(gallery.pictures),
        "pictures_missing": gallery.search.unreadable,
        "report": str(target),
        "report_bytes": size,
    }


def figures(facts: Facts) -> dict[str, Any]:
    """Return the figures of a run's report as a JSON document, for the command that writes the report."""
    run, verdict = facts.run, assess_run(facts)
    return {
        "run_id": run["run_id"],
        "kind": run["kind"],
        "run_date": run["run_date"].isoformat(),
        "release_id": run["release_id"],
        "state": run["state"],
        "retracted_at_utc": run["retracted_at_utc"] and run["retracted_at_utc"].isoformat(),
        "verdict": verdict.level,
        "headline": verdict.headline,
        "sentence": verdict.sentence,
        "unusual": list(verdict.unusual),
        "error": run["error"],
        "images": facts.images,
        "rejected": facts.rejected,
        "rejected_by_reason": {row["reason"]: row["image_count"] for row in facts.rejections},
        "counts": run["counts"],
        "gates": run["summary"].get("gates"),
        "review_reasons": run["summary"].get("review_reasons"),
        "confidence_histograms": run["summary"].get("confidence_histograms"),
        "categories": [asdict(share) for share in facts.shares],
        "waiting": dict(facts.waiting),
        "seconds": {**run["seconds"], "whole": facts.took_seconds},
    }

"""The HTML page of a run's report: computes the values of the template from the facts, the verdict and the pictures."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from markupsafe import Markup

from jobs.pages.charts import svg_histogram
from jobs.pages.html import UNKNOWN, percent
from jobs.pages.html import render as render_template
from jobs.report import held
from jobs.report.facts import CategoryShare, Facts, mean_confidences
from jobs.report.gallery import Gallery
from jobs.report.verdict import FAILED, GOOD, LOOK, QUIET, RETRACTED, RUNNING, assess_run
from models.serving.engines import computed_in_words
from sql.records import REVIEW_REASONS

_STATUS_NAMES = {"auto": "tagged without a person", "review": "for a person", "unknown": "without an answer"}
_STEP_NAMES = {"ingest": "Reading images", "predict": "Asking the networks"}
_INSIDE = {
    "loading_seconds": "loading the networks",
    "reading_seconds": "reading",
    "decoding_seconds": "decoding",
    "waiting_seconds": "waiting for images",
    "predicting_seconds": "computing",
    "writing_seconds": "writing",
}
_ICONS = {
    GOOD: '<path d="M7 12.5l3.4 3.4L17.2 9"/>',
    QUIET: '<path d="M8 12h8"/>',
    RETRACTED: '<path d="M9 8l-3 3 3 3M6 11h7a3.5 3.5 0 0 1 0 7h-2"/>',
    RUNNING: '<path d="M12 7.5V12l3 2"/>',
    LOOK: '<path d="M12 7v6.2M12 16.6v.1"/>',
    FAILED: '<path d="M8.5 8.5l7 7M15.5 8.5l-7 7"/>',
}


def render(facts: Facts, gallery: Gallery, *, made_at_utc: datetime) -> str:
    """Render the HTML page of a run's report.

    Args:
        facts: Data of the run.
        gallery: Categories and pictures to show.
        made_at_utc: Time of the report.
    """
    run, verdict = facts.run, assess_run(facts)
    reference = [row for row in facts.earlier if row["state"] == "published"]
    return render_template(
        "report.html",
        {
            "facts": facts,
            "run": run,
            "counts": run["counts"],
            "verdict": verdict,
            "gallery": gallery,
            "made_at_utc": made_at_utc,
            "icon": _icon(verdict.level),
            "quoted_run_id": shlex.quote(run["run_id"]),
            "other_release": bool(reference) and reference[0]["release_id"] != run["release_id"],
            "tiles": tiles(facts),
            "parts": parts(facts),
            "reasons": held.reasons(facts),
            "meaning_of": REVIEW_REASONS,
            "histogram": _histogram(run["summary"].get("confidence_histograms")),
            "confidences": mean_confidences(facts.shares),
            "stages": stages(facts),
            "inside": inside(run["summary"].get("predict") or {}),
            "unusual": facts.unusual,
            "taken_over": len(run["summary"].get("taken_over") or ()),
            "names": [split_path(share) for share in gallery.shares],
            "widest": max(
                [value for share in gallery.shares for value in (share.share, share.reference_share) if value],
                default=1.0,
            ),
            "has_reference": any(share.reference_share is not None for share in gallery.shares),
            "reference_runs": len(reference[:7]),
            "hidden_categories": max(len([s for s in facts.shares if s.images]) - len(gallery.shares), 0),
            "history": [_history(row) for row in (run, *facts.earlier)],
        },
    )


def tiles(facts: Facts) -> list[dict[str, str]]:
    """Compute the four main figures at the top of a report's page, each with name, number and an explaining note."""
    ingest: Mapping[str, Any] = facts.run["summary"].get("ingest") or {}
    counts, statuses = facts.run["counts"], facts.statuses or {}
    products = sum(statuses.values())
    came = [f"{ingest['catalog_rows']:,} in the catalog"] if "catalog_rows" in ingest else ["from the dataset"]
    if ingest.get("images_unchanged"):
        came.append(f"{ingest['images_unchanged']:,} unchanged")
    tagged = [f"{percent(statuses['auto'] / products)} of {products:,} products"] if products else ["of no product"]
    if counts.get("first_answered"):
        tagged.append(f"{counts['first_answered']:,} for the first time")
    open_ = statuses.get("review", 0) + statuses.get("unknown", 0)
    left = [f"{facts.waiting.get('review', 0):,} wait in the whole catalog"]
    if counts.get("left_to_people"):
        left.append(f"{counts['left_to_people']:,} stay as people decided")
    answered = facts.images + facts.rejected
    reasons = f"{len(facts.rejections)} reason{'' if len(facts.rejections) == 1 else 's'}"
    rejected = f"{percent(facts.rejected / answered)} of the new images, {reasons}" if facts.rejected else "none"
    return [
        {"name": "Images that came in", "number": f"{answered:,}", "note": ", ".join(came)},
        {
            "name": "Tagged without a person",
            "number": f"{statuses['auto']:,}" if statuses else UNKNOWN,
            "note": ", ".join(tagged) if statuses else "not published",
        },
        {"name": "Left to people", "number": f"{open_:,}" if statuses else UNKNOWN, "note": ", ".join(left)},
        {"name": "Images rejected", "number": f"{facts.rejected:,}", "note": rejected},
    ]


def parts(facts: Facts) -> list[dict[str, Any]]:
    """Compute for a report's page the run's products by status; empty if the run has no products."""
    statuses = facts.statuses or {}
    if not sum(statuses.values()):
        return []
    return [{"status": status, "name": _STATUS_NAMES[status], "count": count} for status, count in statuses.items()]


def stages(facts: Facts) -> list[dict[str, Any]]:
    """Compute for a report's page the seconds of each step and between steps, with their ratio to the longest."""
    seconds = {str(name): float(value) for name, value in facts.run["seconds"].items()}
    bars = [(_STEP_NAMES.get(name, name), value) for name, value in seconds.items()]
    whole = facts.took_seconds
    if whole is not None and bars:
        bars.append(("Starting Spark, waiting, publishing", max(whole - sum(seconds.values()), 0.0)))
    longest = max([value for _, value in bars], default=0.0) or 1.0
    return [{"name": name, "seconds": value, "share": value / longest} for name, value in bars]


def inside(predict: Mapping[str, Any]) -> str:
    """Describe on a report's page how the predict tasks spent their time, and which stage was the slowest."""
    spent = {name: predict[key] for key, name in _INSIDE.items() if (predict.get(key) or 0) >= 0.05}
    how = computed_in_words(predict)
    if not spent:
        return f"All images were predicted before this attempt, {how}." if how and predict.get("shards_skipped") else ""
    listed = ", ".join(f"{name} {value:,.1f} s" for name, value in spent.items())
    computed = f", {how}" if how else ""
    rate = (
        f"{predict['images_per_second']:,.1f} images a second{computed}. " if predict.get("images_per_second") else ""
    )
    slowest = str(predict.get("slowest_stage") or "")
    sentence = f" {slowest[:1].upper()}{slowest[1:]}." if slowest else ""
    return f"{rate}Inside the networks' tasks, all together: {listed}.{sentence}"


def split_path(share: CategoryShare) -> tuple[str, str]:
    """Split the name of a category on a report's page into the names of its parents and its own name."""
    parents, _, leaf = (share.category_path or "").rpartition(" > ")
    return parents.replace(" > ", " › "), leaf  # noqa: RUF001 - a typographic arrow


def _history(row: Mapping[str, Any]) -> dict[str, Any]:
    counts: Mapping[str, Any] = row["counts"]
    answered = [int(counts.get(status, 0)) for status in ("auto", "review", "unknown")]
    ended = row["finished_at_utc"] if row["state"] != "running" else None
    return {
        **{name: row[name] for name in ("run_id", "run_date")},
        "state": "retracted" if row.get("retracted_at_utc") else row["state"],
        "images": counts.get("images"),
        "rejected": counts.get("rejected"),
        "auto": answered[0] / sum(answered) if sum(answered) else None,
        "moved": counts.get("moved"),
        "seconds": (ended - row["started_at_utc"]).total_seconds() if ended else None,
    }


def _histogram(histograms: Mapping[str, Sequence[int]] | None) -> Markup | None:
    if not histograms or not any(sum(bins) for bins in histograms.values()):
        return None
    names = {_STATUS_NAMES[status]: bins for status, bins in histograms.items() if status in _STATUS_NAMES}
    colours = [status for status in histograms if status in _STATUS_NAMES]
    # The chart escapes its texts.
    return Markup(svg_histogram(names, colours=colours, across="confidence", up="products"))  # noqa: S704


def _icon(level: str) -> Markup:
    """Return the icon of a verdict; it makes the verdict readable without its colour."""
    around = (
        '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" '
        'stroke-linejoin="round" aria-hidden="true"><circle cx="12" cy="12" r="10"/>'
    )
    return Markup(f"{around}{_ICONS[level]}</svg>")  # noqa: S704 - our own text

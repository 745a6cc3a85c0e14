"""The verdict on a run: whether it went well, what is unusual, and which commands a person should run next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from jobs.pages.html import clip, percent
from jobs.report import held
from jobs.report.facts import Facts, differs, mean_confidences
from jobs.report.held import Task

GOOD, QUIET, LOOK, RUNNING, FAILED, RETRACTED = "good", "quiet", "look", "running", "failed", "retracted"

_MANY_REJECTED = 0.05
_LESS_CONFIDENT = 0.05
_MORE_REVIEW_POINTS = 0.05
_MANY_MOVED, _MANY_MOVED_SHARE = 20, 0.25


@dataclass(frozen=True)
class Verdict:
    """The verdict on a run: how it went, what is unusual, and what to do.

    Attributes:
        level: `good`, `quiet` (nothing was new), `look` (published, but something is unusual), `running`, `failed` or
            `retracted` (published, and taken back by a person).
        headline: Verdict in a few words.
        sentence: Verdict as a sentence with the main figures.
        unusual: Unusual observations, one sentence each.
        tasks: Recommended actions, the most urgent first.
    """

    level: str
    headline: str
    sentence: str
    unusual: tuple[str, ...]
    tasks: tuple[Task, ...]


def assess_run(facts: Facts) -> Verdict:
    """Reach the verdict on a run: its level, the main figures, unusual observations and recommended actions."""
    noun = facts.noun
    if facts.run["state"] == "failed":
        sentence = "Nothing was published: the categories are those of before."
        return Verdict(FAILED, f"The {noun} failed", sentence, (), tuple(_tasks_of_failure(facts)))
    if not facts.published:
        sentence = "Nothing of it is published yet: the categories are those of before."
        return Verdict(RUNNING, f"The {noun} is not finished", sentence, (), tuple(_tasks_of_running(facts)))
    if facts.retracted:
        return Verdict(
            RETRACTED, f"The {noun} was retracted", _retraction(facts), (), tuple(_tasks_of_retracted(facts))
        )
    unusual, tasks = tuple(_unusual(facts)), tuple(_tasks(facts))
    if unusual:
        return Verdict(LOOK, f"Published, but this {noun} needs a look", _sentence(facts), unusual, tasks)
    if not facts.images and not facts.rejected:
        sentence = _with_remarks("No image was new or changed; every category stands.", facts)
        return Verdict(QUIET, f"A quiet {noun}", sentence, (), tasks)
    return Verdict(GOOD, f"A good {noun}", _sentence(facts), (), tasks)


def _retraction(facts: Facts) -> str:
    given = facts.run["summary"].get("retracted") or {}
    reason = f": {clip(given['why'], 200)}" if given.get("why") else ""
    person = clip(given.get("by") or "A person", 60)
    return (
        f"{person} took it back on {facts.run['retracted_at_utc']:%Y-%m-%d}{reason}. "
        "Its answers do not count; the figures below are those of its publishing."
    )


def _sentence(facts: Facts) -> str:
    parts = []
    statuses = facts.statuses
    if statuses and sum(statuses.values()):
        total = sum(statuses.values())
        open_ = total - statuses["auto"]
        parts.append(
            f"{statuses['auto']:,} of {_many(total, 'product')} were tagged without a person "
            f"({percent(statuses['auto'] / total)})"
        )
        parts.append(f"{open_:,} wait for one" if open_ else "none waits for one")
    else:
        parts.append(f"{_many(facts.images, 'image')} {'was' if facts.images == 1 else 'were'} answered")
    if facts.rejected and not _many_rejected(facts):
        parts.append(f"{_many(facts.rejected, 'image')} could not be used")
    return _with_remarks("; ".join(parts) + ".", facts)


def _with_remarks(sentence: str, facts: Facts) -> str:
    return " ".join((sentence, *held.remarks(facts)))


def _many_rejected(facts: Facts) -> bool:
    return bool(facts.rejected) and facts.rejected / (facts.images + facts.rejected) >= _MANY_REJECTED


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _unusual(facts: Facts) -> Iterator[str]:
    yield from held.unusual(facts)
    images, rejected = facts.images, facts.rejected
    if _many_rejected(facts):
        share = percent(rejected / (images + rejected))
        yield f"{rejected:,} of {_many(images + rejected, 'new image')} ({share}) could not be used."
    for share_of_category in facts.unusual[:3]:
        name = clip(share_of_category.category_path or "no answer", 60)
        yield (
            f"“{name}” has {percent(share_of_category.share)} of the images; in the {facts.noun}s before it had "
            f"{percent(share_of_category.reference_share)}."
        )
    now, before = mean_confidences(facts.shares)
    if now is not None and before is not None and before - now >= _LESS_CONFIDENT and images >= 30:
        yield f"The answers are less certain than before: mean confidence {now:.2f} instead of {before:.2f}."
    yield from _more_for_people(facts)
    counts = facts.run["counts"]
    answered_before = sum((facts.statuses or {}).values()) - int(counts.get("first_answered", 0))
    moved = int(counts.get("moved", 0))
    if moved >= _MANY_MOVED and moved / max(answered_before, 1) >= _MANY_MOVED_SHARE:
        yield f"{moved:,} of {_many(answered_before, 'product')} that had an answer changed their category."


def _more_for_people(facts: Facts) -> Iterator[str]:
    statuses = facts.statuses
    if statuses is None:
        return
    earlier = [row["counts"] for row in facts.earlier if row["state"] == "published"]
    total, before = sum(statuses.values()), sum(c["auto"] + c["review"] + c["unknown"] for c in earlier)
    open_, open_before = total - statuses["auto"], sum(c["review"] + c["unknown"] for c in earlier)
    if not differs(open_, total, open_before, before, points=_MORE_REVIEW_POINTS):
        return
    if open_ / total > open_before / before:
        yield (
            f"More is left to people than usual: {percent(open_ / total)} of the products, "
            f"{percent(open_before / before)} in the {facts.noun}s before."
        )


def _tasks(facts: Facts) -> Iterator[Task]:
    run_id = shlex.quote(facts.run["run_id"])
    yield from held.tasks(facts)
    if facts.rejected:
        yield Task(
            f"See why {_many(facts.rejected, 'image')} could not be used, and have the catalog mended.",
            (f"shelfwise query rejections --param run_id={run_id}",),
        )
    if facts.unusual and facts.earlier:
        before = shlex.quote(facts.earlier[0]["run_id"])
        yield Task(
            "Compare the shares of the categories with the run before.",
            (f"shelfwise query drift --param run_id={run_id} --param reference_run_id={before}",),
        )
    moved = int(facts.run["counts"].get("moved", 0))
    if moved:
        yield Task(
            f"Look at the {'product' if moved == 1 else f'{moved:,} products'} that changed category.",
            (f"shelfwise query run_highlights --param run_id={run_id}", "shelfwise query category_changes --limit 20"),
        )
    waiting = facts.waiting.get("review", 0)
    if waiting:
        ids = [row["product_id"] for row in facts.least_certain if len(row["product_id"]) <= 80]
        product = shlex.quote(ids[0]) if ids else "PRODUCT"
        yield Task(
            f"Work the review queue: {_many(waiting, 'product')} of the whole catalog "
            f"{'waits' if waiting == 1 else 'wait'} there now.",
            ("shelfwise query review_queue --limit 20", f"shelfwise review accept {product} --by NAME"),
        )


def _tasks_of_failure(facts: Facts) -> Iterator[Task]:
    refused = list(held.tasks_of_refused_backfill(facts))
    yield from refused
    if not refused:
        text = "Mend what the message names, then go on with the run; what was finished is not done twice."
        yield Task(text, (_same_command(facts),))
    published = [row for row in facts.earlier if row["state"] == "published"]
    if published:
        yield Task(
            "See what the last run that was published did.",
            (f"shelfwise report --run-id {shlex.quote(published[0]['run_id'])}",),
        )


def _tasks_of_running(facts: Facts) -> Iterator[Task]:
    yield Task("Make this page again when it is finished.", (f"shelfwise report --run-id {_id(facts)}",))
    yield Task("If its driver is gone, the same command goes on where it stopped.", (_same_command(facts),))


def _tasks_of_retracted(facts: Facts) -> Iterator[Task]:
    yield Task("See which products have no answer now.", ("shelfwise query without_answer --limit 20",))
    yield Task("Publish it again, if it is right after all.", (_same_command(facts),))


def _same_command(facts: Facts) -> str:
    """Return the command that continues the run; `runs resume` if the run's row contains its command line."""
    if facts.run["summary"].get("call"):
        return f"shelfwise runs resume {_id(facts)}"
    if facts.run["kind"] == "nightly":
        default = f"nightly-{facts.run['run_date']}"
        option = "" if facts.run["run_id"] == default else f" --run-id {_id(facts)}"
        return f"shelfwise nightly --catalog CATALOG --run-date {facts.run['run_date']}{option}"
    return f"shelfwise backfill --from FIRST --to {facts.run['run_date']} --run-id {_id(facts)}"


def _id(facts: Facts) -> str:
    return shlex.quote(facts.run["run_id"])

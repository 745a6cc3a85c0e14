"""What a run held back for people, in sentences: images that its release does not know, and shared pictures."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.errors import RunRefused
from jobs.pages.html import clip
from jobs.report.facts import Facts
from sql.records import REVIEW_REASONS

REFUSED = f"{RunRefused.__name__}: "
"""How the error of a run begins that was refused; see `jobs.runs.claim`."""

_NAMED = 3


@dataclass(frozen=True)
class Task:
    """An action that a verdict recommends.

    Attributes:
        text: Reason for the action, one sentence.
        commands: Commands to run.
    """

    text: str
    commands: tuple[str, ...]


def unusual(facts: Facts) -> Iterator[str]:
    """Yield a sentence for each kind of images that a run held back; a foreign night comes first."""
    sentence = facts.gates.get("sentence")
    if sentence:
        yield f"{sentence[:1].upper()}{sentence[1:]}."
    if not facts.gates.get("allow_shift"):
        yield from _foreign_groups(facts)
    without_score = int(facts.gates.get("not_computed", 0))
    if without_score:
        yield (
            f"For {without_score:,} image{'' if without_score == 1 else 's'} it could not be computed whether the "
            "release knows such images; none of them is published without a person."
        )
    yield from _shared_pictures(facts)


def remarks(facts: Facts) -> Iterator[str]:
    """Yield what belongs to a verdict although nothing of it is unusual: an open gate, and `--allow-shift`."""
    if facts.gates.get("state") == "open":
        yield (
            f"Release {clip(facts.run['release_id'], 60)} has no description of the images that it knows, so every "
            f"image passed; {_remedy(facts)} makes a release that has one."
        )
    found = [*facts.gates.get("foreign_nights", ()), *facts.gates.get("foreign_groups", ())]
    if found and facts.gates.get("allow_shift"):
        images, foreign = (sum(each[name] for each in found) for name in ("images", "foreign"))
        yield (
            f"--allow-shift was given: {foreign:,} of {images:,} images were beyond the limit of the release, and only "
            "these were held back."
        )


def tasks(facts: Facts) -> Iterator[Task]:
    """Yield what people should do about the images that a run held back."""
    run = facts.run
    if facts.gates.get("sentence"):
        options = (
            *("--run-date", str(run["run_date"]), "--run-id", run["run_id"]),
            *("--release", run["release_id"], "--allow-shift"),
        )
        yield Task(
            "Make a release that knows such images; or publish the answers of this one, if they are right.",
            ("shelfwise finetune --quick", shlex.join(["shelfwise", "publish", *options])),
        )
    if facts.gates.get("closed_nights"):
        yield Task(
            "Make a release whose description of the images that it knows can be used; then predict the night again.",
            (_remedy(facts),),
        )
    shown = _shown(facts)
    if shown:
        content = shlex.quote(shown[0]["image_sha256"])
        yield Task(
            "Look at the pictures that different products share, and allow those that are right.",
            ("shelfwise query shared_pictures", f"shelfwise review allow-picture {content} --by NAME"),
        )


def tasks_of_refused_backfill(facts: Facts) -> Iterator[Task]:
    """Yield what people should do about a backfill that published nothing because of its images; else nothing.

    Only its gates refuse a backfill. Resuming it would be refused again.
    """
    if facts.run["kind"] != "backfill" or not str(facts.run["error"] or "").startswith(REFUSED):
        return
    call = [str(word) for word in facts.run["summary"].get("call") or ()]
    if not call:
        run_id, last = facts.run["run_id"], facts.run["run_date"]
        call = ["backfill", "--from", "FIRST", "--to", str(last), "--run-id", run_id]
    yield Task(
        "Make a release that knows these images and backfill with it; or publish the answers of this one all the same, "
        "if they are right.",
        ("shelfwise finetune --quick", shlex.join(["shelfwise", *call, "--allow-shift"])),
    )


def reasons(facts: Facts) -> list[dict[str, Any]]:
    """Return for a report's page the products by the reason for which they wait; empty for runs of earlier versions."""
    counts: Mapping[str, int] = facts.run["summary"].get("review_reasons") or {}
    return [{"name": text, "count": counts[reason]} for reason, text in REVIEW_REASONS.items() if counts.get(reason)]


def _remedy(facts: Facts) -> str:
    """Return the command that makes a release with a new description; runs of earlier versions do not name theirs."""
    return str(facts.gates.get("remedy") or "shelfwise release calibrate")


def _foreign_groups(facts: Facts) -> Iterator[str]:
    images: dict[str, int] = defaultdict(int)
    foreign: dict[str, int] = defaultdict(int)
    for group in facts.gates.get("foreign_groups", ()):  # a backfill has a group on each of its dates
        images[group["category_id"]] += group["images"]
        foreign[group["category_id"]] += group["foreign"]
    if not foreign:
        return
    paths = {share.category_id: share.category_path for share in facts.shares}
    most = sorted(foreign, key=lambda name: (-foreign[name], name))
    named = [
        f"“{clip(paths.get(name) or name, 60)}” ({foreign[name]:,} of {images[name]:,} images)"
        for name in most[:_NAMED]
    ]
    yield (
        f"Many images are unlike those that the release was calibrated on in {_listed(named, len(most))}; the answers "
        f"of {'this category' if len(most) == 1 else 'these categories'} wait for a person."
    )


def _shared_pictures(facts: Facts) -> Iterator[str]:
    shown = _shown(facts)
    if not shown:
        return
    count = len(facts.gates["shared_pictures"]["contents"])
    named = [
        f"{picture['image_sha256'][:12]}… under {picture['products']:,}, such as “{clip(picture['example'], 60)}”"
        for picture in shown[:_NAMED]
    ]
    yield (
        "Many different products have the same picture, perhaps one that says “no image”: "
        f"{_listed(named, count)}. Their answers wait for a person, unless another "
        "picture of the product decides."
    )


def _shown(facts: Facts) -> Sequence[Mapping[str, Any]]:
    """Return the shared pictures that the run's row describes, those of the most products first."""
    shared = facts.gates.get("shared_pictures") or {}
    shown: Sequence[Mapping[str, Any]] = shared.get("shown", ())
    return shown


def _listed(named: Sequence[str], count: int) -> str:
    more = count - len(named)
    return ", ".join(named) + (f" and {more:,} more" if more > 0 else "")

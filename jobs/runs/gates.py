"""The gates of a run: which of its answers are held back because their images are unlike those that the release knows.

Counts come from the prediction files. What was decided is noted with the run; the same run again uses the note.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from jobs.dataset.shards import ingest_date_of
from jobs.errors import RunRefused
from jobs.predict.reports import ShardReport
from jobs.runs.config import RunConfig
from models.answers.groups import ImageCount, foreign_groups, foreign_whole, without_scores
from models.answers.reasons import FOREIGN_GROUP, FOREIGN_NIGHT
from models.release import Release, describing_command
from sql.records import SHADOW_GATES
from sql.run_history import find_run
from sql.store import ProductDatabase

log = logging.getLogger(__name__)

NOTE = "gates"
"""Key of the note in a run's summary."""

OPEN, COMPUTED, CLOSED = "open", "computed", "closed"

_GROUPS_NAMED = 3


@dataclass(frozen=True)
class RunGates:
    """Decision which answers of a run are held back; noted as `gates` in the run's summary.

    Attributes:
        files: Digest of the prediction files that were counted.
        state: `computed`; `open` if the release has no description of the images that it knows; `closed` if it could
            not be computed for some images.
        images: Images by ingest date and predicted category, with those that are foreign.
        foreign_nights: Ingest dates of which all images are held back.
        foreign_groups: Ingest date and category of further images that are held back.
        allowed: Whether a person passed `--allow-shift`, so that neither holds anything back.
        without_score: By ingest date, images for which there was no score although the release has a description.
        shared_pictures: Contents that hold answers back; None if publish has to look for them.
        release_id: Release that predicted the images.
        remedy: Command that makes a release with a new description of the images that it knows.
    """

    files: str
    state: str
    images: Mapping[date, Mapping[str, ImageCount]] = field(default_factory=dict)
    foreign_nights: tuple[date, ...] = ()
    foreign_groups: tuple[tuple[date, str], ...] = ()
    allowed: bool = False
    without_score: Mapping[date, int] = field(default_factory=dict)
    shared_pictures: tuple[str, ...] | None = None
    release_id: str = ""
    remedy: str = ""

    @cached_property
    def _reasons(self) -> dict[date | tuple[date, str], str]:
        """Return the reason by night and by group that is held back."""
        if self.allowed:
            return {}
        return {
            **dict.fromkeys(self.foreign_groups, FOREIGN_GROUP),
            **dict.fromkeys(self.foreign_nights, FOREIGN_NIGHT),
        }

    @property
    def holds(self) -> bool:
        """Whether the images of a night or of a group are held back."""
        return bool(self._reasons)

    def held_by(self, ingest_date: date, leaf: str) -> str | None:
        """Return the reason for which the run holds an image's answer back; None if it does not.

        Args:
            ingest_date: Ingest date of the image.
            leaf: Category with the highest confidence, also if the answer is another.
        """
        return self._reasons.get(ingest_date) or self._reasons.get((ingest_date, leaf))

    def of_night(self, ingest_date: date) -> ImageCount:
        """Return the images of an ingest date with a score, and those of them that are foreign."""
        return sum(self.images.get(ingest_date, {}).values(), ImageCount())

    @property
    def not_computed(self) -> int:
        """Images for which there was no score although the release has a description."""
        return sum(self.without_score.values())

    @property
    def closed_nights(self) -> tuple[date, ...]:
        """Ingest dates of which the gate could not be computed: of all images, or of many."""
        return tuple(
            day
            for day, without in sorted(self.without_score.items())
            if without_scores(self.of_night(day).images + without, without)
        )

    @property
    def sentence(self) -> str | None:
        """What to tell people of foreign nights or partitions that are held back; None if there are none."""
        if self.allowed or not self.foreign_nights:
            return None
        count = sum(map(self.of_night, self.foreign_nights), ImageCount())
        return (
            f"these images are unlike those that release {self.release_id} was calibrated on ({count.foreign:,} of "
            f"{count.images:,} beyond its limit); fine-tune on your own, or pass --allow-shift"
        )

    @property
    def closed_sentence(self) -> str | None:
        """What to tell people of nights or partitions whose gate could not be computed; None if there are none."""
        if not self.closed_nights:
            return None
        without = sum(self.without_score[day] for day in self.closed_nights)
        images = without + sum(self.of_night(day).images for day in self.closed_nights)
        return (
            f"for {without:,} of {images:,} images it could not be computed whether release {self.release_id} knows "
            f"them, so none of them is published without a person; make a release with a new description by "
            f"`{self.remedy}`"
        )

    @property
    def group_sentence(self) -> str | None:
        """What to tell people of categories that are held back; None if there are none."""
        if self.allowed or not self.foreign_groups:
            return None
        leaves = list(dict.fromkeys(leaf for _, leaf in self.foreign_groups))  # a backfill has one on several dates
        categories = f"{len(leaves):,} categor{'y' if len(leaves) == 1 else 'ies'}"
        return (
            f"the answers of {categories} wait for a person, because many of their images are unlike those that "
            f"release {self.release_id} was calibrated on, such as {', '.join(leaves[:_GROUPS_NAMED])}"
        )

    @property
    def alerts(self) -> list[str]:
        """What to tell people at once, one sentence each, of foreign nights first; empty if nothing is held back."""
        return [each for each in (self.sentence, self.closed_sentence, self.group_sentence) if each]

    def note(self) -> dict[str, Any]:
        """Return the JSON document for the run's summary.

        `images` and `foreign` count all images with a score. Each of `foreign_nights` and `foreign_groups` has
        `ingest_date`, its `images` and those of them that are `foreign`; a group has its `category_id` too. `sentence`
        is there only if a night is held back. Publish adds `shared_pictures`.
        """
        whole = sum(map(self.of_night, self.images), ImageCount())
        nights = [{"ingest_date": day.isoformat(), **vars(self.of_night(day))} for day in self.foreign_nights]
        groups = [
            {"ingest_date": day.isoformat(), "category_id": leaf, **vars(self._of_group(day, leaf))}
            for day, leaf in self.foreign_groups
        ]
        return {
            "files": self.files,
            "state": self.state,
            **vars(whole),
            "not_computed": self.not_computed,
            "allow_shift": self.allowed,
            "foreign_nights": nights,
            "foreign_groups": groups,
            "closed_nights": [day.isoformat() for day in self.closed_nights],
            "remedy": self.remedy,
            "alerts": self.alerts,
            **({"sentence": self.sentence} if self.sentence else {}),
        }

    def _of_group(self, ingest_date: date, leaf: str) -> ImageCount:
        return self.images.get(ingest_date, {}).get(leaf, ImageCount())


def gates_of(reports: Iterable[ShardReport], release: Release, *, allow_shift: bool = False) -> RunGates:
    """Count the images of a run by ingest date and category, and decide which of them are held back.

    Args:
        reports: Reports in the run's prediction files.
        release: Release that predicted them. It says whether the gate is open where there is no file.
        allow_shift: Whether a person passed `--allow-shift`.
    """
    counted = sorted(reports, key=lambda report: _shard_name(report.shard))
    images: dict[date, dict[str, ImageCount]] = {}
    without_score: Counter[date] = Counter()
    for report in counted:
        day = ingest_date_of(Path(report.shard))
        if report.not_computed:
            without_score[day] += report.not_computed
        night = images.setdefault(day, {})
        for leaf, (scored, foreign) in report.by_leaf.items():
            night[leaf] = night.get(leaf, ImageCount()) + ImageCount(scored, foreign)
    nights = tuple(day for day, counts in sorted(images.items()) if foreign_whole(counts))
    others = [(day, counts) for day, counts in sorted(images.items()) if day not in nights]
    return RunGates(
        files=_digest(counted),
        state=_state(counted, release),
        images=images,
        foreign_nights=nights,
        foreign_groups=tuple((day, leaf) for day, counts in others for leaf in foreign_groups(counts)),
        allowed=allow_shift,
        without_score=dict(without_score),
        release_id=release.release_id,
        remedy=describing_command(release),
    )


def _state(reports: Iterable[ShardReport], release: Release) -> str:
    kinds = {CLOSED if report.not_computed else report.gate for report in reports}
    if not kinds:
        return OPEN if release.known is None else COMPUTED
    return next(state for state in (CLOSED, COMPUTED, OPEN) if state in kinds)


def _digest(reports: Iterable[ShardReport]) -> str:
    """Return the SHA-256 of what was counted; it stays the same if the home moves."""
    counted = [
        (_shard_name(report.shard), report.selection, report.release_id, report.not_computed, dict(report.by_leaf))
        for report in reports
    ]
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()


def _shard_name(shard: str) -> str:
    """Return the ingest date and the name of a shard's file, without the home in front."""
    return "/".join(Path(shard).parts[-2:])


def noted(gates: RunGates, note: Mapping[str, Any] | None) -> RunGates:
    """Return what an earlier publish or shadow of the same prediction files decided; the new decision for other files.

    An explicit `--allow-shift` is a new decision of its own; shared pictures stay as they were noted.

    Args:
        gates: New decision.
        note: Document of `RunGates.note`, with the `shared_pictures` of publish; None if there is none.
    """
    if not note or note.get("files") != gates.files:
        return gates
    shared = note.get("shared_pictures")
    kept = replace(gates, shared_pictures=None if shared is None else tuple(shared["contents"]))
    if gates.allowed:
        return kept
    return replace(
        kept,
        foreign_nights=tuple(date.fromisoformat(night["ingest_date"]) for night in note["foreign_nights"]),
        foreign_groups=tuple(
            (date.fromisoformat(group["ingest_date"]), group["category_id"]) for group in note["foreign_groups"]
        ),
        allowed=note["allow_shift"],
    )


def decide_gates(
    database: ProductDatabase, run: RunConfig, release: Release, reports: Iterable[ShardReport]
) -> RunGates:
    """Decide which answers of a run are held back, or use what was noted with the run, and log it.

    Args:
        database: Migrated database.
        run: The run.
        release: Release that predicted it.
        reports: Reports in the run's prediction files.

    Raises:
        RunRefused: If a partition of a backfill is foreign, or its gate could not be computed, and `--allow-shift` was
            not passed: nothing is published.
    """
    gates = noted(gates_of(reports, release, allow_shift=run.allow_shift), noted_gates(database, run.run_id))
    if run.kind == "backfill" and not gates.allowed:
        _refuse(gates, run.run_id)
    _log(gates)
    return gates


def _refuse(gates: RunGates, run_id: str) -> None:
    """Raise RunRefused if a partition of a backfill would replace its published answers by questions to people."""
    closed = f"{gates.closed_sentence}, or pass --allow-shift" if gates.closed_sentence else None
    reasons = [(gates.closed_nights, closed), (gates.foreign_nights, gates.sentence)]
    said = [f"because of the ingest date {_named(days)}: {sentence}" for days, sentence in reasons if sentence]
    if said:
        raise RunRefused(f"nothing of run {run_id} was published {'; and '.join(said)}")


def _named(days: Sequence[date]) -> str:
    more = len(days) - _GROUPS_NAMED
    return ", ".join(map(str, days[:_GROUPS_NAMED])) + (f" and {more:,} more" if more > 0 else "")


def noted_gates(database: ProductDatabase, run_id: str) -> dict[str, Any] | None:
    """Return the note of a run's last publish; None if there is none."""
    row = find_run(database, run_id)
    return row["summary"].get(NOTE) if row else None


def noted_shadow_gates(database: ProductDatabase, run_id: str, release_id: str) -> dict[str, Any] | None:
    """Return the note of the last shadow of a run by this challenger; None if there is none."""
    row = find_run(database, run_id)
    return (row["summary"].get(SHADOW_GATES) or {}).get(release_id) if row else None


def printed(note: Mapping[str, Any]) -> dict[str, Any]:
    """Return a note for the summary that a command prints: of the shared pictures only those that it describes."""
    shared = note.get("shared_pictures")
    described = {} if shared is None else {"shared_pictures": shared["shown"]}
    return {name: value for name, value in note.items() if name != "files"} | described


def _log(gates: RunGates) -> None:
    if gates.state == OPEN:
        log.info(
            "publish: release %s has no description of the images that it knows, so every image passes; "
            "`%s` makes a release that has one",
            gates.release_id,
            gates.remedy,
        )
    if gates.not_computed and not gates.closed_nights:
        log.warning("publish: %s images have no score of how unlike the known ones they are", gates.not_computed)
    for sentence in gates.alerts:
        log.warning("publish: %s", sentence)

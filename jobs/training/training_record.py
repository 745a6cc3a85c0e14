"""Record in a training's work directory: the dataset files, decisions and start weights with which it resumes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from jobs.dataset.catalog_labels import dataset_files
from jobs.errors import UsageError
from jobs.storage.places import Places
from models.training.recipe import CHECKPOINT
from models.whole_files import write_whole

RECORD = "begun.json"
"""File in a training's work directory that records the dataset files and start weights of the training."""


@dataclass(frozen=True)
class TrainingRecord:
    """Record of what a training was begun with; a resumed training uses the same.

    Attributes:
        files: Names of the dataset files that the training reads. Files before its first date are needed to find the
            part that owns a picture.
        starts: Maps each architecture to the weights that it started from.
        decisions_until: Number of the last decision of people that it learns. Trainings of earlier versions learned
            none.
    """

    files: tuple[str, ...]
    starts: dict[str, str]
    decisions_until: int = 0


def write_record(work_dir: Path, record: TrainingRecord) -> None:
    """Write the record of a new training, atomically; a training that has finished an epoch keeps its record."""
    if not _has_trained(work_dir):
        write_whole(work_dir / RECORD, json.dumps(asdict(record), indent=1))


def read_record(work_dir: Path, places: Places) -> TrainingRecord | None:
    """Read the record of the training in a work directory; None if it has not finished an epoch yet.

    Raises:
        UsageError: If the record is damaged, or one of its files is no longer in the home; the message names the
            remedy.
    """
    note = work_dir / RECORD
    if not note.exists() or not _has_trained(work_dir):
        return None
    try:
        record = TrainingRecord(**json.loads(note.read_text(encoding="utf-8")))
        names = frozenset(record.files)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{note} is damaged ({error}); delete {work_dir} to begin again") from error
    if gone := sorted(names - set(dataset_files(places))):
        raise UsageError(
            f"{gone[0]}, with which the training in {work_dir} was begun, is no longer in the home; bring it back, or "
            "delete that directory to begin again"
        )
    return record


def _has_trained(work_dir: Path) -> bool:
    return any(work_dir.glob(f"*/{CHECKPOINT}"))

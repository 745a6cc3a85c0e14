"""What a training learns from: the labelled products of some dataset files in their parts, and their taxonomy.

A training that goes on reads the files that it was begun with: the nights in between add others, which are for the next
training.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from jobs.config import Places, UsageError
from jobs.labels import PARTS, LabelledImage, data_sha256, dataset_files, labelled_images
from jobs.pages import write_whole
from jobs.taxonomy import split, taxonomy_of, with_products
from models.spec import Category

log = logging.getLogger(__name__)

FILES = "files.json"
"""In a training's work directory: the names of the dataset files that it was begun with."""


@dataclass(frozen=True)
class Selection:
    """Which labelled products are learned from, and as what.

    Attributes:
        places: Where state lives.
        taxonomy: A CSV file with category_id and category_path; None takes the labels as they are.
        taxonomy_version: Its name; empty makes one of the category_ids.
        first: First ingest date.
        last: Last ingest date, included.
        leave_out: Categories that are not looked at, with what is below them.
        min_products: Categories of fewer labelled products are left out; None refuses those that are too small.
    """

    places: Places
    taxonomy: Path | None = None
    taxonomy_version: str = ""
    first: date = date.min
    last: date = date.max
    leave_out: tuple[str, ...] = ()
    min_products: int | None = None


@dataclass(frozen=True)
class TrainingSet:
    """Labelled images by part, and what their labels mean.

    Attributes:
        sides: The images of each of `PARTS`.
        categories: In the order of a network's outputs.
        taxonomy_version: Of these.
        files: Names of the dataset files that were read.
    """

    sides: dict[str, list[LabelledImage]]
    categories: tuple[Category, ...]
    taxonomy_version: str
    files: tuple[str, ...]

    @property
    def category_ids(self) -> tuple[str, ...]:
        """What a network's outputs mean."""
        return tuple(category.category_id for category in self.categories)

    @property
    def data_sha256(self) -> str:
        """Fingerprint of the images and labels of all parts."""
        return data_sha256([image for part in PARTS for image in self.sides[part]])


def training_set(selection: Selection, work_dir: Path | None = None) -> TrainingSet:
    """List what is learned from.

    Args:
        selection: Which products.
        work_dir: Of the training, which may have been begun; None is one that is never gone on with.

    Raises:
        UsageError: If there is nothing to learn from, or a file that the training was begun with is gone.
    """
    there = dataset_files(selection.places, selection.first, selection.last)
    begun = _begun_with(work_dir, selection.places) if work_dir else None
    files = [name for name in there if name in begun] if begun else there
    if len(files) < len(there):
        newer = len(there) - len(files)
        log.info("finetune: goes on with the files it was begun with; %s newer ones are for the next training", newer)
    images = labelled_images(
        selection.places,
        first=selection.first,
        last=selection.last,
        leave_out=selection.leave_out,
        files=frozenset(files),
    )
    if selection.min_products:
        images = with_products(images, selection.min_products)
    categories, version = taxonomy_of(images, file=selection.taxonomy, name=selection.taxonomy_version)
    return TrainingSet(split(images), categories, version, tuple(files))


def begin(work_dir: Path, files: Sequence[str]) -> None:
    """Note what a training reads, in one step; one that was begun keeps its note."""
    note = work_dir / FILES
    if not note.exists():
        write_whole(note, json.dumps(files, indent=1))


def _begun_with(work_dir: Path, places: Places) -> frozenset[str] | None:
    """Return the names of the files that a training was begun with, or None if it was not."""
    note = work_dir / FILES
    if not note.exists():
        return None
    try:
        names = frozenset(json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{note} is damaged ({error}); delete {work_dir} to begin again") from error
    if gone := sorted(names - set(dataset_files(places))):
        raise UsageError(
            f"{gone[0]}, with which the training in {work_dir} was begun, is no longer in the home; bring it back, or "
            "delete that directory to begin again"
        )
    return names

"""What a training learns from: the labelled products of some dataset files in their parts, and their taxonomy.

A training that goes on reads the files that it was begun with: the nights in between add others, which are for the next
training.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from jobs.dataset.labels import PARTS, LabelledImage, data_sha256, dataset_files, labelled_images
from jobs.errors import UsageError
from jobs.storage.places import Places
from jobs.training.taxonomy import split, taxonomy_of, with_products
from models.spec import Category
from models.training.recipe import CHECKPOINT
from models.whole_files import write_whole

log = logging.getLogger(__name__)

BEGUN = "begun.json"
"""In a training's work directory: what it was begun with."""


@dataclass(frozen=True)
class Begun:
    """What a training that has trained an epoch was begun with.

    Attributes:
        files: Names of the dataset files that it reads; those before its first date tell whose a picture is.
        starts: What each network started from.
    """

    files: tuple[str, ...]
    starts: dict[str, str]


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


def training_set(selection: Selection, begun: Begun | None = None) -> TrainingSet:
    """List what is learned from.

    Args:
        selection: Which products.
        begun: The training that is gone on with; None is a new one.

    Raises:
        UsageError: If there is nothing to learn from.
    """
    there = dataset_files(selection.places, last=selection.last)
    among = frozenset(begun.files) if begun else frozenset(there)
    files = [name for name in there if name in among]
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


def begin(work_dir: Path, begun: Begun) -> None:
    """Note what a training begins with, in one step; one that has trained an epoch keeps its note."""
    if not _has_trained(work_dir):
        write_whole(work_dir / BEGUN, json.dumps(asdict(begun), indent=1))


def begun_with(work_dir: Path, places: Places) -> Begun | None:
    """Return what the training in a directory was begun with, or None if it has not trained an epoch yet.

    Raises:
        UsageError: If the note is damaged, or a file in it is no longer in the home.
    """
    note = work_dir / BEGUN
    if not note.exists() or not _has_trained(work_dir):
        return None
    try:
        begun = Begun(**json.loads(note.read_text(encoding="utf-8")))
        names = frozenset(begun.files)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{note} is damaged ({error}); delete {work_dir} to begin again") from error
    if gone := sorted(names - set(dataset_files(places))):
        raise UsageError(
            f"{gone[0]}, with which the training in {work_dir} was begun, is no longer in the home; bring it back, or "
            "delete that directory to begin again"
        )
    return begun


def _has_trained(work_dir: Path) -> bool:
    return any(work_dir.glob(f"*/{CHECKPOINT}"))

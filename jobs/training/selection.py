"""Selection of training data: the labelled products of some dataset files, split into parts, and their taxonomy.

A resumed training reads the dataset files that it started with. Files that later nights add are used by the next
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
"""File in a training's work directory that records the dataset files and start weights of the training."""


@dataclass(frozen=True)
class Begun:
    """Dataset files and start weights of a training; a resumed training uses the same.

    Attributes:
        files: Names of the dataset files that the training reads. Files before its first date are needed to find the
            part that owns a picture.
        starts: Maps each architecture to the weights that it started from.
    """

    files: tuple[str, ...]
    starts: dict[str, str]


@dataclass(frozen=True)
class Selection:
    """Labelled products to train on, and their taxonomy.

    Attributes:
        places: Directories and stores of the home.
        taxonomy: CSV file with the columns category_id and category_path; None uses the labels as categories.
        taxonomy_version: Version of the taxonomy; empty derives one from the category_ids.
        first: First ingest date.
        last: Last ingest date, included.
        leave_out: Categories to exclude, with everything below them.
        min_products: Exclude categories with fewer labelled products; None refuses categories that are too small.
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
    """Labelled images by part, and their categories.

    Attributes:
        sides: Maps each of `PARTS` to its images.
        categories: Categories in the order of a network's outputs.
        taxonomy_version: Version of the taxonomy of these categories.
        files: Names of the dataset files that were read.
    """

    sides: dict[str, list[LabelledImage]]
    categories: tuple[Category, ...]
    taxonomy_version: str
    files: tuple[str, ...]

    @property
    def category_ids(self) -> tuple[str, ...]:
        """The category_ids in the order of a network's outputs."""
        return tuple(category.category_id for category in self.categories)

    @property
    def data_sha256(self) -> str:
        """SHA-256 of the keys and labels of the images of all parts."""
        return data_sha256([image for part in PARTS for image in self.sides[part]])


def training_set(selection: Selection, begun: Begun | None = None) -> TrainingSet:
    """List the labelled images of each part, and their categories.

    Args:
        selection: Labelled products to train on.
        begun: Record of the training to resume; None starts a new training.

    Raises:
        UsageError: If the labelled products cannot be used for a training; the message names the remedy.
    """
    existing = dataset_files(selection.places, last=selection.last)
    among = frozenset(begun.files) if begun else frozenset(existing)
    files = [name for name in existing if name in among]
    if len(files) < len(existing):
        newer = len(existing) - len(files)
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
    """Write the record of a new training, atomically; a training that has finished an epoch keeps its record."""
    if not _has_trained(work_dir):
        write_whole(work_dir / BEGUN, json.dumps(asdict(begun), indent=1))


def begun_with(work_dir: Path, places: Places) -> Begun | None:
    """Return the record of the training in a directory; None if it has not finished an epoch yet.

    Raises:
        UsageError: If the record is damaged, or one of its files is no longer in the home; the message names the
            remedy.
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

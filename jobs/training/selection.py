"""Selection of training data: the labelled products of some dataset files, split into parts, and their taxonomy.

A resumed training reads the dataset files that it started with. Files that later nights add are used by the next
training.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from jobs.dataset.catalog_labels import dataset_files
from jobs.dataset.label_map import LabelMap
from jobs.dataset.labels import LabelledImage, by_part, data_sha256, labelled_images
from jobs.dataset.parts import PARTS
from jobs.errors import UsageError
from jobs.storage.places import Places
from jobs.training.taxonomy import read_taxonomy, small_categories, taxonomy_of
from jobs.training.training_record import TrainingRecord
from jobs.wording import leaving_out, listed, quoted
from models.linear.crossfit import groups_of
from models.spec import Category

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """Selection of labelled products to train on, and their taxonomy: dates, categories to leave out, smallest number.

    Attributes:
        places: Directories and stores of the home.
        taxonomy: CSV file with the columns category_id and category_path; None uses the labels as categories.
        taxonomy_version: Version of the taxonomy; empty derives one from the category_ids.
        first: First ingest date.
        last: Last ingest date, included.
        leave_out: Categories to exclude, with everything below them.
        min_products: Exclude categories with fewer labelled products; None refuses categories that are too small.
        labels: The shop's label map; None applies the rule of `jobs.dataset.category_texts`.
    """

    places: Places
    taxonomy: Path | None = None
    taxonomy_version: str = ""
    first: date = date.min
    last: date = date.max
    leave_out: tuple[str, ...] = ()
    min_products: int | None = None
    labels: LabelMap | None = None


@dataclass(frozen=True)
class TrainingSet:
    """The selected labelled images by part, and their categories.

    Attributes:
        sides: Maps each of `PARTS` to its images.
        categories: Categories in the order of a network's outputs.
        taxonomy_version: Version of the taxonomy of these categories.
        files: Names of the dataset files that were read.
        groups: Maps product_id to the name of its group: products that share a group_id or a picture, directly or
            through others, in whichever part they are.
    """

    sides: dict[str, list[LabelledImage]]
    categories: tuple[Category, ...]
    taxonomy_version: str
    files: tuple[str, ...]
    groups: dict[str, str]

    @property
    def category_ids(self) -> tuple[str, ...]:
        """The category_ids in the order of a network's outputs."""
        return tuple(category.category_id for category in self.categories)

    @property
    def data_sha256(self) -> str:
        """SHA-256 of the keys and labels of the images of all parts."""
        return data_sha256([image for part in PARTS for image in self.sides[part]])


def training_set(selection: Selection, begun: TrainingRecord | None = None) -> TrainingSet:
    """Select the labelled images of each part to train on, and list their categories.

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
        labels=selection.labels,
        category_ids=[leaf.category_id for leaf in read_taxonomy(selection.taxonomy)] if selection.taxonomy else (),
    )
    if selection.min_products:
        images = without_small_categories(images, selection.min_products)
    categories, version = taxonomy_of(images, file=selection.taxonomy, name=selection.taxonomy_version)
    shared: defaultdict[str, set[str]] = defaultdict(set)
    for image in images:
        shared[image.product_id] |= {image.image_sha256, f"group {image.group}"}
    return TrainingSet(split(images), categories, version, tuple(files), groups_of(shared))


def without_small_categories(images: Sequence[LabelledImage], at_least: int) -> list[LabelledImage]:
    """Leave categories with too few products out of the selection; those of child categories do not count.

    Args:
        images: Labelled images.
        at_least: Smallest number of products of a category.

    Returns:
        The images of the other categories.

    Raises:
        UsageError: If no category has enough products; label more, or give a lower number.
    """
    few = small_categories(images, at_least)
    kept = [image for image in images if image.category_id not in few]
    if not kept:
        largest = max(few, key=lambda label: few[label])
        raise UsageError(
            f"no category has the {at_least:,} products of --min-products, the largest, {quoted(largest)}, has "
            f"{few[largest]:,}; label more products, or give a lower number"
        )
    if few:
        log.info(
            "%s categories with fewer than %s products are left out, and so their %s products",
            len(few),
            at_least,
            sum(few.values()),
        )
    return kept


def split(images: Sequence[LabelledImage]) -> dict[str, list[LabelledImage]]:
    """Split the selected images into the parts train, validation and test; no picture is in two parts.

    Raises:
        UsageError: If a part has no image, or a category has no training image; the message names the remedy.
    """
    sides = by_part(images)
    for part, images_of_part in sides.items():
        if not images_of_part:
            raise UsageError(
                f"no product with a picture of its own falls into the part {part!r}, a share by chance, in which all "
                "products of a group_id are together; label more products"
            )
    if lost := sorted({image.category_id for image in images} - {image.category_id for image in sides["train"]}):
        message = f"category {quoted(lost[0])} has"
        if len(lost) > 1:
            message = f"{len(lost):,} categories ({listed([quoted(label) for label in lost])}) have"
        raise UsageError(
            f"{message} no picture to learn from that does not measure too; label more products with pictures of their "
            f"own, or leave out what has none with {leaving_out(lost)}"
        )
    return sides

"""Selection of training data: the labelled products of some dataset files, split into parts, and their taxonomy.

A resumed training reads the dataset files and the decisions of people that it started with. What later nights and
people add is used by the next training. People's labels teach and never measure, see `jobs.dataset.decided_labels`.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from jobs.dataset.catalog_labels import CatalogSpan, dataset_files
from jobs.dataset.decided_labels import BOTH, ReadDecisions, images_to_learn, no_decisions
from jobs.dataset.label_map import LabelMap
from jobs.dataset.labels import PEOPLE, LabelledImage, by_part, check_labels, data_sha256
from jobs.dataset.parts import PARTS
from jobs.errors import UsageError
from jobs.storage.places import Places
from jobs.training.taxonomy import read_taxonomy, small_categories, taxonomy_of
from jobs.training.training_record import TrainingRecord
from jobs.wording import leaving_out, listed, quoted
from models.linear.crossfit import groups_of
from models.release import Release
from models.spec import Category

UNMEASURED = (
    "precision cannot be measured on the decisions of people alone, who decide on what the machine was unsure of, and "
    "the catalog gives too few of the learned categories to its products; choose some hundred products at random, give "
    "them a category in the catalog, and ingest it again"
)
"""Sentence on a training whose labels are of people alone, or nearly so."""

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
        labels_from: Whose labels to learn, one of `jobs.dataset.decided_labels.LABELS_FROM`.
        decisions: Reads the decisions of people.
        release: Release that is fitted again: its categories and no others are learned; None learns all.
        known_only: Whether to exclude products whose category that release does not know; if False, they are refused.
    """

    places: Places
    taxonomy: Path | None = None
    taxonomy_version: str = ""
    first: date = date.min
    last: date = date.max
    leave_out: tuple[str, ...] = ()
    min_products: int | None = None
    labels: LabelMap | None = None
    labels_from: str = BOTH
    decisions: ReadDecisions = no_decisions
    release: Release | None = None
    known_only: bool = False

    def until(self, number: int) -> Selection:
        """Return the same selection without decisions of people after the one with this number."""
        return replace(self, decisions=lambda _: self.decisions(number))


@dataclass(frozen=True)
class TrainingSet:
    """The selected labelled images by part, and their categories.

    Attributes:
        taught: Maps `train` and `validation` to the images with labels to learn, of the catalog and of people.
        measured: Maps each of `PARTS` to the images with the catalog's labels, in which no person had a say.
        categories: Categories in the order of a network's outputs.
        taxonomy_version: Version of the taxonomy of these categories.
        files: Names of the dataset files that were read.
        groups: Maps product_id to the name of its group: products that share a group_id or a picture, directly or
            through others, in whichever part they are.
        labels_from: Whose labels are learned.
        decisions_until: Number of the last decision of people that was read; 0 if there is none.
    """

    taught: dict[str, list[LabelledImage]]
    measured: dict[str, list[LabelledImage]]
    categories: tuple[Category, ...]
    taxonomy_version: str
    files: tuple[str, ...]
    groups: dict[str, str]
    labels_from: str = BOTH
    decisions_until: int = 0

    @property
    def sides(self) -> dict[str, list[LabelledImage]]:
        """Images of each part: those of train have the labels to learn, all others the catalog's."""
        return {**self.measured, "train": self.taught["train"]}

    @property
    def can_be_measured(self) -> bool:
        """Whether the catalog labels images that calibrate, and images that measure."""
        return all(self.measured[part] for part in ("validation", "test"))

    @property
    def category_ids(self) -> tuple[str, ...]:
        """The category_ids in the order of a network's outputs."""
        return tuple(category.category_id for category in self.categories)

    @property
    def data_sha256(self) -> str:
        """SHA-256 of the keys and labels of the images of all parts."""
        sides = self.sides
        images = [image for part in PARTS for image in sides[part]]
        if self.taught["validation"] != self.measured["validation"]:
            images += self.taught["validation"]
        return data_sha256(images)

    def labels_told(self, parts: Sequence[str] = ("train",)) -> dict[str, int | str]:
        """Return what the model card tells of the labels: of how many products who gave them.

        Args:
            parts: Parts that teach.
        """
        images = [image for part in parts for image in self.taught[part]]
        people = {image.product_id for image in images if image.source == PEOPLE}
        return {
            "labels_from": self.labels_from,
            "products_labelled_by_people": len(people),
            "products_labelled_by_catalog": len({image.product_id for image in images} - people),
            "decisions_until": self.decisions_until,
        }


def training_set(selection: Selection, begun: TrainingRecord | None = None, *, unmeasured: bool = False) -> TrainingSet:
    """Select the labelled images of each part to train on, and list their categories.

    Args:
        selection: Labelled products to train on.
        begun: Record of the training to resume; None starts a new training.
        unmeasured: Whether the training can do without labels of the catalog, if people have decided; its release
            cannot be measured then.

    Raises:
        UsageError: If the labelled products cannot be used for a training; the message names the remedy.
        DatabaseError: If the decisions of people cannot be read.
    """
    files = _files(selection, begun)
    decided = selection.decisions(begun.decisions_until if begun else None)
    given = selection.release.categories if selection.release else ()
    leaves = read_taxonomy(selection.taxonomy) if selection.taxonomy else given
    span = CatalogSpan(
        selection.first, selection.last, frozenset(files), selection.labels, [leaf.category_id for leaf in leaves]
    )
    found = images_to_learn(
        selection.places, span, decided, labels_from=selection.labels_from, leave_out=selection.leave_out
    )
    taught, same = found.taught, found.measured is found.taught
    if selection.release:
        taught = _of_release(taught, selection.release, known_only=selection.known_only)
    if selection.min_products:
        taught = without_small_categories(taught, selection.min_products)
    if selection.release:
        categories, version = given, selection.release.taxonomy_version
    else:
        categories, version = taxonomy_of(taught, file=selection.taxonomy, name=selection.taxonomy_version)
    measured = taught if same else _of_categories(found.measured, categories)
    by_parts = _split(taught, measured, unmeasured=unmeasured)
    shared: defaultdict[str, set[str]] = defaultdict(set)
    for image in (*taught, *measured):
        shared[image.product_id] |= {image.image_sha256, f"group {image.group}"}
    return TrainingSet(
        *by_parts, categories, version, tuple(files), groups_of(shared), selection.labels_from, decided.until
    )


def _files(selection: Selection, begun: TrainingRecord | None) -> list[str]:
    """Return the names of the dataset files to read: for a resumed training those that it was begun with."""
    existing = dataset_files(selection.places, last=selection.last)
    among = frozenset(begun.files) if begun else frozenset(existing)
    files = [name for name in existing if name in among]
    if len(files) < len(existing):
        newer = len(existing) - len(files)
        log.info("finetune: goes on with the files it was begun with; %s newer ones are for the next training", newer)
    return files


def _of_release(images: Sequence[LabelledImage], release: Release, *, known_only: bool) -> list[LabelledImage]:
    """Return the images of a release's categories.

    Raises:
        UsageError: If there are others and they are not to be left out, or a category has none; the message names it.
    """
    ids = [category.category_id for category in release.categories]
    kept = [image for image in images if image.category_id in set(ids)]
    if not known_only:
        check_labels(images, ids, taxonomy=f"release {release.release_id}", or_known_only=True)
    elif lost := {image.product_id for image in images} - {image.product_id for image in kept}:
        log.info("labels: %s products of categories that the release does not know are left out", f"{len(lost):,}")
    if missing := sorted(set(ids) - {image.category_id for image in kept}):
        raise UsageError(
            f"no product is labelled {quoted(missing[0])} any longer, which release {release.release_id} knows; label "
            "some, or make a release without that category with `shelfwise finetune --quick`"
        )
    return kept


def _of_categories(measured: Sequence[LabelledImage], categories: Sequence[Category]) -> list[LabelledImage]:
    """Leave out images of categories that are not learned: if people have a say, not all of the catalog's are."""
    ids = {category.category_id for category in categories}
    if lost := {image.product_id for image in measured if image.category_id not in ids}:
        log.info(
            "labels: the catalog puts %s products into categories that are not learned; they measure nothing",
            f"{len(lost):,}",
        )
    return [image for image in measured if image.category_id in ids]


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
    """Split selected images into the parts train, validation and test; no picture is in two parts.

    Raises:
        UsageError: If a part has no image, or a category has no training image; the message names the remedy.
    """
    return _split(images, images)[1]


def _split(
    taught: Sequence[LabelledImage], measured: Sequence[LabelledImage], *, unmeasured: bool = False
) -> tuple[dict[str, list[LabelledImage]], dict[str, list[LabelledImage]]]:
    """Split the images to learn and the images that measure into parts, as `TrainingSet` has them.

    Raises:
        UsageError: As for `split`.
    """
    learned = by_part(taught)
    sides = learned if measured is taught else by_part(measured, tell=False)
    for part in PARTS:
        if (learned if part == "train" else sides)[part]:
            continue
        if part == "train" or measured is taught:
            raise UsageError(
                f"no product with a picture of its own falls into the part {part!r}, a share by chance, in which all "
                "products of a group_id are together; label more products"
            )
        if not unmeasured:
            raise UsageError(UNMEASURED)
    if lost := sorted({image.category_id for image in taught} - {image.category_id for image in learned["train"]}):
        message = f"category {quoted(lost[0])} has"
        if len(lost) > 1:
            message = f"{len(lost):,} categories ({listed([quoted(label) for label in lost])}) have"
        raise UsageError(
            f"{message} no picture to learn from that does not measure too; label more products with pictures of their "
            f"own, or leave out what has none with {leaving_out(lost)}"
        )
    return {part: learned[part] for part in ("train", "validation")}, sides

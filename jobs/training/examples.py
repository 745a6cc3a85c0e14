"""The images of a quick training: what they teach, what they measure, and in which fold each is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.dataset.labels import LabelledImage
from jobs.errors import UsageError
from jobs.evaluation.image_predictions import refuse_none
from jobs.training.features import FeatureStore, usable
from jobs.training.selection import TrainingSet
from jobs.wording import leaving_out, quoted
from models.linear.crossfit import LEAST_GROUPS, UNTAUGHT, TooFewGroups, folds_of

TEACHING = ("train", "validation")
"""Parts that teach."""


@dataclass(frozen=True)
class Examples:
    """The images of some parts whose features are known, in order of product_id and image_no.

    Attributes:
        images: The images; those that teach with the label to learn, the others with the catalog's.
        labels: Category index to learn of each image, or `UNTAUGHT`, (images,).
        failed: Number of images that could not be decoded.
        measuring: Maps the rows of the images that the catalog labels to these images with its labels.
    """

    images: Sequence[LabelledImage]
    labels: NDArray[np.int64]
    failed: int
    measuring: Mapping[int, LabelledImage]

    @property
    def contents(self) -> list[str]:
        """The image_sha256 of each image."""
        return [image.image_sha256 for image in self.images]

    @property
    def taught(self) -> list[LabelledImage]:
        """The images that teach."""
        return [image for image, label in zip(self.images, self.labels, strict=True) if label != UNTAUGHT]


NO_EXAMPLES = Examples([], np.empty(0, np.int64), 0, {})


def all_images(learned_from: TrainingSet) -> list[LabelledImage]:
    """Return the images of all parts, which teach, calibrate or measure."""
    sides = [*learned_from.measured.values(), *learned_from.taught.values()]
    return list({image.key: image for side in sides for image in side}.values())


def examples_of(
    learned_from: TrainingSet, parts: Sequence[str], stores: Mapping[str, FeatureStore] | None = None
) -> Examples:
    """Return the images of some parts whose features are in all stores; without stores, all images."""
    taught = {image.key: image for part in parts for image in learned_from.taught.get(part, ())}
    measured = {image.key: image for part in parts for image in learned_from.measured[part]}
    images = list((measured | taught).values())
    there = images if stores is None else usable(images, stores)
    there = sorted(there, key=lambda image: (image.product_id, image.image_no))
    refuse_none(len(there), images)
    column = {category_id: index for index, category_id in enumerate(learned_from.category_ids)}
    labels = [column[image.category_id] if image.key in taught else UNTAUGHT for image in there]
    measuring = {row: measured[image.key] for row, image in enumerate(there) if image.key in measured}
    return Examples(there, np.array(labels, np.int64), len(images) - len(there), measuring)


def folds_by_group(known: Examples, learned_from: TrainingSet, seed: int) -> NDArray[np.int64]:
    """Divide the images to learn from into folds, by groups of products that belong together.

    Raises:
        UsageError: If a category has too few groups of products; the message names it.
    """
    ids = learned_from.category_ids
    groups = [learned_from.groups[image.product_id] for image in known.images]
    try:
        if missing := sorted(set(range(len(ids))) - set(known.labels.tolist())):
            raise TooFewGroups(missing[0], 0)
        return folds_of(groups, known.labels, seed=seed)
    except TooFewGroups as error:
        raise UsageError(
            f"category {quoted(ids[error.category])} has {error.groups} products outside the part test that share no "
            f"group_id and no picture, and at least {LEAST_GROUPS} are needed, so that each is measured by a head that "
            f"learned from others; label more of them, or leave the category out with "
            f"{leaving_out([ids[error.category]])}"
        ) from error

"""What a release says of labelled products: with the reader, networks and decision of predict and publish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.config import Places, UsageError
from jobs.labelled_answers import CONFIDENCES, Answered, products, refuse_none
from jobs.labels import LabelledImage, check_labels, labelled_images
from models.calibration import combine
from models.decision import Answer
from models.levels import Level, depths, joined, look
from models.products import answer_of_product, by_product, distributions
from models.release import Release
from models.spec import Predictor, Probabilities

MOST_NAMED = 10


@dataclass(frozen=True)
class EvaluateConfig:
    """What is measured.

    Attributes:
        places: Where state lives.
        first: First ingest date.
        last: Last ingest date, included.
        leave_out: Categories that are not looked at, with what is below them.
        part: `train`, `validation` or `test`; None is every product.
        part_reason: Why it is this part, where nobody asked for it.
        known_only: Whether products whose category the release does not know are left out; else they are refused.
        batch_size: Images a call of the networks.
        decode_workers: Threads that decode while the networks compute.
    """

    places: Places
    first: date = date.min
    last: date = date.max
    leave_out: tuple[str, ...] = ()
    part: str | None = None
    part_reason: str = ""
    known_only: bool = False
    batch_size: int = 32
    decode_workers: int = 2

    def told(self) -> dict[str, Any]:
        """Return which products are looked at, for whoever reads a figure; a date that was not given is None."""
        return {
            "part": self.part or "all",
            "part_reason": self.part_reason,
            "leave_out": list(self.leave_out),
            "first": self.first.isoformat() if self.first != date.min else None,
            "last": self.last.isoformat() if self.last != date.max else None,
        }

    def images(self) -> list[LabelledImage]:
        """List what is measured on."""
        images = labelled_images(
            self.places, first=self.first, last=self.last, part=self.part, leave_out=self.leave_out
        )
        if not images:
            raise UsageError(f"no labelled product is in the part {self.part!r}; measure another part, or --part all")
        return images


@dataclass(frozen=True)
class Measured:
    """What a release says of labelled products, in order of product_id: enough for every figure of them.

    Attributes:
        product_ids: The products.
        labels: Index of each product's true category.
        first_images: Each product's first image, for showing it.
        winners: Index of the surest category.
        confidences: Its calibrated confidence, in [0, 1].
        answers: What is published, suggested or left open.
        levels: The same at each depth of the taxonomy, that of the leaves first.
        images: How many images were answered.
        failed: How many could not be decoded, and are left out.
    """

    product_ids: tuple[str, ...]
    labels: NDArray[np.integer[Any]]
    first_images: tuple[LabelledImage, ...]
    winners: NDArray[np.integer[Any]]
    confidences: NDArray[np.floating[Any]]
    answers: tuple[Answer, ...]
    levels: tuple[Level, ...]
    images: int
    failed: int

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Whether the surest leaf is the true one."""
        return np.asarray(self.winners == self.labels)


@dataclass(frozen=True)
class Together:
    """Some products, whose images are put together as publish does.

    Attributes:
        first_images: Each product's first image.
        labels: Index of each product's true category.
        products: Of each image the index of its product, ascending.
        confidences: What a product's answer is decided by, (products, categories).
        raw: The same without the temperature.
        by_network: Each network's softmax, averaged over the product's images.
    """

    first_images: tuple[LabelledImage, ...]
    labels: NDArray[np.int64]
    products: NDArray[np.int64]
    confidences: Probabilities
    raw: Probabilities
    by_network: Mapping[str, Probabilities]


def known_to(releases: Sequence[Release], images: Sequence[LabelledImage]) -> list[LabelledImage]:
    """Return the images of products whose category every one of some releases knows."""
    known = set.intersection(*({category.category_id for category in release.categories} for release in releases))
    return [image for image in images if image.category_id in known]


def left_out(images: Sequence[LabelledImage], asked: Sequence[LabelledImage]) -> dict[str, Any]:
    """Count the products that are not measured on, and name their most frequent categories."""
    kept = {image.product_id for image in asked}
    labels = {image.product_id: image.category_id for image in images if image.product_id not in kept}
    counts = Counter(labels.values())
    return {
        "products": len(labels),
        "categories": len(counts),
        "named": [name for name, _ in counts.most_common(MOST_NAMED)],
    }


def named(release: Release) -> str:
    """Say which release it is, and of what."""
    return f"release {release.release_id} (taxonomy {release.taxonomy_version})"


def measure(
    predictor: Predictor, release: Release, images: Sequence[LabelledImage], config: EvaluateConfig
) -> Measured:
    """Predict labelled images and put them together by product, as publish does.

    Args:
        predictor: Of the release.
        release: Whose categories the labels must be, and whose policy decides.
        images: From `jobs.labels.labelled_images`.
        config: Batch size and decoding threads.

    Returns:
        One entry a product.

    Raises:
        UsageError: If a label is not a category of the release.
        RunFailed: If no image could be decoded.
    """
    ids = [category.category_id for category in release.categories]
    check_labels(images, ids, taxonomy=named(release), or_known_only=True)
    looks: list[tuple[Level, ...]] = []
    firsts: list[LabelledImage] = []
    labels: list[NDArray[np.int64]] = []
    answers: list[Answer] = []
    best: list[tuple[NDArray[np.integer[Any]], NDArray[np.floating[Any]]]] = []
    answered = failed = 0
    for found in products(predictor, images, config):
        failed += len(found.failed)
        answered += len(found.images)
        if not found.images:
            continue
        some = put_together(release, found)
        firsts += some.first_images
        labels.append(some.labels)
        best.append((some.confidences.argmax(axis=1), some.confidences.max(axis=1)))
        looks.append(
            tuple(
                look(ids, depth, some.labels, some.confidences, raw=some.raw, by_network=some.by_network)
                for depth in depths(ids)
            )
        )
        rows = by_product(found.rows[CONFIDENCES], some.products)
        answers += [answer_of_product(ids, own, release.policy) for own in rows]
    refuse_none(answered, images)
    order = np.array(sorted(range(len(firsts)), key=lambda place: firsts[place].product_id))
    return Measured(
        product_ids=tuple(firsts[place].product_id for place in order),
        labels=np.concatenate(labels)[order],
        first_images=tuple(firsts[place] for place in order),
        winners=np.concatenate([winners for winners, _ in best])[order],
        confidences=np.concatenate([highest for _, highest in best])[order],
        answers=tuple(answers[place] for place in order),
        levels=tuple(joined(parts, order) for parts in zip(*looks, strict=True)),
        images=answered,
        failed=failed,
    )


def put_together(release: Release, found: Answered) -> Together:
    """Give each product its distributions.

    Args:
        release: That answered.
        found: The images of whole products, those of one product beside each other.
    """
    ids = [category.category_id for category in release.categories]
    names = [image.product_id for image in found.images]
    starts = [place for place, name in enumerate(names) if not place or names[place - 1] != name]
    index = np.zeros(len(names), np.int64)
    index[starts[1:]] = 1
    index = np.cumsum(index)
    networks = {name: rows for name, rows in found.rows.items() if name != CONFIDENCES}
    weights = {network.architecture: network.ensemble_weight for network in release.networks}
    firsts = tuple(found.images[start] for start in starts)
    return Together(
        first_images=firsts,
        labels=np.array([ids.index(image.category_id) for image in firsts]),
        products=index,
        confidences=distributions(ids, found.rows[CONFIDENCES], index),
        raw=distributions(ids, combine(networks, weights=weights, temperature=1.0), index),
        by_network={
            name: np.asarray([own.mean(axis=0) for own in by_product(rows, index)], np.float32)
            for name, rows in networks.items()
        },
    )

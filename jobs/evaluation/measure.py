"""What a release says of labelled products: with the reader, networks and decision of predict and publish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.dataset.labels import LabelledImage, check_labels, labelled_images
from jobs.errors import UsageError
from jobs.evaluation.answers import CONFIDENCES, Answered, refuse_none, whole_products
from jobs.storage.places import Places
from models.answers.calibration import combine
from models.answers.decision import Answer, ancestors
from models.answers.levels import Level, build_level, depths, joined
from models.answers.products import answer_of_product, by_product, distributions
from models.release import Release
from models.spec import Predictor, Probabilities

MOST_NAMED = 10

TOGETHER = 256
"""Images that are looked at in one go."""


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


def known_to(
    releases: Sequence[Release], images: Sequence[LabelledImage], *, or_above: bool = False
) -> list[LabelledImage]:
    """Return the images of products whose category every one of some releases knows.

    Args:
        releases: Which.
        images: Labelled.
        or_above: Whether also those labelled with a node above one, for `jobs.dataset.labels.check_labels` to refuse.
    """
    known = set.intersection(*({category.category_id for category in release.categories} for release in releases))
    known |= {node for leaf in known for node in ancestors(leaf)} if or_above else set()
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
        images: From `jobs.dataset.labels.labelled_images`.
        config: Batch size and decoding threads.

    Returns:
        One entry a product.

    Raises:
        UsageError: If a label is not a category of the release.
        RunFailed: If no image could be decoded.
    """
    ids = [category.category_id for category in release.categories]
    check_labels(images, ids, taxonomy=named(release), or_known_only=True)
    row_bytes = 4 * len(ids) * (len(release.networks) + 1)
    looks: list[tuple[Level, ...]] = []
    firsts: list[LabelledImage] = []
    best: list[tuple[NDArray[np.int64], NDArray[np.integer[Any]], NDArray[np.floating[Any]]]] = []
    answers: list[Answer] = []
    count = failed = 0
    for part in whole_products(predictor, images, config, row_bytes=row_bytes):
        failed += part.failed
        count += len(part.images)
        for found in _pieces(part):
            some = put_together(release, found)
            firsts += some.first_images
            best.append((some.labels, some.confidences.argmax(axis=1), some.confidences.max(axis=1)))
            looks.append(
                tuple(
                    build_level(ids, depth, some.labels, some.confidences, raw=some.raw, by_network=some.by_network)
                    for depth in depths(ids)
                )
            )
            rows = by_product(found.rows[CONFIDENCES], some.products)
            answers += [answer_of_product(ids, own, release.policy) for own in rows]
    refuse_none(count, images)
    labels, winners, confidences = (np.concatenate(column) for column in zip(*best, strict=True))
    return Measured(
        product_ids=tuple(image.product_id for image in firsts),
        labels=labels,
        first_images=tuple(firsts),
        winners=winners,
        confidences=confidences,
        answers=tuple(answers),
        levels=tuple(joined(parts) for parts in zip(*looks, strict=True)),
        images=count,
        failed=failed,
    )


def _pieces(part: Answered) -> Iterator[Answered]:
    """Cut products apart into pieces of some `TOGETHER` images, whose arithmetic takes several times their rows."""
    starts = np.flatnonzero(np.diff(part.products, prepend=-1))
    begin = 0
    for start in [*starts[1:].tolist(), len(part.images)]:
        if start - begin >= TOGETHER or start == len(part.images) > begin:
            yield part.part(begin, start)
            begin = start


def put_together(release: Release, found: Answered) -> Together:
    """Give each product its distributions.

    Args:
        release: That answered.
        found: The images of whole products, those of one product beside each other.
    """
    ids = [category.category_id for category in release.categories]
    index = found.products
    firsts = np.flatnonzero(np.diff(index, prepend=-1))
    networks = {name: rows for name, rows in found.rows.items() if name != CONFIDENCES}
    weights = {network.architecture: network.ensemble_weight for network in release.networks}
    return Together(
        first_images=tuple(found.images[place] for place in firsts),
        labels=found.labels(ids)[firsts],
        products=index,
        confidences=distributions(ids, found.rows[CONFIDENCES], index),
        raw=distributions(ids, combine(networks, weights=weights, temperature=1.0), index),
        by_network={
            name: np.asarray([own.mean(axis=0) for own in by_product(rows, index)], np.float32)
            for name, rows in networks.items()
        },
    )

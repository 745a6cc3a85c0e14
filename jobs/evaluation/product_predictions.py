"""Predictions of a release for labelled products, combined from those for their images as in publish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.dataset.labels import LabelledImage, check_labels
from jobs.evaluation.config import EvaluateConfig
from jobs.evaluation.gates import JudgedImages, LabelledGates, gates_of, held_answers, judged
from jobs.evaluation.gates import joined as joined_images
from jobs.evaluation.image_predictions import CONFIDENCES, Answered, refuse_none, whole_products
from models.answers.calibration import combine
from models.answers.decision import Answer
from models.answers.levels import Level, build_level, depths, joined
from models.answers.products import answer_of_product, by_product, distributions
from models.answers.taxonomy import ancestors
from models.known.gate import ImageGate
from models.release import Release
from models.spec import Predictor, Probabilities

MOST_NAMED = 10

TOGETHER = 256
"""Approximate number of images whose figures are computed at once, which bounds the memory."""


@dataclass(frozen=True)
class Measured:
    """Predictions for all labelled products, in order of product_id, from which an evaluation computes its figures.

    Attributes:
        product_ids: Identifiers of the products.
        labels: Category index of each product's label, (products,).
        first_images: First image of each product, for thumbnails.
        winners: Index of the category with the highest confidence, (products,).
        confidences: Calibrated confidence of that category, in [0, 1], (products,).
        answers: Decision for each product: published, suggested or left open.
        levels: Labels and predictions at each depth of the taxonomy, the leaves first.
        images: Number of predicted images.
        failed: Number of images that could not be decoded; they are excluded.
        gates: How many of the images the release knows, and which answers are held back for it.
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
    gates: LabelledGates = field(default_factory=LabelledGates)

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Whether the leaf with the highest confidence is the label, bool (products,)."""
        return np.asarray(self.winners == self.labels)


@dataclass(frozen=True)
class ProductPredictions:
    """Predictions for some labelled products, combined from those for their images as in publish.

    Attributes:
        first_images: First image of each product.
        labels: Category index of each product's label, (products,).
        products: Product index of each image, ascending, (images,).
        confidences: Calibrated confidences that decide a product's category, (products, categories).
        raw: The same confidences without the temperature, (products, categories).
        by_network: Softmax of each network, averaged over the images that decide, (products, categories).
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
    """Keep the images of labelled products whose category all of the releases know.

    Args:
        releases: Releases that must know the category.
        images: Labelled images.
        or_above: Whether to include images labelled with an inner node above a known leaf;
            `jobs.dataset.labels.check_labels` then refuses them.
    """
    known = set.intersection(*({category.category_id for category in release.categories} for release in releases))
    known |= {node for leaf in known for node in ancestors(leaf)} if or_above else set()
    return [image for image in images if image.category_id in known]


def left_out(images: Sequence[LabelledImage], asked: Sequence[LabelledImage]) -> dict[str, Any]:
    """Count the labelled products of unknown categories, and list the most frequent of these categories.

    Args:
        images: All labelled images.
        asked: Images that are measured.
    """
    kept = {image.product_id for image in asked}
    labels = {image.product_id: image.category_id for image in images if image.product_id not in kept}
    counts = Counter(labels.values())
    return {
        "products": len(labels),
        "categories": len(counts),
        "named": [name for name, _ in counts.most_common(MOST_NAMED)],
    }


def named(release: Release) -> str:
    """Name a release and its taxonomy, for a message about labelled products that do not fit."""
    return f"release {release.release_id} (taxonomy {release.taxonomy_version})"


def measure(
    predictor: Predictor,
    release: Release,
    images: Sequence[LabelledImage],
    config: EvaluateConfig,
    gate: ImageGate | None = None,
) -> Measured:
    """Predict labelled products: predict their images and combine these by product, as in publish.

    Args:
        predictor: Predictor of the release.
        release: Release whose categories the labels must be, and whose policy decides.
        images: Labelled images from `jobs.dataset.labels.labelled_images`.
        config: Configuration with batch size and decoding threads.
        gate: Decides which images the release knows; None trusts all of them.

    Returns:
        The predictions, one entry per product.

    Raises:
        UsageError: If a label is not a category of the release; the message names the remedy.
        RunFailed: If no image could be decoded; ingest the catalog again.
    """
    ids = [category.category_id for category in release.categories]
    check_labels(images, ids, taxonomy=named(release), or_known_only=True)
    row_bytes = 4 * len(ids) * (len(release.networks) + 1)
    return measured_parts(release, whole_products(predictor, images, config, row_bytes=row_bytes, gate=gate), images)


def measured_parts(release: Release, parts: Iterable[Answered], images: Sequence[LabelledImage]) -> Measured:
    """Combine the predictions for labelled images by product, as in publish.

    Args:
        release: Release that predicted them, whose policy decides.
        parts: Predictions for the images, in order of product_id; the images of a product are in one part. Images that
            the release cannot judge decide no product as long as it has others.
        images: All images that were to be predicted, for the message if there is no prediction.

    Returns:
        The predictions, one entry per product.

    Raises:
        RunFailed: If no image could be decoded; ingest the catalog again.
    """
    ids = [category.category_id for category in release.categories]
    levels: list[tuple[Level, ...]] = []
    firsts: list[LabelledImage] = []
    best: list[tuple[NDArray[np.int64], NDArray[np.integer[Any]], NDArray[np.floating[Any]]]] = []
    answers: list[Answer] = []
    looked_at: list[JudgedImages | None] = []
    count = failed = 0
    for part in parts:
        failed += part.failed
        count += len(part.images)
        for piece in _pieces(part):
            combined = combined_by_product(release, piece)
            looked_at.append(judged(piece, combined.products + len(firsts)))
            firsts += combined.first_images
            best.append((combined.labels, combined.confidences.argmax(axis=1), combined.confidences.max(axis=1)))
            levels.append(
                tuple(
                    build_level(
                        ids,
                        depth,
                        combined.labels,
                        combined.confidences,
                        raw=combined.raw,
                        by_network=combined.by_network,
                    )
                    for depth in depths(ids)
                )
            )
            answers += _answers(ids, piece, combined.products, release)
    refuse_none(count, images)
    every = joined_images(looked_at)
    gates = gates_of(release, every)
    labels, winners, confidences = (np.concatenate(column) for column in zip(*best, strict=True))
    return Measured(
        product_ids=tuple(image.product_id for image in firsts),
        labels=labels,
        first_images=tuple(firsts),
        winners=winners,
        confidences=confidences,
        answers=held_answers(answers, every, gates, release),
        levels=tuple(joined(parts) for parts in zip(*levels, strict=True)),
        images=count,
        failed=failed,
        gates=gates,
    )


def _answers(
    ids: Sequence[str], piece: Answered, products: NDArray[np.integer[Any]], release: Release
) -> Iterator[Answer]:
    """Decide for each product of a piece; `products` is the product index of each image, (images,)."""
    positions = by_product(np.arange(len(products)), products)
    for rows, where in zip(by_product(piece.rows[CONFIDENCES], products), positions, strict=True):
        untrusted = None if piece.untrusted is None else [piece.untrusted[index] for index in where]
        yield answer_of_product(ids, rows, release.policy, untrusted)


def _pieces(part: Answered) -> Iterator[Answered]:
    """Split a part between products into pieces of about `TOGETHER` images.

    Computing figures takes several times the memory of the predictions, so it is done piece by piece.
    """
    starts = np.flatnonzero(np.diff(part.products, prepend=-1))
    begin = 0
    for start in [*starts[1:].tolist(), len(part.images)]:
        if start - begin >= TOGETHER or start == len(part.images) > begin:
            yield part.part(begin, start)
            begin = start


def combined_by_product(release: Release, answered: Answered) -> ProductPredictions:
    """Combine the predictions for labelled images to predictions for their products.

    Args:
        release: Release that predicted the images.
        answered: All images of some products with their predictions; the images of a product are adjacent.
    """
    ids = [category.category_id for category in release.categories]
    index, say = answered.products, answered.say
    firsts = np.flatnonzero(np.diff(index, prepend=-1))
    networks = {name: rows for name, rows in answered.rows.items() if name != CONFIDENCES}
    weights = {network.architecture: network.ensemble_weight for network in release.networks}
    return ProductPredictions(
        first_images=tuple(answered.images[int(position)] for position in firsts),
        labels=answered.labels(ids)[firsts],
        products=index,
        confidences=distributions(ids, answered.rows[CONFIDENCES], index, say),
        raw=distributions(ids, combine(networks, weights=weights, temperature=1.0), index, say),
        by_network={name: _means(rows, index, say) for name, rows in networks.items()},
    )


def _means(rows: Probabilities, products: NDArray[np.integer[Any]], say: NDArray[np.bool_] | None) -> Probabilities:
    """Return the mean of each product's rows, of those with a say if it has any, float32 (products, categories)."""
    chosen = [True] * len(rows) if say is None else say
    parts = zip(by_product(rows, products), by_product(np.asarray(chosen), products), strict=True)
    return np.asarray([(some[heard] if heard.any() else some).mean(axis=0) for some, heard in parts], np.float32)

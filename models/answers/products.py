"""Combine the distributions of a product's images into the answer for the product.

The answer for a product with one image comes from the whole distribution of that image. With several images only the
best categories of each image are stored, and their mean is the distribution of the product. Foreign images are left
out of the mean, unless all of a product's images are foreign: then its answer is held back. So is that of a product
with an image whose gate could not be computed. Predict, publish, evaluate and calibration all call this module, so that
an evaluation measures exactly what is published.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.answers.decision import DIGITS, Answer, Policy, decide, held_back
from models.answers.reasons import FOREIGN_IMAGE, FOREIGN_NIGHT, GATE_CLOSED, UNTRUSTED, first_of

TOP_K = 5
"""Number of categories of an image's distribution that are stored."""

Top = Sequence[tuple[str, float]]
"""Best categories of one image: (category_id, confidence), the highest confidence first."""


@dataclass(frozen=True)
class ImageVote:
    """What an image says about its product.

    Attributes:
        top: Best categories of the image.
        review_reason: Why the image alone would not be published, as predict found it; None if it would be.
        held_by: Reason for which the run holds the image's answer back, one of `RUN_REASONS`; None if it does not.
    """

    top: Top
    review_reason: str | None = None
    held_by: str | None = None

    @property
    def foreign(self) -> bool:
        """Whether the release does not know images like this one, so that its confidences mean nothing."""
        return self.review_reason == FOREIGN_IMAGE


def best(ids: Sequence[str], row: NDArray[np.floating[Any]], *, count: int = TOP_K) -> list[tuple[str, float]]:
    """Return the best categories of an image, in the form in which they are stored and combined by product.

    Args:
        ids: The category_id of each column.
        row: Calibrated confidences of the image, (categories,).
        count: Highest number of categories to return.

    Returns:
        (category_id, confidence), rounded to `models.answers.decision.DIGITS`, the highest confidence first.
    """
    return best_of_each(ids, row[None, :], count=count)[0]


def best_of_each(
    ids: Sequence[str], rows: NDArray[np.floating[Any]], *, count: int = TOP_K
) -> list[list[tuple[str, float]]]:
    """Return what `best` returns for each of several images, whose confidences are (images, categories)."""
    order = np.argsort(-rows, axis=1, kind="stable")[:, :count]
    values = np.take_along_axis(rows, order, axis=1)
    return [
        [(ids[place], round(value, DIGITS)) for place, value in zip(places, confidences, strict=True)]
        for places, confidences in zip(order.tolist(), values.tolist(), strict=True)
    ]


def combine_images(tops: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Combine the stored answers of several images of one product: the mean confidence of each category.

    Args:
        tops: For each image the confidences of its best categories, by category_id; other categories count as 0.

    Returns:
        Mean confidence by category_id, the highest first. Ties are in order of category_id, so that the order of the
        images does not matter.
    """
    confidences: dict[str, list[float]] = {}
    for top in tops:
        for category_id, confidence in top.items():
            confidences.setdefault(category_id, []).append(confidence)
    # The last digit of a plain sum depends on the order of the images, and it can decide a tie.
    means = {category_id: math.fsum(parts) / len(tops) for category_id, parts in confidences.items()}
    return dict(sorted(means.items(), key=lambda item: (-item[1], item[0])))


def answer_of_image(
    ids: Sequence[str], row: NDArray[np.floating[Any]], policy: Policy, *, untrusted: str | None = None
) -> Answer:
    """Return the answer for a product with one image, from the whole distribution of that image.

    Args:
        ids: The category_id of each column.
        row: Calibrated confidences of the image, (categories,).
        policy: Thresholds of the release.
        untrusted: Why the release cannot judge the image, one of `UNTRUSTED`; None if it can.
    """
    return decide(dict(zip(ids, row.tolist(), strict=True)), policy, held=untrusted)


def answer_of_images(votes: Sequence[ImageVote], policy: Policy) -> Answer:
    """Decide for a product with several images by the stored best categories of each.

    The images that are not foreign decide, all of them if all are foreign. A deciding image that the release cannot
    judge, and what holds a deciding image back for the run, hold the product's answer back. A foreign night does so by
    any of its images.
    """
    deciding = [vote for vote in votes if not vote.foreign] or votes
    untrusted = first_of(vote.review_reason for vote in deciding if vote.review_reason in UNTRUSTED)
    answer = decide(combine_images([dict(vote.top) for vote in deciding]), policy, held=untrusted)
    of_night = [FOREIGN_NIGHT for vote in votes if vote.held_by == FOREIGN_NIGHT]
    held_by = first_of([*of_night, *(vote.held_by for vote in deciding)])
    return answer if held_by is None else held_back(answer, held_by, policy)


def answer_of_product(
    ids: Sequence[str],
    rows: NDArray[np.floating[Any]],
    policy: Policy,
    untrusted: Sequence[str | None] | None = None,
) -> Answer:
    """Decide for a product by the calibrated confidences of all its images.

    Args:
        ids: The category_id of each column.
        rows: Calibrated confidences, (images, categories).
        policy: Thresholds of the release.
        untrusted: Why the release cannot judge each image, one of `UNTRUSTED`, or None where it can; None if it can
            judge all of them.
    """
    reasons = [None] * len(rows) if untrusted is None else untrusted
    if len(rows) == 1:
        return answer_of_image(ids, rows[0], policy, untrusted=reasons[0])
    votes = [ImageVote(best(ids, row), reason) for row, reason in zip(rows, reasons, strict=True)]
    return answer_of_images(votes, policy)


def by_product(rows: NDArray[Any], products: NDArray[np.integer[Any]]) -> Iterator[NDArray[Any]]:
    """Split an array with one row per image, such as the confidences, by product; yield the rows of each.

    Args:
        rows: Rows of all images, (images, ...), in order of product index.
        products: Product index of each image, ascending, (images,).
    """
    starts = np.flatnonzero(np.diff(products)) + 1
    yield from np.split(rows, starts)


def with_say(untrusted: Sequence[str | None]) -> NDArray[np.bool_]:
    """Return whether each image has a say in its product's answer beside others, bool (images,): foreign ones do not.

    Args:
        untrusted: Why the release cannot judge each image, one of `UNTRUSTED`, or None where it can.
    """
    return np.array([reason != FOREIGN_IMAGE for reason in untrusted], np.bool_)


def publishable(untrusted: Sequence[str | None], products: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Return whether each product can be published by itself, however sure its answer is, bool (products,).

    Args:
        untrusted: Why the release cannot judge each image, one of `UNTRUSTED`, or None where it can.
        products: Product index of each image, ascending from 0, (images,).
    """
    known = np.array([reason is None for reason in untrusted], np.bool_)
    closed = np.array([reason == GATE_CLOSED for reason in untrusted], np.bool_)
    return np.asarray((np.bincount(products, known) > 0) & (np.bincount(products, closed) == 0))


def distribution_of_product(
    ids: Sequence[str], rows: NDArray[np.floating[Any]], say: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return the distribution over its images by which a product is decided, (categories,).

    With several images its sum may be below 1, because only the best categories of each image count.

    Args:
        ids: The category_id of each column.
        rows: Calibrated confidences, (images, categories).
        say: What `with_say` returns of the images; None if none of them is foreign.
    """
    if len(rows) == 1:
        return np.asarray(rows[0], np.float64)
    if say is not None and say.any():
        rows = rows[say]
    combined: Mapping[str, float] = combine_images([dict(best(ids, row)) for row in rows])
    return np.array([combined.get(category_id, 0.0) for category_id in ids])


def distributions(
    ids: Sequence[str],
    rows: NDArray[np.floating[Any]],
    products: NDArray[np.integer[Any]],
    say: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Return the distribution of each product over its images, (products, categories).

    Args:
        ids: The category_id of each column.
        rows: Calibrated confidences, (images, categories), in order of product index.
        products: Product index of each image, ascending, (images,).
        say: What `with_say` returns of the images; None if none of them is foreign.
    """
    parts = list(by_product(rows, products))
    heard = [None] * len(parts) if say is None else list(by_product(say, products))
    whole = np.empty((len(parts), len(ids)), np.float32)
    for index, (images, some) in enumerate(zip(parts, heard, strict=True)):
        whole[index] = distribution_of_product(ids, images, some)
    return whole

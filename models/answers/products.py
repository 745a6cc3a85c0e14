"""Combine the distributions of a product's images into the answer for the product.

The answer for a product with one image comes from the whole distribution of that image. With several images only the
best categories of each image are stored, and their mean is the distribution of the product. Predict, publish, evaluate
and calibration all call this module, so that an evaluation measures exactly what is published.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.answers.decision import DIGITS, Answer, Policy, decide

TOP_K = 5
"""Number of categories of an image's distribution that are stored."""

Top = Sequence[tuple[str, float]]
"""Best categories of one image: (category_id, confidence), the highest confidence first."""


def best(ids: Sequence[str], row: NDArray[np.floating[Any]], *, count: int = TOP_K) -> list[tuple[str, float]]:
    """Return the best categories of an image, in the form in which they are stored and combined by product.

    Args:
        ids: The category_id of each column.
        row: Calibrated confidences of the image, (categories,).
        count: Highest number of categories to return.

    Returns:
        (category_id, confidence), rounded to `models.answers.decision.DIGITS`, the highest confidence first.
    """
    order = np.argsort(-row, kind="stable")[:count]
    return [(ids[place], round(float(row[place]), DIGITS)) for place in order]


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


def answer_of_image(ids: Sequence[str], row: NDArray[np.floating[Any]], policy: Policy) -> Answer:
    """Return the answer for a product with one image, from the whole distribution of that image, (categories,)."""
    return decide(dict(zip(ids, row.tolist(), strict=True)), policy)


def answer_of_images(tops: Sequence[Top], policy: Policy) -> Answer:
    """Decide for a product with several images by the stored best categories of each."""
    return decide(combine_images([dict(top) for top in tops]), policy)


def answer_of_product(ids: Sequence[str], rows: NDArray[np.floating[Any]], policy: Policy) -> Answer:
    """Decide for a product by the calibrated confidences of all its images, (images, categories)."""
    if len(rows) == 1:
        return answer_of_image(ids, rows[0], policy)
    return answer_of_images([best(ids, row) for row in rows], policy)


def by_product(
    rows: NDArray[np.floating[Any]], products: NDArray[np.integer[Any]]
) -> Iterator[NDArray[np.floating[Any]]]:
    """Split the confidences of all images by product; yield (images, categories) of each.

    Args:
        rows: Confidences of all images, (images, categories), in order of product index.
        products: Product index of each image, ascending, (images,).
    """
    starts = np.flatnonzero(np.diff(products)) + 1
    yield from np.split(rows, starts)


def distribution_of_product(ids: Sequence[str], rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the distribution over its images by which a product is decided, (categories,).

    With several images its sum may be below 1, because only the best categories of each image count.
    """
    if len(rows) == 1:
        return np.asarray(rows[0], np.float64)
    combined: Mapping[str, float] = combine_images([dict(best(ids, row)) for row in rows])
    return np.array([combined.get(category_id, 0.0) for category_id in ids])


def distributions(
    ids: Sequence[str], rows: NDArray[np.floating[Any]], products: NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    """Return the distribution of each product over its images, (products, categories).

    Args:
        ids: The category_id of each column.
        rows: Calibrated confidences, (images, categories), in order of product index.
        products: Product index of each image, ascending, (images,).
    """
    parts = list(by_product(rows, products))
    whole = np.empty((len(parts), len(ids)), np.float32)
    for index, images in enumerate(parts):
        whole[index] = distribution_of_product(ids, images)
    return whole

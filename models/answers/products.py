"""From what the networks say of images to the answer for a product: in predict, publish, evaluate and calibration.

A product of one image is answered by that image's whole distribution. Of several images only the best categories of
each are stored, and their mean is the product's distribution. All who decide call this, so that what is measured is
what is published.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.answers.calibration import combine_images
from models.answers.decision import DIGITS, Answer, Policy, decide

TOP_K = 5
"""How many categories of an image's distribution are stored."""

Top = Sequence[tuple[str, float]]


def best(ids: Sequence[str], row: NDArray[np.floating[Any]], *, count: int = TOP_K) -> list[tuple[str, float]]:
    """Return an image's best categories as they are stored.

    Args:
        ids: Of the columns.
        row: Calibrated confidences, (categories,).
        count: How many, at most.

    Returns:
        The category_ids with their confidences, rounded to `models.answers.decision.DIGITS`, the surest first.
    """
    order = np.argsort(-row, kind="stable")[:count]
    return [(ids[place], round(float(row[place]), DIGITS)) for place in order]


def answer_of_image(ids: Sequence[str], row: NDArray[np.floating[Any]], policy: Policy) -> Answer:
    """Decide what is done with one image's whole distribution."""
    return decide(dict(zip(ids, row.tolist(), strict=True)), policy)


def answer_of_images(tops: Sequence[Top], policy: Policy) -> Answer:
    """Decide what is done with a product of several images, of each of which the best categories are known."""
    return decide(combine_images([dict(top) for top in tops]), policy)


def answer_of_product(ids: Sequence[str], rows: NDArray[np.floating[Any]], policy: Policy) -> Answer:
    """Decide what is done with a product, of whose images (images, categories) is known."""
    if len(rows) == 1:
        return answer_of_image(ids, rows[0], policy)
    return answer_of_images([best(ids, row) for row in rows], policy)


def by_product(
    rows: NDArray[np.floating[Any]], products: NDArray[np.integer[Any]]
) -> Iterator[NDArray[np.floating[Any]]]:
    """Yield each product's (images, categories), of rows that are in order of their products' indices."""
    starts = np.flatnonzero(np.diff(products)) + 1
    yield from np.split(rows, starts)


def distribution_of_product(ids: Sequence[str], rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return what `answer_of_product` decides by, (categories,); of several images it may sum to less than 1."""
    if len(rows) == 1:
        return np.asarray(rows[0], np.float64)
    combined: Mapping[str, float] = combine_images([dict(best(ids, row)) for row in rows])
    return np.array([combined.get(category_id, 0.0) for category_id in ids])


def distributions(
    ids: Sequence[str], rows: NDArray[np.floating[Any]], products: NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    """Return `distribution_of_product` of each product, (products, categories).

    Args:
        ids: Of the columns.
        rows: Calibrated confidences, (images, categories), in order of their products' indices.
        products: Of each image the index of its product, ascending.
    """
    parts = list(by_product(rows, products))
    whole = np.empty((len(parts), len(ids)), np.float32)
    for index, own in enumerate(parts):
        whole[index] = distribution_of_product(ids, own)
    return whole

"""Cross-fitting: measure each product by a head that did not learn from it, so that all products can calibrate.

The products are divided into folds. The head that measures a fold learns from the other folds. It does not choose its
own strength on the fold that it measures either: of the folds that it learns from, one is held out for that choice.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.linear.head import Block, Features, Head, fit_head, scale_of
from models.spec import Probabilities

FOLDS = 5
"""Number of folds: each head learns from four fifths of the products."""

LEAST_GROUPS = 3
"""Fewest groups of a category. A head that chooses its strength learns without two folds, so a third must have it."""

UNTAUGHT = -1
"""Label of an image that teaches nothing, and is answered alone."""

STRENGTHS = tuple(10.0 ** (quarter / 4) for quarter in range(-8, 21))
"""Strengths to choose from, in ascending order: a quarter of a decade apart, from 0.01 to 100,000."""

USUAL_STRENGTH = 150.0
"""Strength at which the search begins: about that of photographs on the features of ImageNet's backbones."""

_TINY = 1e-12

log = logging.getLogger(__name__)


class TooFewGroups(ValueError):
    """Raised if a category cannot be in enough folds.

    Attributes:
        category: Index of the category.
        groups: Number of its groups.
    """

    def __init__(self, category: int, groups: int) -> None:
        """Set the index of the category and the number of its groups."""
        self.category, self.groups = category, groups
        super().__init__(f"category {category} has {groups} groups, and at least {LEAST_GROUPS} are needed")


@dataclass(frozen=True)
class CrossFitted:
    """Result of a cross-fitting.

    Attributes:
        head: Head that learned from all images; the one to publish.
        strength: Its strength: the geometric mean of those of the folds.
        softmaxes: Answer for each image by a head that did not learn from its fold, float32 (images, categories).
        strengths: Strength that each fold's head chose.
    """

    head: Head
    strength: float
    softmaxes: Probabilities
    strengths: tuple[float, ...]


def folds_of(groups: Sequence[str], labels: NDArray[np.int64], *, seed: int, count: int = FOLDS) -> NDArray[np.int64]:
    """Divide images into folds, so that each category is spread over as many folds as it has groups.

    Groups without an image that teaches are spread over the folds as if they were one more category.

    Args:
        groups: Name of each image's group. A group is in one fold: all images of a product, and of products that are
            variants of one article or share a picture.
        labels: Category index of each image, or `UNTAUGHT`, (images,). A group counts as one of its most frequent
            category.
        seed: Seed of the division; the same seed and groups give the same folds.
        count: Number of folds, at least 3.

    Returns:
        Fold of each image, from 0 to `count` - 1, int64 (images,).

    Raises:
        TooFewGroups: If a category has fewer than `LEAST_GROUPS` groups; label more products of it.
    """
    images: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for group, label in zip(groups, labels.tolist(), strict=True):
        images[group][label] += 1
    for counts in images.values():
        if counts.keys() != {UNTAUGHT}:
            del counts[UNTAUGHT]
    by_category: defaultdict[int, list[str]] = defaultdict(list)
    for group in sorted(images, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest()):
        category = min(images[group], key=lambda label: (-images[group][label], label))
        by_category[category].append(group)
    for category in np.unique(labels[labels != UNTAUGHT]).tolist():
        if len(by_category[category]) < LEAST_GROUPS:
            raise TooFewGroups(category, len(by_category[category]))
    fold_of: dict[str, int] = {}
    sizes = [0] * count
    for category in sorted(by_category, key=lambda each: (each == UNTAUGHT, each)):
        of_category = [0] * count
        for group in by_category[category]:
            fold = min(range(count), key=lambda each: (of_category[each], sizes[each], each))
            fold_of[group] = fold
            of_category[fold] += images[group][category]
            sizes[fold] += images[group].total()
    return np.array([fold_of[group] for group in groups], np.int64)


def cross_fit(
    features: Features,
    labels: NDArray[np.int64],
    folds: NDArray[np.int64],
    categories: int,
) -> CrossFitted:
    """Fit a head on all images that teach, and answer for each image by a head that did not learn from its fold.

    Args:
        features: Features of a backbone, float32 (images, features); copied unless they are in order of their folds.
        labels: Category index of each image, or `UNTAUGHT`, (images,).
        folds: Fold of each image, from `folds_of`.
        categories: Number of categories.

    Raises:
        UnusableFeatures: If no head can be fitted to the features.
    """
    order = np.argsort(folds, kind="stable")
    count = int(folds.max()) + 1
    ends = np.searchsorted(folds[order], np.arange(count + 1))
    # Each fold is one block, so that no fit copies its images; images in order of their folds are not copied at all.
    if np.any(np.diff(order) < 0):
        features, labels = features[order], labels[order]
    answered = [features[start:end] for start, end in pairwise(ends.tolist())]
    scale_of([(each, labels) for each in answered])  # refuses unusable features before any fit
    pairs = zip(answered, pairwise(ends.tolist()), strict=True)
    blocks = [_teaching(each, labels[start:end]) for each, (start, end) in pairs]
    softmaxes = np.empty((len(labels), categories), np.float32)
    strengths: list[float] = []
    for fold in range(count):
        held_out = (fold + 1) % count
        inner = [block for number, block in enumerate(blocks) if number not in (fold, held_out)]
        # Nothing is taken over from the former fold, not even a first guess: its head has seen this fold.
        strength, near = _chosen(inner, blocks[held_out], categories)
        head = fit_head([*inner, blocks[held_out]], categories, strength=strength, start=near)
        softmaxes[order[ends[fold] : ends[fold + 1]]] = head.probabilities(answered[fold])
        strengths.append(strength)
        log.info("head: fold %s of %s has the strength %.3g", fold + 1, count, strength)
    strength = float(np.exp(np.log(strengths).mean()))
    head = fit_head(blocks, categories, strength=strength, start=head)
    return CrossFitted(head, strength, softmaxes, tuple(strengths))


def _teaching(features: Features, labels: NDArray[np.int64]) -> Block:
    """Return the images of a fold that teach; they are copied only if there are others."""
    teaches = labels != UNTAUGHT
    return (features, labels) if teaches.all() else (features[teaches], labels[teaches])


def calibrated_log_loss(softmaxes: Probabilities, labels: NDArray[np.int64]) -> float:
    """Return the mean log-loss of answers at the temperature that suits them best, in natural logarithms.

    A release corrects the confidence of its head by a temperature. So a strong penalty, which makes a head too unsure,
    costs nothing by that, and often ranks the categories better.
    """
    from scipy.optimize import minimize_scalar  # takes 0.5 s to import

    logits = np.log(np.maximum(softmaxes.astype(np.float64), _TINY))
    logits -= logits.max(axis=1, keepdims=True)
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[rows, labels]).mean())

    return float(minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded").fun)


def _chosen(blocks: Sequence[Block], held_out: Block, categories: int) -> tuple[float, Head]:
    """Choose the strength with the least `calibrated_log_loss` on held-out images, downhill from the usual strength.

    The loss has one minimum over the strengths, up to chance, so that the neighbours are enough: most folds take three
    or four fits.

    Args:
        blocks: Images to learn from.
        held_out: Images that choose.
        categories: Number of categories.

    Returns:
        The strength, and the head of that strength.
    """
    scale = scale_of(blocks)
    tried: dict[int, tuple[float, Head]] = {}

    def loss_at(place: int, near: Head | None) -> float:
        if place not in tried:
            head = fit_head(blocks, categories, strength=STRENGTHS[place], start=near, scale=scale)
            tried[place] = (calibrated_log_loss(head.probabilities(held_out[0]), held_out[1]), head)
        return tried[place][0]

    place = int(np.argmin(np.abs(np.log(np.array(STRENGTHS) / USUAL_STRENGTH))))
    loss_at(place, None)
    while True:
        neighbours = [each for each in (place - 1, place + 1) if 0 <= each < len(STRENGTHS)]
        best = min(neighbours, key=lambda each: loss_at(each, tried[place][1]))
        if tried[best][0] >= tried[place][0]:
            return STRENGTHS[place], tried[place][1]
        place = best


def groups_of(shared: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Join products that share something, directly or through others, into groups.

    Args:
        shared: Maps product_id to what it may share with others: the image_sha256 of its pictures, and the name of its
            group of variants.

    Returns:
        Maps product_id to the name of its group: the first product_id of the group.
    """
    parent: dict[str, str] = {product: product for product in shared}

    def root(product: str) -> str:
        while parent[product] != product:
            parent[product] = parent[parent[product]]
            product = parent[product]
        return product

    owner: dict[str, str] = {}
    for product in sorted(shared):
        for name in shared[product]:
            first, second = sorted((root(owner.setdefault(name, product)), root(product)))
            parent[second] = first
    return {product: root(product) for product in shared}

"""Make the description of the images that a release knows, from features of learned and of calibrating images."""

from __future__ import annotations

import hashlib
import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.known.images import FILE, KnownImages
from models.known.score import (
    DIMENSIONS,
    LEAST_SPREAD,
    VERSION,
    Distances,
    PixelImages,
    Rows,
    network_images,
    network_part,
    pixel_images,
    pixel_part,
)
from models.networks.pixels import PIXELS
from models.spec import Features, KnownSpec

log = logging.getLogger(__name__)

FEWEST_IMAGES = 20
"""Fewest calibrating images of which a limit is made."""

LIMIT_SHARE = 0.99
"""Share of images like the calibrating ones that are to lie within the limit."""

MOST_REFERENCES = 5_000
"""Most learned images in a description."""

FILE_BYTES = 4_000_000
"""Most bytes of a description's file: many or wide networks have fewer references."""

_OVERHEAD_BYTES = 100_000
"""Bytes of the file beside its arrays, at most."""


LEAST_LIMIT = 1.0
"""Least difference between the limit and the median raw score, in standard deviations, where images are copies of each
other: there smaller differences are rounding. Elsewhere it does not count, because a few bad pictures make a standard
deviation large."""

MOST_PIXELS = 3.0
"""Most that the pixels add to a raw score, in standard deviations."""

_LITTLE = 0.1
"""What lies between the smallest raw score of a calibrating image and the score 0, in standard deviations."""


class TooFewImages(ValueError):
    """Raised when there are fewer than `FEWEST_IMAGES` calibrating images."""


@dataclass(frozen=True)
class Examples:
    """Some images of labelled products with their features.

    Attributes:
        features: Features of each network, by architecture name, and statistics of the pixels under
            `models.networks.pixels.PIXELS` if they are to be described, float32 (images, features).
        products: Product of each image.
        contents: image_sha256 of each image.
    """

    features: Mapping[str, Features]
    products: Sequence[str]
    contents: Sequence[str]


@dataclass(frozen=True)
class FittedKnown:
    """A description of known images, ready for a release.

    Attributes:
        spec: Its entry in release.json.
        content: Its file.
        scores: Score of each calibrating image, float64 (images,); not a number for one without finite features.
    """

    spec: KnownSpec
    content: bytes
    scores: NDArray[np.float64]


def fit_known(references: Examples, calibrating: Examples, *, seed: int = 7) -> FittedKnown:
    """Describe the images that a release knows.

    The limit is the ceil(0.99 (n + 1))-th smallest score of the n calibrating images, above which 1 % of images
    like them are expected; the largest score if n is below 99. Neighbours of the same product or content do not count.
    The order of the images does not matter. If there are statistics of the pixels, they are described too. Images whose
    features are not finite are left out, with a warning that counts them.

    Args:
        references: Images that the networks learned from; `MOST_REFERENCES` of them at most are kept.
        calibrating: Images that give the limit; some or all of them may be references too.
        seed: Seed of what is drawn.

    Raises:
        TooFewImages: If there are fewer than `FEWEST_IMAGES` calibrating images with finite features.
        ValueError: If features are of other sizes, or if no learned image has finite ones.
    """
    every = len(calibrating.products)
    _refuse_too_few(every)
    _check_shapes(references, calibrating)
    references, order = _finite(references, calibrating)
    count = len(order)
    order.sort(key=lambda place: (calibrating.contents[place], calibrating.products[place]))
    calibrating = _at(calibrating, order)  # sums round by the place of a row, and so would the limit by the order
    _check_learned(references)
    names = [name for name in references.features if name != PIXELS]
    widths = [references.features[name].shape[1] for name in names]
    dimensions, most = sizes(widths)
    rows = drawn(references.products, references.contents, most=most, seed=seed)
    networks = {name: network_images(references.features[name][rows], dimensions=dimensions) for name in names}
    without = _excluded(references, rows, calibrating)
    distances = {name: networks[name].distances(calibrating.features[name], without=without) for name in names}
    networks = {
        name: replace(each, middle=float(np.median(distances[name])), spread=_spread(distances[name], LEAST_SPREAD))
        for name, each in networks.items()
    }
    total = network_part(networks, distances)
    spread, least = _spread(total, 0.5), _least_limit(distances)
    raw, pixels = total / spread, None
    if PIXELS in references.features:
        pixels, added = _pixels(references.features[PIXELS][rows], calibrating.features[PIXELS], raw, least=least)
        raw = raw + added
    low = float(raw.min()) - _LITTLE
    limit = _raw_limit(raw, least=least) - low
    content = KnownImages(networks, pixels, spread, low, limit).content()
    spec = KnownSpec(FILE, hashlib.sha256(content).hexdigest(), limit, count, len(rows), VERSION)
    scores = np.full(every, np.nan)
    scores[order] = np.maximum(raw - low, 0.0) / limit
    return FittedKnown(spec, content, scores)


def fit_if_possible(
    references: Examples, calibrating: Examples, *, release_id: str, seed: int = 7
) -> FittedKnown | None:
    """Describe the images that a release knows; if these give no description, warn in one sentence and return None.

    A training of hours is not lost for it.

    Args:
        references: As for `fit_known`.
        calibrating: As for `fit_known`.
        release_id: Release that gets the description, for the warning.
        seed: As for `fit_known`.
    """
    try:
        return fit_known(references, calibrating, seed=seed)
    except ValueError as error:
        log.warning(
            "release %s gets no description of the images that it knows, so it takes every image for one that it "
            "knows: %s",
            release_id,
            error,
        )
        return None


def _at(images: Examples, places: Sequence[int]) -> Examples:
    """Return the images at these places."""
    return Examples(
        {name: features[list(places)] for name, features in images.features.items()},
        [images.products[place] for place in places],
        [images.contents[place] for place in places],
    )


def limit_of(scores: NDArray[np.float64]) -> float:
    """Return the ceil(0.99 (n + 1))-th smallest of n scores; the largest if n is below 99."""
    rank = math.ceil(round(LIMIT_SHARE * (len(scores) + 1), 9))  # 0.99 * 100 is to be 99, however it is rounded
    return float(np.sort(scores)[min(rank, len(scores)) - 1])


def drawn(products: Sequence[str], contents: Sequence[str], *, most: int = MOST_REFERENCES, seed: int = 7) -> list[int]:
    """Draw images evenly over products: one of each product, then a second one of each, until there are enough.

    The images depend on the contents and the seed alone, not on their order. Each content is drawn at most once, for
    the first product that has it.

    Args:
        products: Product of each image.
        contents: image_sha256 of each image.
        most: Most images to draw.
        seed: Seed of the draw.

    Returns:
        The positions of the drawn images, in an order that does not depend on that of the images.
    """
    first: dict[str, tuple[str, int]] = {}
    for position, (product, content) in enumerate(zip(products, contents, strict=True)):
        first[content] = min(first.get(content, (product, position)), (product, position))
    of_product: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for content, (product, position) in first.items():
        of_product[product].append((hashlib.sha256(f"{seed} {content}".encode()).hexdigest(), position))
    ranked = [(rank, *image) for images in of_product.values() for rank, image in enumerate(sorted(images))]
    return [position for _, _, position in sorted(ranked)[:most]]


def sizes(widths: Sequence[int]) -> tuple[int, int]:
    """Return how many dimensions and references a description has at most, so that its file is below `FILE_BYTES`.

    Args:
        widths: Number of features of each network.
    """
    room = FILE_BYTES - _OVERHEAD_BYTES - 4 * sum(widths)
    dimensions = max(1, min(DIMENSIONS, room // 2 // (2 * sum(widths))))  # at most half of the file are projections
    used = sum(min(dimensions, width) for width in widths)
    projections = sum(2 * width * min(dimensions, width) for width in widths)
    return dimensions, max(1, min(MOST_REFERENCES, (room - projections) // used))


def _spread(values: Distances, least: float) -> float:
    return max(float(np.std(values)), least)


def _least_limit(distances: Mapping[str, Distances]) -> float:
    """Return the least difference between the limit and the median raw score: `LEAST_LIMIT` among copies, else 0.

    Images are copies if to every network only rounding lies between the median distance and the limit's rank. A spread
    of all distances would not tell: a few bad pictures make it as large as they like.

    Args:
        distances: Distances of the calibrating images, by network.
    """
    rounded = (limit_of(each) - float(np.median(each)) < LEAST_SPREAD for each in distances.values())
    return LEAST_LIMIT if all(rounded) else 0.0


def _raw_limit(raw: Distances, *, least: float) -> float:
    """Return the raw score above which an image is foreign; `least` is the least it differs from the median."""
    return max(limit_of(raw), float(np.median(raw)) + least)


def _pixels(
    references: Features, calibrating: Features, networks: Distances, *, least: float
) -> tuple[PixelImages | None, Distances]:
    """Describe the pixels of the references; return what they add to the raw score of each calibrating image.

    The cap is so low that an image that is usual to the networks stays within the limit, whatever its pixels are.

    Args:
        references: Statistics of the references, float32 (references, statistics).
        calibrating: Statistics of the calibrating images, float32 (images, statistics).
        networks: The networks' part of their raw scores.
        least: Least difference between the limit and the median raw score.

    Returns:
        The description and what it adds; None and nothing if no cap above 0 is low enough.
    """
    pixels = pixel_images(references)
    distances = pixels.distances(calibrating)
    pixels = replace(pixels, middle=float(np.median(distances)), spread=_spread(distances, LEAST_SPREAD))
    usual, cap = float(np.median(networks)), MOST_PIXELS
    for _ in range(20):
        pixels = replace(pixels, cap=cap)
        added = pixel_part(pixels, distances)
        room = _raw_limit(networks + added, least=least) - usual
        if cap < room:
            return pixels, added
        if room <= 0:
            break
        cap = 0.6 * room
    return None, np.zeros(len(networks))


def _refuse_too_few(count: int, *, of: int = 0) -> None:
    """Raise TooFewImages if there are too few calibrating images, or too few of all have finite features."""
    if count < FEWEST_IMAGES:
        among = f" with finite features, of {of:,}," if of > count else ""
        raise TooFewImages(
            f"{count} images{among} calibrate where at least {FEWEST_IMAGES} are needed for the limit of what a "
            "release knows"
        )


def _finite(references: Examples, calibrating: Examples) -> tuple[Examples, list[int]]:
    """Return the references with finite features and the positions of such calibrating images; warn if some have none.

    A picture can overflow the networks. It is not like any other, and the release can be described without it.

    Raises:
        TooFewImages: If too few calibrating images are left.
        ValueError: If no reference is left.
    """
    learned, others = (
        np.flatnonzero(np.all([np.isfinite(each).all(axis=1) for each in examples.features.values()], axis=0)).tolist()
        for examples in (references, calibrating)
    )
    counts = len(references.products), len(calibrating.products)
    without = counts[0] - len(learned), counts[1] - len(others)
    _refuse_too_few(len(others), of=counts[1])
    if not learned:
        raise ValueError(f"none of {counts[0]:,} learned images has finite features, to which others can be compared")
    if any(without):
        log.warning(
            "%s of %s learned and %s of %s calibrating images have features that are not finite, so they are left out "
            "of the description of the images that the release knows",
            *(without[0], counts[0], without[1], counts[1]),
        )
    return (_at(references, learned) if without[0] else references), others


def _check_learned(references: Examples) -> None:
    """Raise ValueError if the features of a network are equal for all learned images."""
    for name, learned in references.features.items():
        if name != PIXELS and (learned == learned[0]).all():
            raise ValueError(f"the features of {name} are equal for all learned images, so they tell nothing")


def _check_shapes(references: Examples, calibrating: Examples) -> None:
    """Raise ValueError if features are missing or of other sizes."""
    names = list(references.features)
    if not set(names) - {PIXELS} or set(calibrating.features) != set(names):
        raise ValueError(f"features of {sorted(names)} and of {sorted(calibrating.features)} do not fit each other")
    for name in names:
        for kind, examples in (("learned", references), ("calibrating", calibrating)):
            features = examples.features[name]
            if features.ndim != 2 or len(features) != len(examples.products) or not features.size:
                raise ValueError(
                    f"{name} has features of shape {features.shape} for {len(examples.products)} {kind} images"
                )
        learned, others = references.features[name], calibrating.features[name]
        if learned.shape[1] != others.shape[1]:
            raise ValueError(
                f"{name} has {learned.shape[1]} features of learned and {others.shape[1]} of calibrating images"
            )


def _excluded(references: Examples, rows: Sequence[int], calibrating: Examples) -> list[Rows]:
    """Return for each calibrating image the references of the same product or content.

    A content may belong to several products: then a reference belongs to all of them.
    """
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for examples in (references, calibrating):
        for product, content in zip(examples.products, examples.contents, strict=True):
            owners[content].add(product)
    by_content: dict[str, int] = {}
    by_product: defaultdict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        by_content[references.contents[row]] = number
        for product in owners[references.contents[row]]:
            by_product[product].append(number)
    excluded: list[Rows] = []
    for content in calibrating.contents:
        same = {number for product in owners[content] for number in by_product[product]}
        same |= {by_content[content]} if content in by_content else set()
        if len(same) == len(rows):
            raise ValueError("all learned images are of one product, so no other one is like them")
        excluded.append(np.array(sorted(same), np.int64))
    return excluded

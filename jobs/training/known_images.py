"""Which images a quickly made release knows, by the features that are kept in the home: no picture is read again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from jobs.dataset.labels import LabelledImage
from jobs.evaluation.config import Reading
from jobs.evaluation.image_predictions import Answered
from jobs.releases.known_images import Described
from jobs.training.features import FeatureKey, FeatureStore, Watch, add_features
from models.known.fit import Examples
from models.networks.pixels import PIXELS, STATISTICS, pixel_statistics
from models.spec import Features, Images

TOGETHER = 10_000
"""Images whose features are in memory at once: with 3,800 numbers each 152 MB a network."""


@dataclass(frozen=True)
class PixelExtractor:
    """Computes the statistics of pixels in the place of a backbone.

    Attributes:
        side_px: Side of the square images, in pixels.
        width: Number of statistics of an image.
    """

    side_px: int
    width: int = STATISTICS

    def __call__(self, images: Images) -> Features:
        """Return the statistics of a batch, float32 (batch, statistics)."""
        return pixel_statistics(images)


def pixel_store(
    images: Sequence[LabelledImage], reading: Reading, watch: Callable[[int], Watch], *, decode_px: int
) -> FeatureStore:
    """Compute the statistics of pixels that are not in the home yet; return the store with all of them.

    Args:
        images: Labelled images.
        reading: Settings for reading images.
        watch: Called with the number of images to compute; returns the callback for their progress.
        decode_px: Side of the squares to which images are decoded, in pixels: that of the new release.
    """
    key = FeatureKey(PIXELS, "", decode_px, decode_px, "", "numpy")
    store = FeatureStore(key.directory(reading.places), key, STATISTICS)
    add_features(store, images, partial(PixelExtractor, decode_px), reading, watch)
    return store


def features_in(stores: Mapping[str, FeatureStore], images: Sequence[LabelledImage]) -> Examples:
    """Return the kept features of images, those of the last feature maps. All images are in all stores.

    Args:
        stores: Features of each backbone, by name of its architecture, and statistics of the pixels.
        images: The images.
    """
    contents = [image.image_sha256 for image in images]
    features = {name: store.load_last(contents) for name, store in stores.items()}
    return Examples(features, [image.product_id for image in images], contents)


def judged_by(described: Described | None, stores: Mapping[str, FeatureStore], answered: Answered) -> Answered:
    """Return answers with what the new release's gate finds of their images; without a description as they are.

    Args:
        described: Description of the images that the release knows; None without one.
        stores: Features of each backbone, by name of its architecture.
        answered: Images whose features are in all stores, with their answers.
    """
    if described is None:
        return answered
    untrusted: list[str | None] = []
    scores: list[float] = []
    for start in range(0, len(answered.images), TOGETHER):
        images = answered.images[start : start + TOGETHER]
        for judgement in described.gate.judge(features_in(stores, images).features, len(images)):
            untrusted.append(judgement.untrusted)
            scores.append(np.nan if judgement.score is None else judgement.score)
    return replace(answered, untrusted=untrusted, scores=np.array(scores, np.float64))

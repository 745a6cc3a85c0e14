"""Measure on the serving device which batch size is the fastest, and whether half precision gives the same answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.serving.engines import Precision
from models.serving.faults import fault_of
from models.spec import Images, Predictions, Predictor

log = logging.getLogger(__name__)

SMALLEST_BATCH = 32
"""Smallest batch size that is tried, in images."""

LARGEST_BATCH = 4096
"""Largest batch size that is tried, in images."""

AGREEMENT = 0.999
"""Share of images whose best category must be the same in half and in full precision."""

FEWEST_IMAGES = 32
"""Fewest images on which half precision is compared with full precision."""

_PAYS = 1.05
"""Speed-up that a doubled batch must bring to be preferred."""

_ROUNDS = 3
"""Timed calls for each batch size."""


@dataclass(frozen=True)
class Tuning:
    """Result of tuning a release on a device: batch size and precision.

    Attributes:
        batch_size: Images in one call of the networks.
        precision: Keras dtype policy in which the layers compute.
    """

    batch_size: int
    precision: Precision


def find_batch_size(
    predictor: Predictor,
    *,
    smallest: int = SMALLEST_BATCH,
    largest: int = LARGEST_BATCH,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """Measure the fastest batch size: double it until it gains nothing or the device runs out of memory.

    Args:
        predictor: Predictor of the release on the device that will serve.
        smallest: First batch size that is tried, in images; the result is never smaller.
        largest: Largest batch size that is tried, in images.
        clock: Returns the current time in seconds; tests replace it.

    Returns:
        The fastest batch size, in images: the last one with a rate at least 5 % above that of the size before it.

    Raises:
        Exception: The predictor's error, if it is not an out-of-memory error or occurs with the smallest batch.
    """
    best, best_rate, size = smallest, 0.0, smallest
    while size <= largest:
        images = _noise(size, predictor.decode_px)
        try:
            predictor.predict(images)  # not timed: compiles, and lets the libraries choose their kernels
            started = clock()
            for _ in range(_ROUNDS):
                predictor.predict(images)
            rate = _ROUNDS * size / max(clock() - started, 1e-9)
        except Exception as error:  # every backend has its own class for out-of-memory errors
            if fault_of(error) != "memory" or size == smallest:
                raise
            log.info("batches of %s images do not fit the device's memory; %s do", size, best)
            return best
        if rate < best_rate * _PAYS:
            return best
        best, best_rate, size = size, rate, size * 2
    return best


def agreement(first: Predictions, second: Predictions) -> float:
    """Measure, to tune the precision, for what share of images two predictors choose the same category, in [0, 1]."""
    return float(np.mean(first.confidences.argmax(axis=1) == second.confidences.argmax(axis=1)))


def agrees(half: Predictor, full: Predictor, images: Images, *, batch_size: int = SMALLEST_BATCH) -> bool:
    """Return whether half precision may replace full precision on this device, because their answers agree.

    Args:
        half: Predictor of the release in mixed_float16.
        full: Predictor of the same release in float32.
        images: Sample of the images that will be predicted, uint8 (count, decode_px, decode_px, 3).
        batch_size: Images in one call of a predictor.

    Returns:
        True if all confidences and features are finite and the best category is the same for at least 99.9 % of the
        images. False for fewer images than `FEWEST_IMAGES`, because these are not enough evidence.
    """
    if len(images) < FEWEST_IMAGES:
        return False
    same = 0.0
    for start in range(0, len(images), batch_size):
        part = images[start : start + batch_size]
        answer = half.predict(part)
        # Without finite features a release cannot judge an image, and publishes none.
        if not all(np.isfinite(values).all() for values in (answer.confidences, *answer.features.values())):
            return False
        same += agreement(answer, full.predict(part)) * len(part)
    return same >= AGREEMENT * len(images)


def _noise(count: int, side_px: int) -> Images:
    """Return random images, uint8 (count, side_px, side_px, 3), the same ones at every call."""
    return np.random.default_rng(7).integers(0, 256, (count, side_px, side_px, 3), np.uint8)

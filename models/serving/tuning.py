"""How many images a device takes at once, and whether half precision answers as full precision does: measured there."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.serving.faults import fault_of
from models.serving.predictor import Precision
from models.spec import Images, Predictions, Predictor

log = logging.getLogger(__name__)

SMALLEST_BATCH = 32
LARGEST_BATCH = 4096
AGREEMENT = 0.999
"""Share of images whose first choice must be the same in half and in full precision."""
FEWEST_IMAGES = 32
"""On which half precision is tried at all."""

_PAYS = 1.05
_ROUNDS = 3


@dataclass(frozen=True)
class Tuning:
    """What was found for a release on a device.

    Attributes:
        batch_size: Images a call of the networks.
        precision: What the layers compute in.
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
    """Double the batch until that stops paying or memory ends.

    Args:
        predictor: On the device that will serve.
        smallest: The first size tried, in images; the answer is never smaller.
        largest: The last size tried.
        clock: Seconds; for tests.

    Returns:
        The size with the highest rate: the last that was at least 5 % faster than the one before it.

    Raises:
        Exception: As the predictor raised it, if it was not for want of memory.
    """
    best, best_rate, size = smallest, 0.0, smallest
    while size <= largest:
        images = _noise(size, predictor.decode_px)
        try:
            predictor.predict(images)  # compiles, and lets the libraries choose their kernels
            started = clock()
            for _ in range(_ROUNDS):
                predictor.predict(images)
            rate = _ROUNDS * size / max(clock() - started, 1e-9)
        except Exception as error:  # every backend has its own class for it
            if fault_of(error) != "memory" or size == smallest:
                raise
            log.info("batches of %s images do not fit the device's memory; %s do", size, best)
            return best
        if rate < best_rate * _PAYS:
            return best
        best, best_rate, size = size, rate, size * 2
    return best


def agreement(one: Predictions, other: Predictions) -> float:
    """Return the share of images of which two predictors make the same first choice, in [0, 1]."""
    return float(np.mean(one.confidences.argmax(axis=1) == other.confidences.argmax(axis=1)))


def agrees(half: Predictor, full: Predictor, images: Images, *, batch_size: int = SMALLEST_BATCH) -> bool:
    """Say whether half precision may answer for full precision.

    Args:
        half: In mixed_float16.
        full: The same release in float32.
        images: uint8 (count, decode_px, decode_px, 3): a sample of what will be predicted.
        batch_size: Images a call.

    Returns:
        Whether every answer is finite and at least 99.9 % of the first choices are the same; False of fewer images
        than `FEWEST_IMAGES`, which say nothing.
    """
    if len(images) < FEWEST_IMAGES:
        return False
    same = 0.0
    for start in range(0, len(images), batch_size):
        part = images[start : start + batch_size]
        answer = half.predict(part)
        if not np.isfinite(answer.confidences).all():
            return False
        same += agreement(answer, full.predict(part)) * len(part)
    return same >= AGREEMENT * len(images)


def _noise(count: int, side_px: int) -> Images:
    return np.random.default_rng(7).integers(0, 256, (count, side_px, side_px, 3), np.uint8)

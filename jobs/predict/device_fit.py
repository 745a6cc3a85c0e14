"""What a device takes of a release: the precision that its networks compute in, and how many images a call."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jobs.predict.config import PredictConfig
from models.release import Release

if TYPE_CHECKING:
    from models.serving.devices import Device
    from models.serving.predictor import Precision
    from models.serving.tuning import Tuning
    from models.spec import Images, Predictor

log = logging.getLogger(__name__)

_SAMPLE_IMAGES = 2048
ENOUGH_IMAGES = 1000
"""On which half precision was tried before that is remembered: fewer tell one in a thousand from none by luck."""


@dataclass(frozen=True)
class Fitted:
    """A release's networks as a device takes them.

    Attributes:
        predictor: The networks.
        tuning: Batch size and precision.
        tried: Whether both were found by trying, on so many images that the next run need not try again.
    """

    predictor: Predictor
    tuning: Tuning
    tried: bool


def fit(config: PredictConfig, shard: Path | None, release: Release, directory: Path, found: Device) -> Fitted:
    """Build a release's networks as a device takes them.

    Args:
        config: What is asked for, and what is known from earlier runs.
        shard: Its images are what half precision is tried on; None tries nothing and takes what is known to be good.
        release: The release.
        directory: Where it is.
        found: The device.
    """
    from models.serving.predictor import EnsemblePredictor
    from models.serving.tuning import Tuning, find_batch_size

    computing, seen = config.computing, 0
    known = computing.tuned.get(found.name) if found.accelerator and computing.precision == "auto" else None
    if known:
        precision: Precision = "mixed_float16" if known[1] == "mixed_float16" else "float32"
        predictor: Predictor = EnsemblePredictor(release, directory, precision=precision)
    else:
        predictor, precision, seen = _in_best_precision(found.accelerator, config, shard, release, directory)
    if known and computing.tune:
        return Fitted(predictor, Tuning(known[0], precision), tried=False)
    if not (found.accelerator and computing.tune):
        return Fitted(predictor, Tuning(config.batch_size, precision), tried=False)
    enough = computing.precision == "auto" and seen >= ENOUGH_IMAGES
    return Fitted(predictor, Tuning(find_batch_size(predictor), precision), tried=enough)


def _in_best_precision(
    accelerator: bool, config: PredictConfig, shard: Path | None, release: Release, directory: Path
) -> tuple[Predictor, Precision, int]:
    """Build the networks in half precision where that is asked for or pays, and where it answers the same.

    Returns:
        The networks, their precision, and on how many images half precision was tried.
    """
    from models.serving.predictor import EnsemblePredictor
    from models.serving.tuning import FEWEST_IMAGES, agrees

    full, computing = EnsemblePredictor(release, directory), config.computing
    if shard is None or computing.precision == "float32" or (computing.precision == "auto" and not accelerator):
        return full, "float32", 0
    sample = _sample(config, shard, release.decode_px)
    if len(sample) < FEWEST_IMAGES:
        log.warning("half precision cannot be tried on %s images; they are computed in float32", len(sample))
        return full, "float32", len(sample)
    half = EnsemblePredictor(release, directory, precision="mixed_float16")
    if agrees(half, full, sample):
        return half, "mixed_float16", len(sample)
    log.warning("release %s answers differently in half precision; it is computed in float32", release.release_id)
    return full, "float32", len(sample)


def _sample(config: PredictConfig, shard: Path, side_px: int) -> Images:
    """Decode the first images of a shard."""
    from jobs.dataset.reading import read_shard

    found: list[Images] = []
    reader = read_shard(shard, side_px=side_px, batch_size=config.batch_size, workers=config.decode_workers)
    with closing(reader):
        for batch in reader:
            found.append(batch.images[batch.errors == ""])
            if sum(map(len, found)) >= _SAMPLE_IMAGES:
                break
    return np.concatenate(found or [np.zeros((0, side_px, side_px, 3), np.uint8)])[:_SAMPLE_IMAGES]

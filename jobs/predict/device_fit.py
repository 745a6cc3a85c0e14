"""Choice of engine, precision and batch size for a release's networks on this device.

Half precision is used only where its predictions agree with float32 on the first images of a shard.
"""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jobs.predict.config import ConvertedFiles, PredictConfig
from models.release import Release
from models.serving.engines import OPENVINO, EngineError

if TYPE_CHECKING:
    from models.serving.devices import Device
    from models.serving.engines import Precision
    from models.serving.tuning import Tuning
    from models.spec import Images, Predictor

log = logging.getLogger(__name__)

_SAMPLE_IMAGES = 2048
ENOUGH_IMAGES = 1000
"""Fewest images in the half precision comparison whose result is remembered for later runs.

With fewer, a comparison could miss by chance a difference that affects one image in a thousand."""


@dataclass(frozen=True)
class DeviceFit:
    """A release's networks fitted to a device: with the precision and batch size chosen for it.

    Attributes:
        predictor: The networks, built in that precision.
        tuning: Batch size and precision.
        engine: Name of what computes them, see `models.serving.engines.OPENVINO`.
        tried: Whether both were measured now, on enough images that the next run need not measure again.
        other: The same networks in bfloat16, to be compared; None if nothing is to be compared.
    """

    predictor: Predictor
    tuning: Tuning
    engine: str
    tried: bool
    other: Predictor | None = None


def fit_to_device(
    config: PredictConfig, shard: Path | None, release: Release, directory: Path, device: Device, *, cores: int | None
) -> DeviceFit:
    """Build a release's networks in the best precision and find the batch size for a device.

    Args:
        config: Requested precision and batch size, and results of earlier runs.
        shard: Dataset file on this machine whose first images are used to compare half precision with float32; None
            skips the comparison and uses the precision found earlier, or float32.
        release: Release to build.
        directory: Directory of the release.
        device: Device that computes.
        cores: Number of processor cores that OpenVINO computes with; None takes all of this machine.
    """
    from models.serving.devices import keras_backend
    from models.serving.predictor import EnsemblePredictor
    from models.serving.tuning import Tuning, find_batch_size

    if config.computing.converted and not device.accelerator:
        return _by_openvino(config, config.computing.converted, release, directory, cores)
    computing, compared_images, engine = config.computing, 0, f"keras/{keras_backend()}"
    remembered = computing.tuned.get(device.name) if device.accelerator and computing.precision == "auto" else None
    if remembered:
        precision: Precision = "mixed_float16" if remembered[1] == "mixed_float16" else "float32"
        predictor: Predictor = EnsemblePredictor(release, directory, precision=precision)
    else:
        predictor, precision, compared_images = _in_best_precision(
            device.accelerator, config, shard, release, directory
        )
    if remembered and computing.tune:
        return DeviceFit(predictor, Tuning(remembered[0], precision), engine, tried=False)
    if not (device.accelerator and computing.tune):
        return DeviceFit(predictor, Tuning(config.batch_size, precision), engine, tried=False)
    enough = computing.precision == "auto" and compared_images >= ENOUGH_IMAGES
    return DeviceFit(predictor, Tuning(find_batch_size(predictor), precision), engine, tried=enough)


def _by_openvino(
    config: PredictConfig, converted: ConvertedFiles, release: Release, directory: Path, cores: int | None
) -> DeviceFit:
    """Load the converted release, and give each thread the same number of images of a batch."""
    from models.serving.devices import multiplies_bfloat16
    from models.serving.environment import usable_cores
    from models.serving.openvino_engine import OpenVinoEngine, piece_of
    from models.serving.predictor import EnsemblePredictor
    from models.serving.tuning import Tuning

    # Spark has sent the files beside those of the release; in local mode they lie where the driver made them.
    sent = all((directory / name).is_file() for name in converted.converted.files)
    threads = usable_cores(cores)
    files, plan = directory if sent else converted.directory, config.computing.plan
    together = threads * piece_of(release.decode_px)
    tuning = Tuning(-(-config.batch_size // together) * together, plan.precision)

    def computing_in(precision: Precision) -> Predictor:
        engine = OpenVinoEngine(converted.converted, files, threads, precision)
        return EnsemblePredictor(release, directory, engine=engine)

    predictor, other = computing_in(plan.precision), None
    # The driver has seen the instructions on all executors, but this one may have come later.
    if plan.trial_images and multiplies_bfloat16():
        try:
            other = computing_in("bfloat16")
        except EngineError as error:  # OpenVINO cannot compile it so; the run itself computes in float32
            log.warning("release %s cannot be tried in bfloat16: %s", release.release_id, error)
    return DeviceFit(predictor, tuning, OPENVINO, tried=False, other=other)


def _in_best_precision(
    accelerator: bool, config: PredictConfig, shard: Path | None, release: Release, directory: Path
) -> tuple[Predictor, Precision, int]:
    """Build the networks in half precision if it is requested or faster, and if its predictions agree with float32.

    Returns:
        The networks, their precision, and the number of images on which half precision was compared.
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
    """Decode the first images of a shard, at most `_SAMPLE_IMAGES`; skip those that do not decode."""
    from jobs.dataset.reading import read_shard

    images: list[Images] = []
    reader = read_shard(shard, side_px=side_px, batch_size=config.batch_size, workers=config.decode_workers)
    with closing(reader):
        for batch in reader:
            images.append(batch.images[batch.errors == ""])
            if sum(map(len, images)) >= _SAMPLE_IMAGES:
                break
    return np.concatenate(images or [np.zeros((0, side_px, side_px, 3), np.uint8)])[:_SAMPLE_IMAGES]

"""Networks as a predict task computes them, for benchmarks: by engine and precision, on this machine's device.

Releases are made in a process of their own, so that a measuring process imports Keras only where it computes by it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from jobs.predict.config import Computing, Plan, PredictConfig
from jobs.predict.conversions import converted_files
from jobs.predict.networks import LoadedNetworks, load_networks
from models.release import load_release
from models.serving.devices import multiplies_bfloat16
from models.serving.environment import quiet_start
from tests.benchmarks.photos import CATEGORIES
from tests.untrained import untrained_release

NETWORKS = {"both": {"efficientnetb0": 224, "xception": 299}, "efficientnetb0": {"efficientnetb0": 224}}
ENGINES = ("auto", "openvino", "keras")
PRECISIONS = ("float32", "bfloat16", "mixed_float16")

NO_BFLOAT16 = "not measured: this processor has no instructions for bfloat16"
"""What a benchmark prints where bfloat16 cannot be measured."""


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add `--engine` and `--precision` to a benchmark's command line."""
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="auto is what predict takes on this machine")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="bfloat16 is OpenVINO's on processors, mixed_float16 that of Keras on accelerators",
    )


def lacks_bfloat16(precision: str) -> bool:
    """Return whether a benchmark in this precision cannot be measured here, and say so on stdout."""
    lacking = precision == "bfloat16" and not multiplies_bfloat16()
    if lacking:
        print(NO_BFLOAT16)
    return lacking


def in_own_process(work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a function in a new process that ends then, and return what it returns."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_quietly, work, *arguments, **options).result()


def _quietly(work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    with quiet_start():
        return work(*arguments, **options)


def untrained(directory: Path, networks: Mapping[str, int]) -> Path:
    """Write a release of untrained networks into a directory, and return its own directory."""
    made: Path = in_own_process(untrained_release, directory, networks, CATEGORIES, release_id="untrained")
    return made


@dataclass(frozen=True)
class Served:
    """Networks of a release that are loaded in this process.

    Attributes:
        networks: The networks, as a task holds them.
        config: Configuration with the batch size for this device.
        engine: What computes them, `OpenVINO` or `Keras on tensorflow`.
    """

    networks: LoadedNetworks
    config: PredictConfig
    engine: str

    @property
    def what(self) -> str:
        """Device, engine, precision and batch size, for the first line of a benchmark."""
        tuning = self.networks.tuning
        return f"{self.networks.device}, {self.engine}, {tuning.precision}, batches of {self.config.batch_size}"


def served(config: PredictConfig, *, engine: str = "auto", precision: str = "float32", tune: bool = False) -> Served:
    """Load the networks of a release in this process as a task loads them; a release is converted first, if need be.

    Args:
        config: Release, home and batch size.
        engine: One of `ENGINES`; `auto` is OpenVINO on processors and Keras on accelerators.
        precision: One of `PRECISIONS`.
        tune: Whether to search for the best batch size on an accelerator.

    Raises:
        SystemExit: If the engine that was chosen does not compute in this precision.
    """
    if precision == "mixed_float16":
        networks = _by_keras_in_half(config, engine, tune=tune)
        by_openvino = False
    else:
        computing = Computing(engine=engine, tune=tune)
        files = converted_files(replace(config, computing=computing), load_release(config.release_dir))
        if precision == "bfloat16" and files is None:
            raise SystemExit("bfloat16 is computed by OpenVINO alone; leave --engine out, or give --precision float32")
        plan = Plan("bfloat16" if precision == "bfloat16" else "float32")
        computing = replace(computing, converted=files, plan=plan)
        networks = load_networks(replace(config, computing=computing), None, config.release_dir, None, cores=None)
        by_openvino = files is not None and not networks.accelerator
    name = "OpenVINO" if by_openvino else f"Keras on {os.environ.get('KERAS_BACKEND', 'tensorflow')}"
    return Served(networks, replace(config, batch_size=networks.tuning.batch_size), name)


def _by_keras_in_half(config: PredictConfig, engine: str, *, tune: bool) -> LoadedNetworks:
    from jobs.predict.inference import Inference
    from models.known.gate import load_gate
    from models.serving.devices import device
    from models.serving.predictor import EnsemblePredictor
    from models.serving.tuning import Tuning, find_batch_size

    if engine == "openvino":
        raise SystemExit("OpenVINO does not compute in mixed_float16; give --engine keras, or --precision bfloat16")
    release, directory, on = load_release(config.release_dir), config.release_dir, device()
    predictor = EnsemblePredictor(release, directory, precision="mixed_float16")
    tuning = Tuning(find_batch_size(predictor) if tune else config.batch_size, "mixed_float16")
    gate = load_gate(release, directory)
    return LoadedNetworks(release, Inference(predictor), on.name, on.accelerator, tuning, (), 0.0, gate=gate)

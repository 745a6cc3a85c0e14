"""Configuration of a predict job: which shards and release it takes, and the device and precision it computes with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from jobs.storage.places import Places
from models.serving.converted import Converted
from models.serving.engines import Precision

DEFAULT_BATCH = 32
"""Images per call of the networks on a CPU."""


@dataclass(frozen=True)
class ConvertedFiles:
    """A release in OpenVINO's format.

    Attributes:
        converted: Its description, with the SHA-256 of its files.
        directory: Directory with the files, on the driver.
    """

    converted: Converted
    directory: Path


@dataclass(frozen=True)
class Plan:
    """In which precision processors compute a run.

    Attributes:
        precision: `float32` or `bfloat16`.
        trial_images: Images of each shard that are computed in bfloat16, too, and compared.
        processors: Names of the models of processors on which the release has passed in bfloat16; only they compute
            in it.
    """

    precision: Precision = "float32"
    trial_images: int = 0
    processors: frozenset[str] = frozenset()

    def allows(self, processor: str, *, bfloat16: bool) -> bool:
        """Return whether a processor may compute the run.

        Args:
            processor: Name of its model.
            bfloat16: Whether it multiplies bfloat16 in hardware.
        """
        return self.precision != "bfloat16" or (bfloat16 and processor in self.processors)


@dataclass(frozen=True)
class Computing:
    """Configuration of how predict computes: device, engine, precision and batch size.

    Attributes:
        gpu: Whether each task requires a GPU; if False, a task uses the device that it finds.
        precision: `auto`, `float32` or `mixed_float16`. `auto` uses half precision on an accelerator if the predictions
            agree with those of float32. On processors it uses bfloat16 if they multiply it and the release has passed
            in it, see `jobs.predict.precision`, and float32 elsewhere.
        tune: Whether to search for the best batch size on an accelerator.
        tuned: Results of earlier searches: maps the device name to (batch size, precision).
        engine: `auto`, `openvino` or `keras`. `auto` computes by OpenVINO on processors and by Keras on accelerators;
            `openvino` computes on the processor even beside an accelerator.
        engines_dir: Directory of releases in OpenVINO's format; None is `engines` in the home's local directory.
        converted: The release in OpenVINO's format, of which the driver made one; None computes by Keras.
        plan: In which precision OpenVINO computes this run, as the driver decided.
    """

    gpu: bool = False
    precision: str = "auto"
    tune: bool = False
    tuned: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    engine: str = "auto"
    engines_dir: Path | None = None
    converted: ConvertedFiles | None = None
    plan: Plan = field(default_factory=Plan)


@dataclass(frozen=True)
class PredictConfig:
    """Configuration of one predict job.

    Attributes:
        run_id: Identifier of the run; a repeated run with the same identifier skips its finished shards.
        dates: Ingest dates whose shards are predicted.
        places: Directories and stores of the home.
        release_dir: Directory of the release to run.
        batch_size: Images per call of the networks.
        decode_workers: Threads that decode images while the networks compute.
        selects: Whether to predict only the images in the selection files that `jobs.predict.selection` wrote for the
            run.
        leaves_out: Whether a shard that has a selection file is predicted in part, and each other one whole.
        computing: Device, precision and batch size settings.
    """

    run_id: str
    dates: tuple[date, ...]
    places: Places
    release_dir: Path
    batch_size: int = DEFAULT_BATCH
    decode_workers: int = 2
    selects: bool = False
    leaves_out: bool = False
    computing: Computing = field(default_factory=lambda: Computing())

"""What one predict does, and what its networks compute on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from jobs.storage.places import Places

DEFAULT_BATCH = 32
"""Images a call of the networks on a processor."""


@dataclass(frozen=True)
class Computing:
    """What the networks compute on, and how.

    Attributes:
        gpu: Whether each task must have a GPU; otherwise it takes what it finds.
        precision: `auto` is mixed_float16 on an accelerator where that answers as float32 does, and float32 elsewhere.
        tune: Whether the batch size is found by trying, on an accelerator.
        tuned: What was found earlier: batch size and precision, by device.
    """

    gpu: bool = False
    precision: str = "auto"
    tune: bool = False
    tuned: Mapping[str, tuple[int, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class PredictConfig:
    """What one predict does.

    Attributes:
        run_id: Names the run; its finished shards are not computed again.
        dates: The ingest dates whose shards it covers.
        places: Where state lives.
        release_dir: The release to run.
        batch_size: Images a call of the networks.
        decode_workers: Threads that decode while the networks compute.
        selects: Whether it takes only the images that `jobs.predict.selection` has written down for the run.
        computing: What it computes on, and how.
    """

    run_id: str
    dates: tuple[date, ...]
    places: Places
    release_dir: Path
    batch_size: int = DEFAULT_BATCH
    decode_workers: int = 2
    selects: bool = False
    computing: Computing = field(default_factory=lambda: Computing())

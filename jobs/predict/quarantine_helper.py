"""What a quarantine's helper process does, and what the two say to each other; see `jobs.predict.quarantine`."""

from __future__ import annotations

import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.dataset.batches import batch_of
from jobs.dataset.shards import sound
from jobs.errors import RunFailed
from jobs.predict.config import PredictConfig
from jobs.predict.inference import Answer
from jobs.storage.places import Place
from models.release import Release, ReleaseError


@dataclass(frozen=True)
class Orders:
    """What a helper is told first.

    Attributes:
        config: What it computes on.
        directory: Where the release is on this machine.
        release: What must be there.
    """

    config: PredictConfig
    directory: Path
    release: Release


@dataclass(frozen=True)
class Ready:
    """What a helper says when its networks have answered a black image."""

    device: str
    precision: str
    loading_seconds: float


@dataclass(frozen=True)
class Few:
    """Some images of one row group of a shard.

    Attributes:
        shard: What errors call it.
        path: Where it is on this machine.
        group: Number of the row group.
        rows: Places within it, from 0.
    """

    shard: Place
    path: Path
    group: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Done:
    """A helper's answer to a few images; see `ImageBatch` for columns and errors."""

    columns: dict[str, NDArray[Any]]
    errors: NDArray[Any]
    answer: Answer
    decoding_seconds: float
    predicting_seconds: float


def serve(descriptor: int) -> None:
    """Be a helper: build the networks, then answer a few images at a time, until the task closes the pipe.

    Args:
        descriptor: This process's end of the pipe.
    """
    from jobs.predict.networks import clean_worker

    with suppress(OSError):  # when memory ends, this process goes first: it can be spared
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    pipe = Connection(descriptor)
    try:
        with clean_worker():
            _answer_all(pipe)
    except (EOFError, ConnectionError):
        return
    except (RunFailed, ReleaseError) as error:
        pipe.send(error)
    except Exception as error:  # what the task shall raise; its own class may not be known there
        traceback.print_exc()
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))


def _answer_all(pipe: Connection) -> None:
    from jobs.predict.networks import new_station

    orders = pipe.recv()
    config = replace(orders.config, computing=replace(orders.config.computing, tune=False))
    here = new_station(config, None, orders.directory, orders.release)
    side_px = here.inference.decode_px
    here.inference.answer(np.zeros((1, side_px, side_px, 3), np.uint8))
    pipe.send(Ready(here.device, here.tuning.precision, here.loading_seconds))
    while True:
        few = pipe.recv()
        started = time.perf_counter()
        with sound(few.shard), pq.ParquetFile(few.path) as file:
            batch = batch_of(file, few.group, few.rows, side_px)
        decoded = time.perf_counter()
        answer = here.inference.answer(batch.images)
        pipe.send(Done(batch.columns, batch.errors, answer, decoded - started, time.perf_counter() - decoded))

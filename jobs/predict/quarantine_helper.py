"""The helper process of `jobs.predict.quarantine`, and the messages that travel over the pipe between the two.

The task sends a HelperSetup and receives a HelperReady. Then it sends a HelperRequest and receives a HelperAnswer, as
often as needed. In place of a reply, the helper may send an exception, which the task raises.
"""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.dataset.batches import batch_of
from jobs.dataset.helper_process import be_killed_first
from jobs.dataset.shards import read_errors_explained
from jobs.errors import RunFailed
from jobs.predict.config import PredictConfig
from jobs.predict.inference import Answer
from jobs.storage.places import Place
from models.release import Release, ReleaseError


@dataclass(frozen=True)
class HelperSetup:
    """First message to a quarantine helper: the release to load and the settings to load it with.

    Attributes:
        config: Configuration of the job; it contains device, precision and batch size settings.
        directory: Directory of the release on this machine.
        release: Release that the directory must contain.
        cores: Number of processor cores of the task, which the helper computes with; None takes all of the machine.
    """

    config: PredictConfig
    directory: Path
    release: Release
    cores: int | None = None


@dataclass(frozen=True)
class HelperReady:
    """First message of a quarantine helper, sent when its networks have predicted a black image.

    Attributes:
        device: Name of the device that computes.
        precision: Number format in which the layers compute.
        loading_seconds: Time to build the networks.
        engine: Name of what computes, see `models.serving.engines.OPENVINO`; empty if unknown.
    """

    device: str
    precision: str
    loading_seconds: float
    engine: str = ""


@dataclass(frozen=True)
class HelperRequest:
    """Message to a quarantine helper: predict some images of one row group of a shard.

    Attributes:
        shard: File of the dataset, for errors.
        path: The same file, or its copy, on this machine.
        group: Number of the row group, from 0.
        rows: Row numbers within the row group, from 0.
    """

    shard: Place
    path: Path
    group: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class HelperAnswer:
    """Message of a quarantine helper: the reply to a request; `columns` and `errors` are those of `ImageBatch`.

    Attributes:
        columns: Key columns of the images, each as long as the request.
        errors: Reason why an image could not be decoded, or an empty string.
        answer: Predictions of the networks.
        decoding_seconds: Time to read and decode the images.
        predicting_seconds: Time in which the networks computed.
    """

    columns: dict[str, NDArray[Any]]
    errors: NDArray[Any]
    answer: Answer
    decoding_seconds: float
    predicting_seconds: float


def serve(descriptor: int) -> None:
    """Run the quarantine helper: build the networks, then answer requests until the task closes the pipe.

    Args:
        descriptor: File descriptor of this process's end of the pipe.
    """
    from jobs.predict.networks import clean_worker

    be_killed_first()
    pipe = Connection(descriptor)
    try:
        with clean_worker():
            _answer_all(pipe)
    except (EOFError, ConnectionError):
        return
    except (RunFailed, ReleaseError) as error:
        pipe.send(error)
    except Exception as error:  # the task raises it; its own class may not be importable there
        traceback.print_exc()
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))


def _answer_all(pipe: Connection) -> None:
    from jobs.predict.networks import load_networks

    setup = pipe.recv()
    computing = setup.config.computing
    plan = replace(computing.plan, trial_images=0)  # the helper compares nothing, so it loads nothing to compare with
    config = replace(setup.config, computing=replace(computing, tune=False, plan=plan))
    networks = load_networks(config, None, setup.directory, setup.release, cores=setup.cores)
    side_px = networks.inference.decode_px
    networks.inference.answer(np.zeros((1, side_px, side_px, 3), np.uint8))
    by = networks.engine
    pipe.send(HelperReady(networks.device, networks.tuning.precision, networks.loading_seconds, by))
    while True:
        request = pipe.recv()
        started = time.perf_counter()
        with read_errors_explained(request.shard), pq.ParquetFile(request.path) as file:
            batch = batch_of(file, request.group, request.rows, side_px)
        decoded = time.perf_counter()
        answer = networks.inference.answer(batch.images)
        pipe.send(HelperAnswer(batch.columns, batch.errors, answer, decoded - started, time.perf_counter() - decoded))

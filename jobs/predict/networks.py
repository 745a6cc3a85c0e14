"""What the process of a predict task holds: its GPU, the release's networks on it, and what that device takes.

A release's files come to each executor once, through Spark's own distribution, and are checked by SHA-256 there. Keras
is imported only here and only after the task's GPU is set.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import RunFailed
from jobs.predict.config import PredictConfig
from jobs.predict.device_fit import fit
from jobs.predict.inference import Inference
from jobs.spark.session import is_cluster
from models.release import MANIFEST, Release, ReleaseError, load_release
from models.serving.faults import DeviceLost

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from models.serving.tuning import Tuning


log = logging.getLogger(__name__)


_DEVICE_LOST_EXIT = 75


@dataclass(frozen=True)
class Workplace:
    """Where a shard is predicted, for its report.

    Attributes:
        device: What computes.
        precision: What the layers compute in.
        in_flight: Calls of the networks at once.
        attempt: 0 for a task's first.
        loading_seconds: What building the networks took, where this task had to.
        tried: Whether batch size and precision were found by trying, here and on enough images.
        copying_seconds: The shard's copy from a store was waited for.
    """

    device: str = ""
    precision: str = "float32"
    in_flight: int = 1
    attempt: int = 0
    loading_seconds: float = 0.0
    tried: bool = False
    copying_seconds: float = 0.0


@dataclass
class Station:
    """A release's networks, ready in this process.

    Attributes:
        release: As it was verified here.
        inference: Answers batches, and keeps what it learns of the device's memory.
        device: Name of what computes.
        accelerator: Whether that is a GPU or the like.
        tuning: Batch size and precision.
        made_of: What it was built from, to be used again by the same.
        loading_seconds: What building it took.
        tried: Whether the tuning was found by trying, on enough images to be remembered.
    """

    release: Release
    inference: Inference
    device: str
    accelerator: bool
    tuning: Tuning
    made_of: tuple[Any, ...]
    loading_seconds: float
    tried: bool = False

    def fitted(self, config: PredictConfig) -> PredictConfig:
        """Return what a shard is read with here: on an accelerator all cores of the task decode."""
        workers = max(config.decode_workers, task_cores() or 1) if self.accelerator else config.decode_workers
        return replace(config, batch_size=self.tuning.batch_size, decode_workers=workers)

    def workplace(self) -> Workplace:
        """Describe it for a shard's report; what building it took is told once."""
        seconds, self.loading_seconds = self.loading_seconds, 0.0
        return Workplace(
            device=self.device,
            precision=self.tuning.precision,
            in_flight=2 if self.accelerator else 1,
            attempt=task_attempt(),
            loading_seconds=seconds,
            tried=self.tried,
        )


_stations: list[Station] = []
"""The one of this process; Spark's Python workers serve many tasks."""


def distribute(spark: SparkSession, release_dir: Path, release: Release) -> Release | None:
    """Give every executor a release's files; in local mode they are read where they are.

    Returns:
        What each task must find in them; None if they were not sent.
    """
    if not is_cluster(str(spark.sparkContext.master)):
        return None
    for name in (MANIFEST, *(network.weights_file for network in release.networks)):
        spark.sparkContext.addFile(str((release_dir / name).resolve()))
    return release


def station(config: PredictConfig, shard: Path, distributed: Release | None) -> Station:
    """Return this process's networks, built when it has none of this release.

    Args:
        config: Release, and what to compute on.
        shard: Its images are what half precision is tried on.
        distributed: What Spark's distribution has sent; None reads `config.release_dir`.

    Raises:
        DeviceLost: If this process is bound to another GPU than its task's.
        RunFailed: If a GPU was demanded and there is none.
        ReleaseError: If what arrived is not the release that was sent.
    """
    directory = prepared(config, distributed)
    made_of = (directory, config.computing, config.batch_size)
    if not _stations or _stations[0].made_of != made_of:
        _stations[:] = [replace(new_station(config, shard, directory, distributed), made_of=made_of)]
    return _stations[0]


def vacate(*, may_end: bool) -> None:
    """Let go of this process's networks before another process computes on its device.

    Args:
        may_end: Whether the process may end for it: another attempt comes, which finds a clean one.

    Raises:
        DeviceLost: If the networks are on an accelerator, whose memory a backend keeps until its process ends.
    """
    if not _stations:
        return
    if _stations[0].accelerator and may_end:
        raise DeviceLost("the networks of this process would take the memory from the one that looks at the images")
    from models.serving.devices import forget_networks

    _stations.clear()
    forget_networks()


def prepared(config: PredictConfig, distributed: Release | None) -> Path:
    """Give this process, and those that it starts, what its task was given to compute on; return the release's place.

    Raises:
        DeviceLost: If this process is bound to another GPU than its task's.
    """
    from models.serving.environment import prepare_environment

    prepare_environment(task_gpu(), cores=task_cores())
    return _arrived() if distributed else config.release_dir


def new_station(config: PredictConfig, shard: Path | None, directory: Path, sent: Release | None) -> Station:
    """Build a release's networks in this process, which needs no task of Spark's for it.

    Args:
        config: What to compute on.
        shard: Its images are what half precision is tried on; None tries nothing and takes what is known to be good.
        directory: Where the release is.
        sent: What it must be; None takes what is there.

    Raises:
        RunFailed, ReleaseError: As `station` does.
    """
    from models.serving.environment import quiet_start

    started = time.perf_counter()
    with quiet_start():
        release = load_release(directory)
        if sent and release != sent:
            raise ReleaseError(f"{directory} on {socket.gethostname()} holds another release than was sent; run again")
        built = _built(config, shard, release, directory)
    return replace(built, loading_seconds=time.perf_counter() - started)


def _built(config: PredictConfig, shard: Path | None, release: Release, directory: Path) -> Station:
    from models.serving.devices import device

    found = device()
    if config.computing.gpu and not found.accelerator:
        raise RunFailed(
            f"a GPU was demanded and {socket.gethostname()} offers none to Keras's backend; start executors from an "
            "image with CUDA, or unset SHELFWISE_GPU"
        )
    fitted = fit(config, shard, release, directory, found)
    tuning = fitted.tuning
    log.info("on %s: batches of %s images, in %s", found.name, tuning.batch_size, tuning.precision)
    inference = Inference(fitted.predictor)
    return Station(release, inference, found.name, found.accelerator, tuning, (), 0.0, tried=fitted.tried)


@contextmanager
def clean_worker() -> Iterator[None]:
    """End the process when its device is lost: Spark then starts the task again in a clean one."""
    try:
        yield
    except DeviceLost as error:
        print(f"shelfwise: the device is lost to this process, which ends: {error}", file=sys.stderr, flush=True)
        os._exit(_DEVICE_LOST_EXIT)


def task_gpu() -> str | None:
    """Return the address of the GPU that Spark gave this task; None outside a task, or for one without a GPU."""
    context = _task()
    found = context.resources().get("gpu") if context else None
    return found.addresses[0] if found else None


def task_cores() -> int | None:
    """Return how many cores this task owns; None outside a task."""
    context = _task()
    return int(context.cpus()) if context else None


def task_attempt() -> int:
    """Return how often Spark has started this task before."""
    context = _task()
    return int(context.attemptNumber()) if context else 0


def _task() -> Any:
    from pyspark import TaskContext

    return TaskContext.get()


def _arrived() -> Path:
    from pyspark import SparkFiles

    return Path(SparkFiles.getRootDirectory())

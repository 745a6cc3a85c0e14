"""Per-process cache of loaded networks: binds the task's GPU, loads the release once, remembers the batch size.

Spark's file distribution sends a release's files to each executor once; each process verifies them by SHA-256. Keras
is imported only here, and only after the task's GPU is set. A process that computes by OpenVINO never imports it.
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
from jobs.predict.config import ConvertedFiles, PredictConfig
from jobs.predict.device_fit import fit_to_device
from jobs.predict.inference import Inference
from jobs.predict.trial import Trial
from jobs.spark.session import is_cluster
from jobs.spark.task import task_attempt, task_cores, task_gpu
from models.known.gate import ImageGate, load_gate
from models.release import MANIFEST, Release, ReleaseError, load_release
from models.serving.engines import EngineError, engine_in_words
from models.serving.faults import DeviceLost

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from jobs.dataset.reader_processes import ReaderProcesses
    from models.serving.tuning import Tuning

log = logging.getLogger(__name__)

_DEVICE_LOST_EXIT = 75


@dataclass(frozen=True)
class ComputeReport:
    """Report on the networks loaded in a process: their device, precision and start-up cost.

    Attributes:
        device: Name of the device that computes.
        precision: Number format in which the layers compute, such as `float32`.
        engine: Name of what computes, see `models.serving.engines.OPENVINO`; empty if unknown.
        in_flight: Concurrent calls of the networks.
        attempt: Number of the Spark task's attempt, from 0.
        loading_seconds: Time to build the networks; 0 if the process had loaded them for an earlier shard.
        tried: Whether this process measured batch size and precision, on enough images to remember the result.
        copying_seconds: Time that the task waited for the shard's copy from a store.
        compared: Counts of `jobs.predict.trial.Compared`; empty if nothing was compared.
    """

    device: str = ""
    precision: str = "float32"
    engine: str = ""
    in_flight: int = 1
    attempt: int = 0
    loading_seconds: float = 0.0
    tried: bool = False
    copying_seconds: float = 0.0
    compared: tuple[int, ...] = ()


@dataclass
class LoadedNetworks:
    """A release's networks, loaded in this process.

    Attributes:
        release: The release as this process verified it.
        inference: Predicts batches and remembers how many images fit in the device's memory.
        device: Name of the device that computes.
        accelerator: Whether the device is a GPU or another accelerator.
        tuning: Batch size and precision.
        cache_key: Directory and settings that the networks were built from; equal settings reuse them.
        loading_seconds: Time to build the networks.
        tried: Whether this process measured the tuning, on enough images to remember it.
        readers: Processes that read and decode for an accelerator; None reads in threads of this process.
        gate: Decides which images the release knows; None trusts no image of a release that describes them.
        trial: Compares bfloat16 on some images; None if nothing is to be compared.
        engine: Name of what computes, see `models.serving.engines.OPENVINO`; empty if unknown.
    """

    release: Release
    inference: Inference
    device: str
    accelerator: bool
    tuning: Tuning
    cache_key: tuple[Any, ...]
    loading_seconds: float
    tried: bool = False
    readers: ReaderProcesses | None = None
    gate: ImageGate | None = None
    trial: Trial | None = None
    engine: str = ""

    def config_for_device(self, config: PredictConfig) -> PredictConfig:
        """Return the configuration with this device's batch size; on an accelerator all cores of the task decode."""
        workers = max(config.decode_workers, task_cores() or 1) if self.accelerator else config.decode_workers
        return replace(config, batch_size=self.tuning.batch_size, decode_workers=workers)

    def compute_report(self) -> ComputeReport:
        """Describe this process for a shard's report; only the first report contains the loading time."""
        seconds, self.loading_seconds = self.loading_seconds, 0.0
        return ComputeReport(
            device=self.device,
            precision=self.tuning.precision,
            engine=self.engine,
            in_flight=2 if self.accelerator else 1,
            attempt=task_attempt(),
            loading_seconds=seconds,
            tried=self.tried,
        )


_loaded: list[LoadedNetworks] = []
"""The networks of this process, at most one entry. Spark reuses a Python worker process for many tasks."""


def distribute(
    spark: SparkSession, release_dir: Path, release: Release, converted: ConvertedFiles | None = None
) -> Release | None:
    """Send the files of a release to every executor; in local mode tasks read the original files.

    Args:
        spark: Spark session.
        release_dir: Directory of the release on the driver.
        release: The release as the driver verified it.
        converted: The same release in OpenVINO's format; None if Keras computes it.

    Returns:
        The release that each task must find in the files; None if nothing was sent.
    """
    if not is_cluster(str(spark.sparkContext.master)):
        return None
    for name in (MANIFEST, *release.files):
        spark.sparkContext.addFile(str((release_dir / name).resolve()))
    if converted:
        for name in converted.converted.files:
            spark.sparkContext.addFile(str((converted.directory / name).resolve()))
    return release


def loaded_networks(config: PredictConfig, shard: Path, distributed: Release | None) -> LoadedNetworks:
    """Return this process's loaded networks; build them if there are none, or of another release or settings.

    Args:
        config: Release directory, device and batch size.
        shard: Dataset file on this machine whose first images are used to compare half precision with float32.
        distributed: Release that Spark sent to the executors; None reads `config.release_dir`.

    Raises:
        DeviceLost: If this process is bound to another GPU than its task's.
        RunFailed: If a GPU was demanded and there is none; start executors with CUDA, or unset `SHELFWISE_GPU`.
        ReleaseError: If the files on this machine are not the release that was sent; run again.
    """
    directory = prepare_process(config, distributed)
    cache_key = (directory, config.computing, config.batch_size)
    if not _loaded or _loaded[0].cache_key != cache_key:
        _forget_loaded()
        built = load_networks(config, shard, directory, distributed, cores=task_cores())
        readers = _reader_processes(built.release.decode_px) if built.accelerator else None
        _loaded[:] = [replace(built, cache_key=cache_key, readers=readers)]
    return _loaded[0]


def unload_networks(*, may_end: bool) -> None:
    """Unload this process's networks, so that another process can use the device.

    Args:
        may_end: Whether this process may end to free the memory; the task's next attempt then starts in a new process.

    Raises:
        DeviceLost: If `may_end` and the networks are on an accelerator: the backend keeps that memory until its process
            ends.
    """
    if not _loaded:
        return
    if _loaded[0].accelerator and may_end:
        raise DeviceLost("the networks of this process would take the memory from the one that looks at the images")
    from models.serving.devices import forget_networks

    _forget_loaded()
    forget_networks()


def _forget_loaded() -> None:
    """Forget the networks of this process, and end the processes that decode for them."""
    for networks in _loaded:
        if networks.readers:
            networks.readers.close()
    _loaded.clear()


def prepare_process(config: PredictConfig, distributed: Release | None) -> Path:
    """Bind this process, before it loads networks, and those that it starts, to the GPU and cores of its Spark task.

    Args:
        config: Configuration of the job.
        distributed: Release that Spark sent to the executors; None if nothing was sent.

    Returns:
        Directory of the release on this machine.

    Raises:
        DeviceLost: If this process is bound to another GPU than its task's.
    """
    from models.serving.environment import prepare_environment

    prepare_environment(task_gpu(), cores=task_cores())
    return _distributed_directory() if distributed else config.release_dir


def load_networks(
    config: PredictConfig, shard: Path | None, directory: Path, sent: Release | None, *, cores: int | None
) -> LoadedNetworks:
    """Build a release's networks in this process, and load its gate; it need not be a Spark task.

    Args:
        config: Device and batch size settings.
        shard: Dataset file on this machine whose first images are used to compare half precision with float32; None
            skips the comparison and uses the precision found earlier, or float32.
        directory: Directory of the release on this machine.
        sent: Release that the directory must contain; None accepts any valid release.
        cores: Number of processor cores to compute with; None takes all of this machine.

    Raises:
        RunFailed: If a GPU was demanded and there is none; start executors with CUDA, or unset `SHELFWISE_GPU`. Or if
            OpenVINO is missing or broken, or cannot compute the release here, or the converted release is not the one
            that was sent.
        ReleaseError: If the directory contains another release than was sent; run again. Or if a weight that Keras
            loads is not a finite number; train the network again.
    """
    from models.serving.environment import quiet_start

    started = time.perf_counter()
    with quiet_start():
        release = load_release(directory)
        if sent and release != sent:
            raise ReleaseError(f"{directory} on {socket.gethostname()} holds another release than was sent; run again")
        try:
            built = _build_on_device(config, shard, release, directory, cores)
        except EngineError as error:
            raise RunFailed(f"on {socket.gethostname()} {error}") from error
    gate = load_gate(release, directory)  # not in the quiet block: what it logs is to be seen
    return replace(built, gate=gate, loading_seconds=time.perf_counter() - started)


def _build_on_device(
    config: PredictConfig, shard: Path | None, release: Release, directory: Path, cores: int | None
) -> LoadedNetworks:
    from models.serving.devices import device, may_have_accelerator, processor

    computing = config.computing
    by_processor = computing.converted and (computing.engine == "openvino" or not may_have_accelerator())
    target = processor() if by_processor else device()
    if config.computing.gpu and not target.accelerator:
        raise RunFailed(
            f"a GPU was demanded and {socket.gethostname()} offers none to Keras's backend; start executors from an "
            "image with CUDA, or unset SHELFWISE_GPU"
        )
    fitted = fit_to_device(config, shard, release, directory, target, cores=cores)
    tuning = fitted.tuning
    by = engine_in_words(fitted.engine)
    log.info("by %s on %s: batches of %s images, in %s", by, target.name, tuning.batch_size, tuning.precision)
    trial = Trial(Inference(fitted.other), images=computing.plan.trial_images) if fitted.other else None
    return LoadedNetworks(
        release,
        Inference(fitted.predictor),
        target.name,
        target.accelerator,
        tuning,
        cache_key=(),
        loading_seconds=0.0,
        tried=fitted.tried,
        trial=trial,
        engine=fitted.engine,
    )


def _reader_processes(side_px: int) -> ReaderProcesses | None:
    """Start the processes that decode for an accelerator; None if the task has few cores."""
    from jobs.dataset.reader_processes import processes_for

    return processes_for(task_cores() or 1, side_px=side_px)


@contextmanager
def clean_worker() -> Iterator[None]:
    """End the process of the loaded networks if they lose the device; Spark then retries the task in a new one."""
    try:
        yield
    except DeviceLost as error:
        print(f"shelfwise: the device is lost to this process, which ends: {error}", file=sys.stderr, flush=True)
        os._exit(_DEVICE_LOST_EXIT)


def _distributed_directory() -> Path:
    from pyspark import SparkFiles

    return Path(SparkFiles.getRootDirectory())

"""Set the environment variables that TensorFlow, JAX and PyTorch read when they are imported. Imports none of them."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from threadpoolctl import ThreadpoolController, threadpool_limits

from models.serving.faults import DeviceLost

_BACKENDS = ("tensorflow", "jax", "torch")


def prepare_environment(gpu: str | None = None, *, cores: int | None = None) -> None:
    """Set the environment variables that the backends read at import, and bind this process to one GPU.

    Variables that are already set are kept, except those that choose the GPU. oneDNN's kernels double the speed on CPUs
    and are off by default on AMD. The log level keeps TensorFlow's start-up messages out of the output of the job. GPU
    memory is allocated as it is needed, not all at once. NumPy and SciPy multiply matrices in one thread: beside those
    of the networks their threads would wait for each other, which takes ten times as long.

    Args:
        gpu: Address of the one GPU that the caller may use, as Spark passes it: an index or a UUID on this machine. It
            replaces the whole `CUDA_VISIBLE_DEVICES`; it is not a position in a list that is already set there. None
            changes nothing about the visible GPUs.
        cores: Number of processor cores that TensorFlow may use; None means all.

    Raises:
        DeviceLost: If this process has already imported a backend for another GPU. Only a new process can change it.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for a library that is loaded later
    threadpool_limits(1, user_api="blas")
    if cores:
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(cores))
    if gpu is None:
        return
    bound = os.environ.get("CUDA_VISIBLE_DEVICES")
    if bound != gpu and any(name in sys.modules for name in _BACKENDS):
        raise DeviceLost(f"this process computes on the GPU {bound or 'that it found'}, and its task was given {gpu}")
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # the order of nvidia-smi, from which the addresses come


def usable_cores(limit: int | None = None) -> int:
    """Return the number of processor cores that this process may use, at most `limit`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, limit or cores)


@contextmanager
def multiplying_on_all_cores(*libraries: str) -> Iterator[None]:
    """Let NumPy, SciPy or both multiply matrices on all cores, while nothing else computes in this process.

    Each brings its own BLAS with threads of its own, which keep a core busy while they wait for work. So where both
    take turns within milliseconds, as an optimiser of SciPy and a loss in NumPy do, only one may have all cores:
    otherwise they take twice as long as with one thread each.

    Args:
        libraries: "numpy", "scipy" or both.
    """
    folders = {f"{each}.libs" for each in libraries}  # in which their wheels keep it
    loaded = ThreadpoolController().select(user_api="blas")
    files = [each.filepath for each in loaded.lib_controllers if Path(each.filepath).parent.name in folders]
    with loaded.select(filepath=files).limit(limits=usable_cores()):
        yield


@contextmanager
def quiet_start() -> Iterator[None]:
    """Hide the stderr output of native libraries while they start; print it only if the block raises.

    TensorFlow writes a dozen lines about missing accelerators before it applies its log level.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except BaseException:
            hidden.seek(0)
            os.write(stderr, hidden.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)

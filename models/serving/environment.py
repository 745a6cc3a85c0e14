"""What must be done before TensorFlow is imported, and nothing that imports it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from models.serving.faults import DeviceLost

_BACKENDS = ("tensorflow", "jax", "torch")


def prepare_environment(gpu: str | None = None, *, cores: int | None = None) -> None:
    """Set what the backends read when they are imported; what the caller has set already stays, but for the GPU.

    oneDNN's kernels double the rate on CPUs and are off by default on AMD; the log level keeps TensorFlow's start-up
    chatter out of the job's output. Memory is taken as it is needed, not all of the GPU's at once.

    Args:
        gpu: Address of the one GPU that the caller owns, as Spark gives it: an index or a UUID of the machine. It
            replaces `CUDA_VISIBLE_DEVICES` whole; it is no place in a list that is already narrowed. None leaves what
            is visible as it is.
        cores: Of the machine's, that the caller may use; None is all.

    Raises:
        DeviceLost: If this process has imported a backend for another GPU; only a new process can change it.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if cores:
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(cores))
    if gpu is None:
        return
    bound = os.environ.get("CUDA_VISIBLE_DEVICES")
    if bound != gpu and any(name in sys.modules for name in _BACKENDS):
        raise DeviceLost(f"this process computes on the GPU {bound or 'that it found'}, and its task was given {gpu}")
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # the order of nvidia-smi, which finds the addresses


@contextmanager
def quiet_start() -> Iterator[None]:
    """Hold back what native libraries write to stderr while they start, and show it only if the start fails.

    TensorFlow writes a dozen lines about absent accelerators before its log level counts.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)

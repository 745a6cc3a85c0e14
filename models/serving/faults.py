"""What went wrong in a call of the networks: memory, the device itself, or the images. No backend is imported for it.

TensorFlow, JAX and PyTorch raise classes of their own for the same faults; what their messages quote of CUDA is what
tells them apart.
"""

from __future__ import annotations

import re
from typing import Literal

Fault = Literal["memory", "device", "other"]

_MEMORY = re.compile(
    r"RESOURCE_EXHAUSTED|ResourceExhausted|out of memory|OutOfMemory|OOM when allocating|CUBLAS_STATUS_ALLOC_FAILED"
    r"|CUDNN_STATUS_ALLOC_FAILED|failed to allocate memory|MemoryError|bad_alloc|Insufficient memory",
    re.IGNORECASE,
)
# After one of these every later call of the process fails too: its CUDA context is lost.
_DEVICE = re.compile(
    r"CUDA_ERROR_(ILLEGAL_ADDRESS|LAUNCH_FAILED|LAUNCH_TIMEOUT|ECC_UNCORRECTABLE|HARDWARE_STACK_ERROR|ASSERT"
    r"|ILLEGAL_INSTRUCTION|MISALIGNED_ADDRESS|INVALID_ADDRESS_SPACE|INVALID_PC|UNKNOWN|NVLINK_UNCORRECTABLE"
    r"|CONTEXT_IS_DESTROYED|DEINITIALIZED|SYSTEM_NOT_READY)"
    r"|illegal memory access|unspecified launch failure|device-side assert|misaligned address|uncorrectable ECC"
    r"|GPU is lost|fallen off the bus",
    re.IGNORECASE,
)


class DeviceLost(RuntimeError):
    """The accelerator answers this process no more; only a new process can use it, or none can."""


def fault_of(error: BaseException) -> Fault:
    """Say what an error of a predict call means.

    Args:
        error: As the backend raised it.

    Returns:
        `memory`: fewer images may fit. `device`: the process must end. `other`: an image, or the network itself.
    """
    text = f"{type(error).__name__}: {error}"
    if _DEVICE.search(text):
        return "device"
    return "memory" if isinstance(error, MemoryError) or _MEMORY.search(text) else "other"

"""Classify an error of a predict call: out of memory, lost device, or anything else. Imports no backend.

TensorFlow, JAX and PyTorch raise different exception classes for the same fault. The classification therefore searches
their messages for the CUDA errors that they quote.
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
# After one of these errors the CUDA context of the process is lost: every later call fails too.
_DEVICE = re.compile(
    r"CUDA_ERROR_(ILLEGAL_ADDRESS|LAUNCH_FAILED|LAUNCH_TIMEOUT|ECC_UNCORRECTABLE|HARDWARE_STACK_ERROR|ASSERT"
    r"|ILLEGAL_INSTRUCTION|MISALIGNED_ADDRESS|INVALID_ADDRESS_SPACE|INVALID_PC|UNKNOWN|NVLINK_UNCORRECTABLE"
    r"|CONTEXT_IS_DESTROYED|DEINITIALIZED|SYSTEM_NOT_READY)"
    r"|illegal memory access|unspecified launch failure|device-side assert|misaligned address|uncorrectable ECC"
    r"|GPU is lost|fallen off the bus",
    re.IGNORECASE,
)


class DeviceLost(RuntimeError):
    """Raised for a fault of the accelerator: it no longer works in this process. At best a new process can use it."""


def fault_of(error: BaseException) -> Fault:
    """Classify the fault of a predict call from its error.

    Args:
        error: The exception that the backend raised.

    Returns:
        `memory`: out of memory, a smaller batch may fit. `device`: the device is lost, the process must end. `other`:
        an error of an image or of the network itself.
    """
    text = f"{type(error).__name__}: {error}"
    if _DEVICE.search(text):
        return "device"
    return "memory" if isinstance(error, MemoryError) or _MEMORY.search(text) else "other"

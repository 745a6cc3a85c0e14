"""Detect the device on which this process computes, and choose the dtype policy for training on it."""

from __future__ import annotations

import os
import platform
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

_CPU_INFO = Path("/proc/cpuinfo")
_ACCELERATORS = ("nvidia*", "kfd", "dxg", "accel[0-9]*", "vfio/[0-9]*")
"""Device files of NVIDIA's and AMD's GPUs, of GPUs below Windows, and of TPUs.

Not /dev/vfio/vfio, which hosts of virtual machines have without any device, nor the directory /dev/accel, in which
Linux puts other devices than TPUs."""

_BFLOAT16_PRODUCTS = {"avx512_bf16", "amx_bf16"}
"""Flags in /proc/cpuinfo of processors that multiply bfloat16 in hardware; TensorFlow's oneDNN uses this."""

FASTER_IN_BFLOAT16 = ("xception",)
"""Architectures that train faster in mixed_bfloat16 on such a processor.

Xception takes half the time, because nearly all of its work is matrix products. EfficientNets take twice the time,
because their swish and squeeze-and-excitation have no fast bfloat16 kernels. Both measured on an AMD EPYC.
"""


_PROCESSOR = "CPU, "


@dataclass(frozen=True)
class Device:
    """The device, processor or accelerator, on which this process computes.

    Attributes:
        name: Product name, such as `NVIDIA H200`; the name of a processor starts with `CPU, `.
        accelerator: Whether it is a GPU or similar device, with its own memory, that computes beside the processor.
    """

    name: str
    accelerator: bool


@lru_cache(maxsize=1)
def device() -> Device:
    """Return the device on which the Keras backend of this process computes; imports the backend."""
    import keras

    match keras.backend.backend():
        case "tensorflow":
            name = _tensorflow()
        case "jax":
            name = _jax()
        case _:
            name = _torch()
    return Device(name, True) if name else processor()


def processor() -> Device:
    """Return the processor of this machine, without asking a backend."""
    return Device(f"{_PROCESSOR}{cpu_model()}", False)


def names_processor(name: str) -> bool:
    """Return whether the name of a device is that of a processor."""
    return name.startswith(_PROCESSOR)


def keras_backend() -> str:
    """Return the name of the Keras backend of this process: tensorflow, jax or torch; imports it."""
    import keras

    return str(keras.backend.backend())


def may_have_accelerator(device_files: Path = Path("/dev")) -> bool:
    """Return whether the Keras backend may find an accelerator; False means that it need not be imported to ask it.

    Args:
        device_files: Directory of the device files of this machine.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or sys.platform != "linux":
        return sys.platform != "linux"
    return any(next(device_files.glob(pattern), None) for pattern in _ACCELERATORS)


def multiplies_bfloat16() -> bool:
    """Return whether this machine's processor multiplies bfloat16 in hardware."""
    return not _BFLOAT16_PRODUCTS.isdisjoint(_cpu_info("flags").split())


def half_precision(architecture: str) -> str | None:
    """Return the Keras dtype policy in which a network trains faster on this device than in float32.

    Args:
        architecture: Name of the architecture, a key of `models.networks.registry.ARCHITECTURES`.

    Returns:
        `mixed_float16`, `mixed_bfloat16`, or None if float32 is the fastest.
    """
    if device().accelerator:
        return "mixed_float16"
    return "mixed_bfloat16" if architecture in FASTER_IN_BFLOAT16 and _tensorflow_multiplies_bfloat16() else None


def forget_networks() -> None:
    """Free the device memory that Keras and its backend still keep of networks that are no longer referenced."""
    if "keras" not in sys.modules:
        return
    import keras

    keras.utils.clear_session(free_memory=True)


def _tensorflow() -> str | None:
    """Return the name of the first GPU that TensorFlow finds; None if there is none."""
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        details: dict[str, Any] = tf.config.experimental.get_device_details(gpu)
        return str(details.get("device_name", gpu.name))
    return None


def _jax() -> str | None:
    """Return the name of the first accelerator that JAX finds; None if there is none."""
    import jax

    first = jax.devices()[0]
    return None if first.platform == "cpu" else str(first.device_kind)


def _torch() -> str | None:
    """Return the name of the first GPU that PyTorch finds; None if there is none."""
    import torch

    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None


def _tensorflow_multiplies_bfloat16() -> bool:
    """Return whether TensorFlow runs on a processor that multiplies bfloat16 in hardware."""
    import keras

    return keras.backend.backend() == "tensorflow" and multiplies_bfloat16()


def cpu_model() -> str:
    """Return the name of this machine's processor."""
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(key: str) -> str:
    """Return a value of the first core from /proc/cpuinfo; an empty string if it is missing, as on other systems."""
    try:
        match = re.search(rf"^{key}\s*:\s*(.+)$", _CPU_INFO.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return ""
    return match[1].strip() if match else ""

"""Where Keras's backend computes: the accelerator's name, or the processor's."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

_CPU_INFO = Path("/proc/cpuinfo")
_BFLOAT16_PRODUCTS = {"avx512_bf16", "amx_bf16"}
"""Flags of processors with instructions that multiply bfloat16; TensorFlow's oneDNN uses them."""

FASTER_IN_BFLOAT16 = ("xception",)
"""Networks that such a processor trains in half the time: theirs is nearly all matrix products. EfficientNets take
twice the time, as their swish and squeeze-and-excitation have no fast kernels in bfloat16 (both on an AMD EPYC)."""


@dataclass(frozen=True)
class Device:
    """What a process computes on.

    Attributes:
        name: As its maker calls it, `NVIDIA H200`; of a processor with `CPU, ` before it.
        accelerator: Whether it is a GPU or the like: it has memory of its own and computes beside the processor.
    """

    name: str
    accelerator: bool


@lru_cache(maxsize=1)
def device() -> Device:
    """Return what this process's backend computes on; imports it."""
    import keras

    match keras.backend.backend():
        case "tensorflow":
            found = _tensorflow()
        case "jax":
            found = _jax()
        case _:
            found = _torch()
    return Device(found, True) if found else Device(f"CPU, {_processor()}", False)


def half_precision(architecture: str) -> str | None:
    """Return Keras's policy in which a network trains faster here than in float32, or None.

    Args:
        architecture: Of the network; see `models.networks.registry`.
    """
    if device().accelerator:
        return "mixed_float16"
    return "mixed_bfloat16" if architecture in FASTER_IN_BFLOAT16 and _multiplies_bfloat16() else None


def forget_networks() -> None:
    """Give back what networks that nobody holds any more have left in Keras and its backend."""
    import keras

    keras.utils.clear_session(free_memory=True)


def _tensorflow() -> str | None:
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        details: dict[str, Any] = tf.config.experimental.get_device_details(gpu)
        return str(details.get("device_name", gpu.name))
    return None


def _jax() -> str | None:
    import jax

    first = jax.devices()[0]
    return None if first.platform == "cpu" else str(first.device_kind)


def _torch() -> str | None:
    import torch

    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None


def _multiplies_bfloat16() -> bool:
    import keras

    return keras.backend.backend() == "tensorflow" and not _BFLOAT16_PRODUCTS.isdisjoint(_told("flags").split())


def _processor() -> str:
    return _told("model name") or platform.processor() or platform.machine()


def _told(key: str) -> str:
    """Return what Linux tells of the first core; elsewhere nothing."""
    try:
        found = re.search(rf"^{key}\s*:\s*(.+)$", _CPU_INFO.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return ""
    return found[1].strip() if found else ""

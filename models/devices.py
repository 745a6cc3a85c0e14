"""Where Keras's backend computes: the accelerator's name, or the processor's."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

_CPU_INFO = Path("/proc/cpuinfo")


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


def _processor() -> str:
    try:
        named = re.search(r"^model name\s*:\s*(.+)$", _CPU_INFO.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        named = None
    return named[1].strip() if named else platform.processor() or platform.machine()

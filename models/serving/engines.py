"""The seam between a release and what computes its networks: an engine opens a release as one function.

`models.serving.openvino_engine` computes on processors; `models.serving.keras_engine` computes on accelerators, and on
processors where OpenVINO cannot. Both give the same answers and features in float32. This module imports none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from models.release import Release
from models.spec import Features, Images

Precision = Literal["float32", "mixed_float16", "bfloat16"]
"""Number formats in which the layers of a network compute: `mixed_float16` on accelerators by Keras, which names it so,
and `bfloat16` on processors by OpenVINO."""

OPENVINO = "openvino"
"""Name of the engine of OpenVINO in reports; that of Keras is `keras/` and its backend: `keras/tensorflow`."""

Forward = Callable[[Images], list[Features]]
"""Function from uint8 (batch, decode_px, decode_px, 3), of any batch size, to one list of arrays.

First the softmax of each network, float32 (batch, categories), then the features of each network, float32 (batch,
features), both in the order of the release's networks. It may be called from several threads.
"""


class Engine(Protocol):
    """Shared interface of what computes the networks of a release."""

    def open(self, release: Release, directory: Path) -> Forward:
        """Load the networks of a release on the device of this process.

        Args:
            release: Release as `load_release` returns it, with verified weights files.
            directory: Directory of the release, with its weights files.

        Returns:
            The networks as one function.
        """


class EngineError(ValueError):
    """Raised when an engine cannot serve a release on this machine; the message names the remedy."""


class ConversionRefused(EngineError):
    """Raised for a release that OpenVINO cannot compute as Keras does; another attempt would end the same."""


def engine_in_words(name: str) -> str:
    """Return the name of an engine as people read it: `OpenVINO`, `Keras (tensorflow)`."""
    keras, _, backend = name.partition("/")
    if name == OPENVINO:
        return "OpenVINO"
    return f"Keras ({backend})" if keras == "keras" and backend else name


def computed_in_words(document: Mapping[str, Any]) -> str:
    """Describe what computed a run: `in float32 by OpenVINO on CPU, ...`.

    Args:
        document: JSON document of a predict job, with the names of its precisions, devices and engines; those of
            earlier versions name no engines.

    Returns:
        The words; empty if precision or device is unknown.
    """
    precisions, devices = (" and ".join(document.get(name) or ()) for name in ("precisions", "devices"))
    if not (precisions and devices):
        return ""
    engines = " and ".join(map(engine_in_words, document.get("engines") or ()))
    return f"in {precisions}{f' by {engines}' if engines else ''} on {devices}"

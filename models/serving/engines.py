"""The seam between a release and what computes its networks: an engine opens a release as one function.

`models.serving.keras_engine` is the engine of all devices. All engines give the same answers and features in float32.
This module imports none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

from models.release import Release
from models.spec import Features, Images

Precision = Literal["float32", "mixed_float16", "bfloat16"]
"""Number formats in which the layers of a network compute: `mixed_float16` on accelerators by Keras, which names it so,
and `bfloat16` on processors by OpenVINO."""

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

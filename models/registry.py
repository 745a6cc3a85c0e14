"""The architectures that a release may name. A new one is a module with `build` and `preprocess`, and a line here.

The modules import Keras, so they are imported when they are first asked for and not before: the caller must have set
the accelerator and the backend by then.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol, cast

ARCHITECTURES = {
    "efficientnetb0": "models.efficientnet",
    "xception": "models.xception",
}


class Architecture(Protocol):
    """What a module in `ARCHITECTURES` offers."""

    def build(self, *, input_px: int, categories: int, dropout: float = 0.0) -> Any:
        """Return an untrained keras.Model from (batch, input_px, input_px, 3) to logits (batch, categories)."""

    def preprocess(self, images: Any) -> Any:
        """Map RGB values of 0-255, float32, to the range that the network was made for."""


def architecture(name: str) -> Architecture:
    """Return the module of an architecture.

    Args:
        name: A key of `ARCHITECTURES`.

    Returns:
        The module, which offers `build` and `preprocess`.

    Raises:
        ValueError: If the name is unknown; the message lists the known ones.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {name!r}; expected one of {', '.join(sorted(ARCHITECTURES))}")
    return cast(Architecture, import_module(ARCHITECTURES[name]))

"""Find an architecture by the name that a release uses for it.

To add one, write a module that implements `Architecture`, and add a line to both tables here. The modules import Keras,
so they are imported only on first use: the caller must choose the accelerator and the backend before that.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol, cast

ARCHITECTURES = {
    "efficientnetb0": "models.networks.efficientnet:B0",
    "efficientnetb1": "models.networks.efficientnet:B1",
    "efficientnetb2": "models.networks.efficientnet:B2",
    "efficientnetb3": "models.networks.efficientnet:B3",
    "efficientnetb4": "models.networks.efficientnet:B4",
    "efficientnetb5": "models.networks.efficientnet:B5",
    "efficientnetb6": "models.networks.efficientnet:B6",
    "efficientnetb7": "models.networks.efficientnet:B7",
    "xception": "models.networks.xception",
}
"""By name of an architecture, the module that implements it, or `module:object`."""

INPUT_PX = {
    "efficientnetb0": (32, 224),
    "efficientnetb1": (32, 240),
    "efficientnetb2": (32, 260),
    "efficientnetb3": (32, 300),
    "efficientnetb4": (32, 380),
    "efficientnetb5": (32, 456),
    "efficientnetb6": (32, 528),
    "efficientnetb7": (32, 600),
    "xception": (71, 299),
}
"""By name, the smallest side of the square input and the side that the network was designed for, in pixels."""

EARLIER_MAPS: dict[str, tuple[str, ...]] = {"xception": ("block14_sepconv1", "block13_sepconv1_act")}
"""By name, layers whose inputs are feature maps whose middle a head may join, the latest first.

See `models.spec.Head.middles`. Those of Xception are the outputs of its blocks 13 and 12: they tell what its last
block, which was trained to tell ImageNet's classes apart, no longer does. Residual connections have no fixed names in
Keras, so the layer behind is named.
"""


class Architecture(Protocol):
    """Interface of an architecture in the registry: build a network or its backbone, and preprocess its input."""

    def build(self, *, input_px: int, categories: int, dropout: float = 0.0) -> Any:
        """Return an untrained keras.Model from (batch, input_px, input_px, 3) to logits (batch, categories)."""

    def backbone(self, *, input_px: int, weights: str | None = None, pooling: str = "avg") -> Any:
        """Return the network up to its pooled features, untrained (`weights` is None) or with weights (`imagenet`)."""

    def preprocess(self, images: Any) -> Any:
        """Map RGB values, float32, 0-255, to the range that the network was designed for."""


def architecture(name: str) -> Architecture:
    """Look up an architecture in the registry by its name.

    Args:
        name: A key of `ARCHITECTURES`.

    Returns:
        The module or object that builds it.

    Raises:
        ValueError: If the name is unknown; the message lists the known ones.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {name!r}; expected one of {', '.join(sorted(ARCHITECTURES))}")
    module, _, attribute = ARCHITECTURES[name].partition(":")
    implementation: Any = import_module(module)
    return cast(Architecture, getattr(implementation, attribute) if attribute else implementation)

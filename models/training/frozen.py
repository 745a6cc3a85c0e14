"""Frozen backbones: load the network of a start without its head, name it by its weights, and give it a new head."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.networks.backbones import HEAD
from models.networks.heads import features_tensor, most_middles, network_with_head
from models.networks.weights import round_as_stored, weights_sha256
from models.release import MANIFEST, SHIPPED, ReleaseError, load_release
from models.spec import Head, NetworkSpec
from models.training.recipe import IMAGENET, NOTHING
from models.training.seen import imagenet_file, saw_train, saw_unknown
from models.training.starts import copy_backbone_of_release, load_start_weights, range_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrozenBackbone:
    """A network whose backbone is not trained, with a head that is not fitted yet.

    Attributes:
        network: Architecture, input size and value range of the network; the name of its weights file, without a hash.
        model: The keras.Model to logits.
        start: Where its weights come from: `imagenet`, a weights file, or a release's directory.
        sha256: SHA-256 of the backbone's weights, as a release stores them.
        saw_train: Whether the backbone was trained on the part train of labelled products. The features of these
            products are better than those of others, so that they must not calibrate.
        saw_unknown: Whether nobody knows what the backbone was trained on, so that it may be any of these products.
    """

    network: NetworkSpec
    model: Any
    start: str
    sha256: str
    saw_train: bool
    saw_unknown: bool = False

    @property
    def backbone(self) -> Any:
        """The keras.Model from the network's input to what its head receives, (batch, features)."""
        import keras

        return keras.Model(self.model.input, self.model.get_layer(HEAD).input)

    @property
    def last_width(self) -> int:
        """Number of features of the last feature map, the first of those that the head receives."""
        return int(features_tensor(self.model, self.network.head).shape[-1])

    def set_head(self, kernel: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """Give the network a fitted head: kernel float32 (features, categories), bias float32 (categories,)."""
        self.model.get_layer(HEAD).set_weights([kernel, bias])


def load_frozen(name: str, input_px: int, start: str, *, categories: int, middles: int | None = None) -> FrozenBackbone:
    """Load the backbone of a start into a new network.

    If ImageNet's weights are neither in Keras' cache nor can be downloaded, the backbone of the release that is shipped
    with shelfwise is taken, and a warning says which file to put where.

    Args:
        name: Name of the architecture.
        input_px: Side of the network's square input, in pixels.
        start: `imagenet`, a weights file, or a release's directory.
        categories: Width of the head.
        middles: Number of earlier feature maps whose middles the head joins, see `models.spec.Head`; None for all that
            the architecture names.

    Raises:
        ReleaseError: If the weights cannot be loaded, or are of another architecture; the message names what to give
            instead.
    """
    middles = most_middles(name) if middles is None else middles
    head = Head(middles=middles) if middles else None
    network = NetworkSpec(name, input_px, f"{name}.weights.h5", "", 1.0, range_of(start, name), head)
    model = network_with_head(network, categories=categories)
    if start == IMAGENET:
        start = _imagenet_or_shipped(model, network)
        network = replace(network, preprocessing=range_of(start, name))
    elif start == NOTHING:
        raise ReleaseError(
            f"{name} starts from nothing, and features of random weights tell nothing; give imagenet, a .weights.h5 "
            "file or a release with --start-from"
        )
    elif (Path(start) / MANIFEST).is_file():
        copy_backbone_of_release(model, name, Path(start))
    else:
        load_start_weights(model, network, start, category_ids=(), taxonomy_version="")
    round_as_stored(model)
    frozen = FrozenBackbone(network, model, start, "", saw_train(start))
    digest = weights_sha256(frozen.backbone)
    return replace(frozen, sha256=digest, saw_unknown=saw_unknown(start, name, digest))


def _imagenet_or_shipped(model: Any, network: NetworkSpec) -> str:
    """Load ImageNet's weights, or those of the shipped release; return the start that was taken."""
    try:
        load_start_weights(model, network, IMAGENET, category_ids=(), taxonomy_version="")
        return IMAGENET
    except ReleaseError:
        shipped = load_release(SHIPPED)
        if network.architecture not in [each.architecture for each in shipped.networks]:
            raise
    copy_backbone_of_release(model, network.architecture, SHIPPED)
    log.warning(
        "ImageNet's weights of %s are neither in Keras' cache nor can be downloaded; the backbone of %s, which is "
        "shipped with shelfwise and knows articles on black alone, is taken. For better answers put %s into %s, or "
        "give a .weights.h5 file with --start-from",
        network.architecture,
        shipped.release_id,
        imagenet_file(network.architecture),
        _keras_cache(),
    )
    return str(SHIPPED)


def _keras_cache() -> Path:
    from keras.src.backend.config import keras_home  # Keras shows this directory nowhere else

    return Path(keras_home()) / "models"

"""What a backbone has learned from, as far as anybody knows: the labelled products themselves, others, or who can say.

A backbone knows the products that it learned from better than new ones, so its features of these products flatter
whatever they calibrate and measure.
"""

from __future__ import annotations

from pathlib import Path

from models.release import CROSS_FITTED, MANIFEST, SHIPPED, UNKNOWN_BACKBONES, Release, load_release
from models.training.recipe import IMAGENET

BACKBONE_SAW_TRAIN = "backbone_learned_from_train"
"""Name in `Release.training` of whether a backbone of a cross-fitted release was itself trained on the part train."""

VOUCHED_BACKBONES = "backbones_vouched_for"
"""Name in `Release.training` of the architectures of whose backbones a person said that they saw no product."""

IMAGENET_SHA256 = {"xception": "8b84224b955f80b771a659d3279d044da0e8e33e2b683e985d0f0fbb082ea56b"}
"""SHA-256 of ImageNet's weights of a backbone, as a release stores them, by architecture."""

_TELLING = ("train_images", "articles")
"""Names in `Release.training` that say what a release learned from: labelled products, or Fashion-MNIST's articles."""


def imagenet_file(name: str) -> str:
    """Return the name of the file of ImageNet's weights, without a head, that keras.applications looks for."""
    if name.startswith("efficientnet"):
        return f"{name}_notop.h5"
    return f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"


def saw_train(start: str) -> bool:
    """Return whether the weights of a start are known to have been trained on the part train of labelled products."""
    release = _release_of(start)
    return release is not None and backbone_saw_train(release)


def backbone_saw_train(release: Release) -> bool:
    """Return whether a release's backbones were trained on the part train of labelled products."""
    if CROSS_FITTED in release.training:
        return bool(release.training.get(BACKBONE_SAW_TRAIN))
    return "train_images" in release.training


def saw_unknown(start: str, name: str, sha256: str) -> bool:
    """Return whether nobody knows what the backbone of a start has learned from, so that it may be these products.

    That is so for a release that was imported, and for a weights file that does not lie in a release. ImageNet's
    weights are known by their hash, and by the names that Keras, this project's recipes and `models.lite0` give them.

    Args:
        start: `imagenet`, a weights file, or a release's directory.
        name: Name of the architecture.
        sha256: SHA-256 of the backbone's weights, as a release stores them.
    """
    if start == IMAGENET or sha256 == IMAGENET_SHA256.get(name):
        return False
    if (directory := _directory_of(start)) is None:
        return Path(start).name not in _names_of_imagenet(name)
    if directory.resolve() == SHIPPED.resolve():
        return False
    told = load_release(directory).training
    if CROSS_FITTED in told:
        return name in str(told.get(UNKNOWN_BACKBONES, "")).split(", ")
    return not any(each in told for each in _TELLING)


def _names_of_imagenet(name: str) -> tuple[str, ...]:
    """Return the names under which files of ImageNet's weights of an architecture are known."""
    lite = ("lite0.weights.h5", "efficientnet-lite0.weights.h5") if name == "efficientnetb0" else ()
    return (imagenet_file(name), f"{name}_imagenet_notop.weights.h5", *lite)


def _release_of(start: str) -> Release | None:
    """Return the release of a start; None if the start is in none, or in the shipped one, which saw no product."""
    directory = _directory_of(start)
    return None if directory is None or directory.resolve() == SHIPPED.resolve() else load_release(directory)


def _directory_of(start: str) -> Path | None:
    """Return the directory of the release that is a start, or in which its weights file lies; None without one."""
    if start == IMAGENET:
        return None
    path = Path(start)
    return next((each for each in (path, path.parent) if (each / MANIFEST).is_file()), None)

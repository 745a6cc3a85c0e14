"""Cached features of backbones that no release uses any more.

A release that was made from features records the SHA-256 of their backbone. Another release, such as a fine-tuned one,
may be the start of the next quick training: so the features of every backbone with its architectures and input sizes
are kept, and so are the statistics of pixels of the size to which a release decodes images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jobs.releases.stored import manifest_bytes
from jobs.storage.places import Place, Places
from jobs.training.features import FeatureKey, key_in
from models.networks.pixels import PIXELS
from models.release import ReleaseError
from models.release_checks import parsed_manifest


def unused_features(places: Places, manifests: Iterable[Place]) -> list[Path]:
    """Return the directories with features of backbones that no release uses.

    A directory without a readable key is kept, and all are kept if a release cannot be read.

    Args:
        places: Directories and stores of the home.
        manifests: Paths of release.json of all releases that may be used.
    """
    directories = [path for path in sorted(places.features.glob("*-*-*")) if path.is_dir()]
    if not directories:
        return []
    try:
        releases = [parsed_manifest(manifest_bytes(manifest)) for manifest in manifests]
        backbones = {digest for release in releases for digest in _recorded(release).values()}
        networks = {pair for release in releases for pair in _unrecorded(release)}
        networks |= {(PIXELS, max(map(_input_px, release["networks"]))) for release in releases}
    except (ReleaseError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return []
    keys = {directory: key_in(directory) for directory in directories}
    return [directory for directory, key in keys.items() if key and not _used(key, backbones, networks)]


def _used(key: FeatureKey, backbones: set[str], networks: set[tuple[str, int]]) -> bool:
    return key.backbone_sha256 in backbones or (key.architecture, key.input_px) in networks


def _recorded(release: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of the backbone by architecture, of networks that were made from features."""
    names = [network["architecture"] for network in release["networks"]]
    recorded = {name: release["training"].get(f"{name}_backbone_sha256") for name in names}
    return {name: digest for name, digest in recorded.items() if digest}


def _unrecorded(release: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return architecture and side of the input, in pixels, of networks whose backbone is not recorded."""
    recorded = _recorded(release)
    networks = [(network["architecture"], _input_px(network)) for network in release["networks"]]
    return [network for network in networks if network[0] not in recorded]


def _input_px(network: Mapping[str, Any]) -> int:
    """Return the side of a network's input in pixels; raise ValueError if it is no whole number."""
    side = network["input_px"]
    if type(side) is not int:
        raise ValueError(f"its input_px is {side!r} where pixels were expected")
    return side

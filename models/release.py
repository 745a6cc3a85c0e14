"""Read and write releases: immutable directories with release.json and the weights files of the networks.

Reading verifies the complete release, so that a broken one is refused before any cluster starts. Writing moves the
directory to its final name only when it is complete and verified.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from models.answers.decision import Policy
from models.answers.promises import CategoryPromise, check_promises
from models.answers.taxonomy import above_others, inner_nodes
from models.networks.heads import network_with_head
from models.release_checks import check_kinds, check_networks, check_numbers, read_manifest
from models.spec import Category, KnownSpec, NetworkSpec, head_of
from models.temporary import temporary_directory

SHIPPED = Path(__file__).parent / "releases" / "fashion-mnist-6"
FORMER_NAMES = {"fashion-mnist-5": "fashion-mnist-6"}
"""Releases that are no longer shipped, with the one in their place: aliases and resumed runs may name them."""

MANIFEST = "release.json"
"""File name of the metadata in a release's directory."""

CROSS_FITTED = "cross_fitted_folds"
"""Name in `Release.training` of the number of folds, if the heads were cross-fitted.

The heads of such a release learned from the parts train and validation. It was calibrated on the same products, each
answered by heads that did not learn from it.
"""

FEATURES_ENGINE = "_features_engine"
"""End of names in `Release.training`: what computed the features of a network, from which its head was fitted."""

UNKNOWN_BACKBONES = "backbones_of_unknown_training"
"""Name in `Release.training` of the architectures whose backbones learned from nobody knows what.

If it was the products that calibrate and measure a cross-fitted release, its figures and promises are too high.
"""

FORMAT = 1
"""Version of the format of release.json."""

_REASON_CHARACTERS = 400
"""Most characters of the reason for which a release is refused: the reason may repeat a value of the file."""


class ReleaseError(ValueError):
    """Raised when a release directory is incomplete, altered, or not a release."""


class ReleaseExists(FileExistsError):
    """Raised when the directory to which a release is to be written already exists."""


@dataclass(frozen=True)
class Release:
    """Content of release.json: a release's networks, categories, thresholds and metrics.

    Attributes:
        release_id: Name of the release, also in the database.
        taxonomy_version: Name of the list of categories; releases of different taxonomies are not comparable.
        categories: Leaves of the taxonomy, in the order of the networks' outputs.
        networks: Networks of the ensemble, at least one.
        temperature: Temperature of the ensemble, above 0; see `models.answers.calibration`.
        thresholds: By category_id, the lowest confidence at which a leaf is `auto` or an inner node is suggested; see
            `models.answers.decision.Policy`.
        floor: Confidence below which an answer is `unknown`, in [0, 1].
        promises: By category_id, what the threshold of each leaf was fitted to. Empty in releases that were made before
            categories could share a threshold: each of these has its own.
        known: Description of the images that the release knows; None in releases that were made without one, which take
            every image for one that they know.
        metrics: Metrics that were measured when the release was made.
        training: Metadata of the training: SHA-256 of the data, seed, command and time.
        code_version: Version of shelfwise that made the release.
    """

    release_id: str
    taxonomy_version: str
    categories: tuple[Category, ...]
    networks: tuple[NetworkSpec, ...]
    temperature: float
    thresholds: Mapping[str, float | None] = field(default_factory=dict)
    floor: float = 0.0
    promises: Mapping[str, CategoryPromise] = field(default_factory=dict)
    known: KnownSpec | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    code_version: str = ""

    @property
    def decode_px(self) -> int:
        """Side of the squares to which images are decoded, in pixels: the largest input of the networks."""
        return max(network.input_px for network in self.networks)

    @property
    def files(self) -> dict[str, str]:
        """Return the SHA-256 of each file that serving reads beside release.json, by file name."""
        files = {network.weights_file: network.weights_sha256 for network in self.networks}
        return files if self.known is None else {**files, self.known.file: self.known.sha256}

    @property
    def policy(self) -> Policy:
        """Return the thresholds by which answers are published; see `models.answers.decision.decide`."""
        return Policy(self.thresholds, self.floor)

    @property
    def nodes(self) -> tuple[Category, ...]:
        """Return all categories that an answer can have: the leaves, then the inner nodes above them."""
        return (*self.categories, *inner_nodes(self.categories))


def describing_command(release: Release) -> str:
    """Return the command that makes a release with a new description of the images that it knows."""
    return f"shelfwise release calibrate {release.release_id} --release-id NEW"


def load_release(directory: Path) -> Release:
    """Read a release from its directory and verify it.

    Args:
        directory: Directory with release.json and every file that it names.

    Returns:
        The release, after all these files were compared with their SHA-256 in release.json.

    Raises:
        ReleaseError: If a file is missing, altered or unreadable; the message names it and what to do.
    """
    manifest = directory / MANIFEST
    try:
        release = _from_json(read_manifest(manifest))
    except OSError as error:
        raise ReleaseError(f"no release at {directory}: expected {MANIFEST} there; copy the whole directory") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = str(error)[:_REASON_CHARACTERS]
        raise ReleaseError(f"{manifest} is not a release manifest ({reason}); copy the release again") from error
    for name, expected in release.files.items():
        file = directory / name
        if not file.is_file():
            raise ReleaseError(f"release {release.release_id} lacks {file}; copy the whole directory")
        try:
            digest = sha256_of(file)
        except OSError as error:
            raise ReleaseError(f"{file} cannot be read ({error.strerror}); copy it again") from error
        if digest != expected:
            raise ReleaseError(f"{file} was altered: expected SHA-256 {expected}, found {digest}; copy it again")
    return release


def save_release(
    release: Release,
    directory: Path,
    *,
    weights: Mapping[str, Path],
    documents: Mapping[str, str | bytes] | None = None,
) -> None:
    """Write a release to a new directory, completely or not at all; what a killed process left beside it is removed.

    Args:
        release: Release to write; the `weights_sha256` of its networks must match the files in `weights`.
        directory: Directory of the new release; must not exist.
        weights: Weights file to copy, by architecture name.
        documents: Content of further files by file name: the model card, and the file of the images that it knows.

    Raises:
        ReleaseExists: If the directory exists, because a release is never changed; choose another release_id.
    """
    if directory.exists():
        raise ReleaseExists(f"{directory} is there already and a release is never changed; choose another release_id")
    with temporary_directory(directory.parent) as parent:
        scratch = parent / directory.name
        scratch.mkdir()
        for network in release.networks:
            shutil.copyfile(weights[network.architecture], scratch / network.weights_file)
        document = {"format": FORMAT, **as_data(release), "thresholds": dict(release.thresholds)}
        (scratch / MANIFEST).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        for name, content in (documents or {}).items():
            (scratch / name).write_bytes(content.encode() if isinstance(content, str) else content)
        load_release(scratch)
        os.replace(scratch, directory)


def load_network(release: Release, directory: Path, network: NetworkSpec) -> Any:
    """Build one network of a release and load its weights.

    Args:
        release: Release with the network.
        directory: Directory of the release.
        network: One of the release's networks.

    Returns:
        A keras.Model to logits (batch, categories), in float32 also if the file is in float16.

    Raises:
        ReleaseError: If a weight is not a finite number: what comes of it depends on how an engine orders its
            operations, and may look like an answer.
    """
    import numpy as np
    from keras import ops

    model = network_with_head(network, categories=len(release.categories))
    model.load_weights(directory / network.weights_file)
    for weight in model.weights:
        if not np.isfinite(ops.convert_to_numpy(weight)).all():
            raise ReleaseError(
                f"a weight of the {network.architecture} of release {release.release_id}, {weight.path}, is not a "
                "finite number; train the network again, or take another release"
            )
    return model


def as_data(release: Release) -> dict[str, Any]:
    """Return a release as plain data for JSON; it has `known`, and a network has `head`, only if there is one.

    Older versions of shelfwise refuse keys that they do not know, and can serve all other releases.
    """
    data = asdict(release)
    if release.known is None:
        del data["known"]
    for network in data["networks"]:
        if network["head"] is None:
            del network["head"]
        elif network["head"]["middles"] == 0:
            del network["head"]["middles"]
    return data


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 by which a release identifies a file, which is read in parts."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_json(raw: Mapping[str, Any]) -> Release:
    """Build a release from the content of release.json; raise ValueError if a value is invalid."""
    if raw["format"] != FORMAT:
        raise ValueError(f"format {raw['format']} where {FORMAT} was expected; upgrade shelfwise")
    networks = tuple(_network(network) for network in raw["networks"])
    categories = tuple(Category(**category) for category in raw["categories"])
    if not networks or not categories:
        raise ValueError("it names no network or no category")
    check_kinds(raw, categories)
    ids = [category.category_id for category in categories]
    if len(set(ids)) < len(ids):
        raise ValueError(f"it names {len(ids)} categories of which {len(set(ids))} differ")
    if above := above_others(ids):
        raise ValueError(f"its category {above[0]!r} is the parent of others, where leaves alone were expected")
    check_networks(networks)
    check_numbers(raw)
    promises = {name: CategoryPromise(**promise) for name, promise in raw.get("promises", {}).items()}
    check_promises(promises, raw.get("thresholds", {}), ids)
    known = None if raw.get("known") is None else _known(raw["known"], {network.weights_file for network in networks})
    read = ("format", "networks", "categories", "promises", "known")
    others = {key: value for key, value in raw.items() if key not in read}
    return Release(networks=networks, categories=categories, promises=promises, known=known, **others)


def _known(raw: Any, weights_files: Collection[str]) -> KnownSpec:
    """Build the entry of the description of known images; raise ValueError if a value is invalid."""
    names = [each.name for each in fields(KnownSpec)]
    if not isinstance(raw, dict) or set(raw) != set(names):
        raise ValueError(f"its known images are not an object of {', '.join(names)}; upgrade shelfwise")
    known = KnownSpec(**raw)
    if not isinstance(known.file, str) or Path(known.file).name != known.file or known.file in ("", ".."):
        raise ValueError(f"the file of its known images {known.file!r} leaves the release's directory")
    if known.file == MANIFEST or known.file in weights_files:
        raise ValueError(f"the file of its known images {known.file!r} is another file of the release")
    if not isinstance(known.sha256, str):
        raise ValueError(f"the SHA-256 of its known images is {known.sha256!r} where a text was expected")
    counts = (known.calibrated_on, known.references, known.version)
    if any(type(count) is not int or count < 1 for count in counts):
        raise ValueError(f"its known images have the counts {counts} where numbers from 1 were expected")
    if type(known.limit) not in (int, float) or not 0 < known.limit < 1e12:
        shown = repr(known.limit)[:40]
        raise ValueError(f"the limit of its known images is {shown} where a number above 0 was expected")
    return known


def _network(raw: Mapping[str, Any]) -> NetworkSpec:
    """Build the specification of a network, with or without a head of its own."""
    head = raw.get("head")
    return NetworkSpec(**{**raw, "head": None if head is None else head_of(head)})

"""A release in OpenVINO's format: what it was converted from, its two files, and their SHA-256.

`models.serving.conversion` makes it in a process that has Keras; `models.serving.openvino_engine` computes it in
processes without. Imports neither Keras nor OpenVINO.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from models.release import Release, sha256_of
from models.serving.engines import EngineError
from models.whole_files import write_whole

OPENVINO = "2026.4"
"""Version of OpenVINO whose answers were compared with those of Keras: its first two numbers."""

CONVERTER = 1
"""Version of `models.serving.conversion`; another one makes every release anew."""

AGAIN = "run again, or set SHELFWISE_ENGINE=keras"
"""Remedy for a converted release that arrived otherwise than it was made."""


@dataclass(frozen=True)
class Converted:
    """A converted release, without its files.

    Attributes:
        key: Name of the conversion: digest of the networks and of what converts them.
        networks_sha256: Digest of the networks that were converted, see `networks_sha256`.
        openvino: Version of OpenVINO that wrote the files.
        graph_sha256: Hexadecimal SHA-256 of the file of the graph.
        weights_sha256: Hexadecimal SHA-256 of the file of the weights.
    """

    key: str
    networks_sha256: str
    openvino: str
    graph_sha256: str
    weights_sha256: str

    @property
    def files(self) -> dict[str, str]:
        """Return the SHA-256 of each file, by file name; the first is the graph, which OpenVINO reads."""
        return {f"openvino-{self.key}.xml": self.graph_sha256, f"openvino-{self.key}.bin": self.weights_sha256}

    def check(self, release: Release, directory: Path) -> None:
        """Compare a release with the one that was converted, and the files with their SHA-256.

        Args:
            release: Release to serve.
            directory: Directory with the two files.

        Raises:
            EngineError: If the release or a file is another one, or a file cannot be read.
        """
        if self.networks_sha256 != networks_sha256(release):
            raise EngineError(f"expected the networks of release {release.release_id}, found others converted; {AGAIN}")
        for name, expected in self.files.items():
            file = directory / name
            try:
                digest = sha256_of(file)
            except OSError as error:
                raise EngineError(f"the converted release {file} cannot be read ({error.strerror}); {AGAIN}") from error
            if digest != expected:
                raise EngineError(
                    f"the converted release {file} was altered: expected SHA-256 {expected}, found {digest}; {AGAIN}"
                )


def networks_sha256(release: Release) -> str:
    """Return a digest of what the networks of a release compute: weights, layers, sizes and value ranges."""
    networks = [asdict(network) for network in release.networks]
    for network in networks:  # neither the name of a file nor the shares of the ensemble are part of the graph
        del network["weights_file"], network["ensemble_weight"]
    parts = {"networks": networks, "decode_px": release.decode_px, "categories": len(release.categories)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def conversion_key(release: Release) -> str:
    """Return the name of a release's conversion by the installed versions of Keras, TensorFlow and OpenVINO."""
    versions = [installed(package) for package in ("keras", "tensorflow", "openvino")]
    text = json.dumps([networks_sha256(release), versions, CONVERTER])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def installed(package: str) -> str:
    """Return the installed version of a package, without importing it; an empty string if it is missing."""
    try:
        return version(package) or ""
    except PackageNotFoundError:
        return ""


def check_openvino() -> str:
    """Return the installed version of OpenVINO.

    Raises:
        EngineError: If it is missing, or of another version than `OPENVINO`.
    """
    found = installed("openvino")
    if found.split(".")[:2] != OPENVINO.split("."):
        raise EngineError(
            f"expected OpenVINO {OPENVINO}, found {found or 'none'}; install the version that requirements.txt names, "
            "or set SHELFWISE_ENGINE=keras"
        )
    return found


def write_manifest(converted: Converted, path: Path) -> None:
    """Write the description of a converted release as JSON, completely or not at all."""
    write_whole(path, json.dumps(asdict(converted), indent=2) + "\n")


def read_manifest(path: Path) -> Converted:
    """Read the description of a converted release.

    Raises:
        FileNotFoundError: If there is none.
        EngineError: If the file is not such a description.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(value, str) for value in raw.values()):
            raise TypeError("a value is no text")
        return Converted(**raw)
    except (AttributeError, TypeError, ValueError) as error:
        raise EngineError(f"{path} does not describe a converted release ({error}); {AGAIN}") from error

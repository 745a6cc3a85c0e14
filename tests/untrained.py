"""Make releases of untrained networks, for measurements: they take as long to compute as trained ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from models.networks.registry import architecture
from models.networks.weights import to_float16
from models.release import Release, save_release, sha256_of
from models.spec import Category, NetworkSpec


def untrained_release(
    directory: Path, architectures: Mapping[str, int], categories: Sequence[Category], *, release_id: str
) -> Path:
    """Write a release of real architectures with random weights of a fixed seed.

    Args:
        directory: Parent directory of the release; is made if it is missing.
        architectures: Side of the input in pixels, by architecture name.
        categories: Categories of the release.
        release_id: Name of the release and of its directory.

    Returns:
        Directory of the release.
    """
    import keras

    keras.utils.set_random_seed(11)
    directory.mkdir(parents=True, exist_ok=True)
    networks, weights = [], {}
    for name, input_px in architectures.items():
        full, half = directory / f"{name}.full.weights.h5", directory / f"{name}.half.weights.h5"
        architecture(name).build(input_px=input_px, categories=len(categories)).save_weights(full)
        to_float16(full, half)
        networks.append(NetworkSpec(name, input_px, f"{name}.weights.h5", sha256_of(half), 1 / len(architectures)))
        weights[name] = half
    release = Release(release_id, "untrained", tuple(categories), tuple(networks), temperature=1.0)
    save_release(release, directory / release_id, weights=weights)
    return directory / release_id

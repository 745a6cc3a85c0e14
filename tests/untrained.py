"""Make releases of untrained networks, for measurements: they take as long to compute as trained ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.networks.backbones import HEAD
from models.networks.heads import head_layers, network_with_head
from models.networks.inputs import network_input
from models.networks.weights import to_float16
from models.release import Release, load_network, load_release, save_release, sha256_of
from models.serving.conversion import sample_images
from models.spec import Category, Head, NetworkSpec


def untrained_release(
    directory: Path,
    architectures: Mapping[str, int],
    categories: Sequence[Category],
    *,
    release_id: str,
    heads: Mapping[str, Head] | None = None,
    told_apart: bool = False,
) -> Path:
    """Write a release of real architectures with random weights of a fixed seed.

    Args:
        directory: Parent directory of the release; is made if it is missing.
        architectures: Side of the input in pixels, by architecture name.
        categories: Categories of the release.
        release_id: Name of the release and of its directory.
        heads: Heads by architecture name, where a network has one of its own.
        told_apart: Whether the networks tell images apart: untrained ones give all categories the same probability.

    Returns:
        Directory of the release.
    """
    import keras

    keras.utils.set_random_seed(11)
    directory.mkdir(parents=True, exist_ok=True)
    networks, weights = [], {}
    for name, input_px in architectures.items():
        full, half = directory / f"{name}.full.weights.h5", directory / f"{name}.half.weights.h5"
        spec = NetworkSpec(
            name, input_px, f"{name}.weights.h5", "", 1 / len(architectures), head=(heads or {}).get(name)
        )
        network = network_with_head(spec, categories=len(categories))
        if told_apart:
            _tell_apart(network, spec)
        network.save_weights(full)
        if told_apart:
            half = full  # its last weights may not fit float16
        else:
            to_float16(full, half)
        networks.append(replace(spec, weights_sha256=sha256_of(half)))
        weights[name] = half
    release = Release(release_id, "untrained", tuple(categories), tuple(networks), temperature=1.0)
    save_release(release, directory / release_id, weights=weights)
    return directory / release_id


def broken_release(sound: Path, directory: Path) -> Path:
    """Write a release of one network with a last kernel in which one number is NaN.

    Args:
        sound: Directory of a release of one network, which is copied but for that number.
        directory: Existing parent directory of the new release.

    Returns:
        Directory of the release.
    """
    import numpy as np

    release = load_release(sound)
    [spec] = release.networks
    network, file = load_network(release, sound, spec), directory / "broken.weights.h5"
    kernel, bias = network.get_layer(HEAD).get_weights()
    kernel[0, 0] = np.nan
    network.get_layer(HEAD).set_weights([kernel, bias])
    network.save_weights(file)
    broken = replace(release, release_id="broken-1", networks=(replace(spec, weights_sha256=sha256_of(file)),))
    save_release(broken, directory / "broken-1", weights={spec.architecture: file})
    return directory / "broken-1"


def _tell_apart(network: Any, spec: NetworkSpec) -> None:
    """Change the last weights of a network so that its logits of some images are some units apart.

    Each Dense layer of its head gives values around 0 that are as far apart, so that the layer behind it is used on
    both sides of its bend.
    """
    import keras
    import numpy as np

    images = network_input(sample_images(spec.input_px), spec)

    def outputs(layer: Any) -> Any:
        return np.asarray(keras.Model(network.input, layer.output)(images, training=False))

    for layer in head_layers(network):
        if isinstance(layer, keras.layers.Dense):
            values = outputs(layer)
            factor = 4 / np.ptp(values, axis=0).max()
            layer.set_weights([layer.kernel * factor, layer.bias - factor * values.mean(axis=0)])
    logits = network.get_layer(HEAD)
    logits.kernel.assign(logits.kernel * (4 / np.ptp(outputs(logits), axis=0).max()))

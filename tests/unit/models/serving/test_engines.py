"""The engines that compute a release's networks: they give the same answers and features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.release import load_release
from models.serving import keras_engine
from models.serving.keras_engine import KerasEngine, LoadedKerasNetworks, frozen_graph


def test_the_weights_of_a_graph_are_constants_unless_they_are_too_many(
    tiny_release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A BatchNormalization can be folded into a convolution only then; messages of TensorFlow end at two gibibytes."""
    release = load_release(tiny_release)
    networks = LoadedKerasNetworks(release, tiny_release, precision="float32")

    def variables() -> int:
        graph = frozen_graph(networks, networks.models, side_px=release.decode_px)
        return sum(each.dtype == "resource" for each in graph.captured_inputs)

    assert variables() == 0
    monkeypatch.setattr(keras_engine, "MOST_CONSTANT_BYTES", 1000)
    assert variables() > 200


@pytest.mark.parametrize("most_bytes", [0, 1 << 30])
def test_a_compiled_release_gives_what_its_networks_give(
    tiny_pair: Path, most_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras_engine, "MOST_CONSTANT_BYTES", most_bytes)
    release = load_release(tiny_pair)
    images = np.random.default_rng(3).integers(0, 256, (5, release.decode_px, release.decode_px, 3), np.uint8)
    expected = LoadedKerasNetworks(release, tiny_pair, precision="float32")(images)
    found = KerasEngine().open(release, tiny_pair)(images)
    assert [part.shape for part in found] == [(5, 3), (5, 3), (5, 1280), (5, 2048)]
    for part, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, np.asarray(other), atol=1e-5 * float(np.abs(other).max()))

"""`finetune --quick`: from labelled products to a calibrated release in one go, and what it keeps for the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.dataset.labels import part_of
from jobs.evaluation.config import EvaluateConfig
from jobs.evaluation.evaluate import load_predictor
from jobs.evaluation.product_predictions import measure
from jobs.releases.calibrate import Promise
from jobs.storage.places import Places
from jobs.training import quick
from jobs.training.quick import QuickConfig, QuickNetwork
from jobs.training.selection import Selection
from models.card import NAME
from models.networks.registry import ARCHITECTURES, INPUT_PX, architecture
from models.networks.weights import save_weights
from models.release import CROSS_FITTED, load_release
from tests import tiny_network
from tests.labelled import LEAVES, write_labelled

TINIER = "tinier"
PRODUCTS = [(f"product-{number:03d}", LEAVES[number % 3], [number % 3]) for number in range(90)]


@pytest.fixture(scope="module", autouse=True)
def tiny_architectures() -> Iterator[None]:
    """Make the tiny network known, by two names."""
    for name in (tiny_network.NAME, TINIER):
        ARCHITECTURES[name], INPUT_PX[name] = "tests.tiny_network", (16, 16)
    yield
    for name in (tiny_network.NAME, TINIER):
        del ARCHITECTURES[name], INPUT_PX[name]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights files of two different backbones, without heads."""
    import keras

    files = {}
    for seed, name in enumerate((tiny_network.NAME, TINIER)):
        keras.utils.set_random_seed(seed)
        files[name] = tmp_path_factory.mktemp("weights") / f"{name}.weights.h5"
        save_weights(architecture(name).backbone(input_px=16), files[name])
    return files


def config(
    home: Path, weights: dict[str, Path], names: tuple[str, ...] = (tiny_network.NAME,), **changes: Any
) -> QuickConfig:
    networks = tuple(QuickNetwork(name, 16, str(weights[name])) for name in names)
    selection = replace(Selection(Places(home)), **changes.pop("selection", {}))
    told = QuickConfig(
        "colours-2", selection, networks, batch_size=8, command="shelfwise ...", promise=Promise(0.6, 0.1)
    )
    return replace(told, **changes)


def silent(name: str, total: int) -> Callable[[int], None]:
    """Watch nothing."""
    return lambda done: None


class Counting:
    """Count the images whose features are computed, by network; raise an error after some of them."""

    def __init__(self, *, stop_after: int | None = None, error: BaseException | None = None) -> None:
        self.totals: dict[str, int] = {}
        self.computed: dict[str, int] = {}
        self._stop_after, self._error = stop_after, error or KeyboardInterrupt()

    def __call__(self, name: str, total: int) -> Callable[[int], None]:
        """Return the callback of one network."""
        self.totals[name] = total

        def watch(done: int) -> None:
            self.computed[name] = done
            if self._stop_after is not None and done >= self._stop_after:
                raise self._error

        return watch


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, weights: dict[str, Path]) -> tuple[Path, dict[str, Any]]:
    """A home with a release of two networks that was made quickly."""
    home = tmp_path_factory.mktemp("home")
    write_labelled(Places(home), PRODUCTS)
    return home, quick.run(config(home, weights, (tiny_network.NAME, TINIER)), watch=silent)


def test_the_release_knows_its_colours_and_is_as_any_other(made: Any) -> None:
    home, summary = made
    place = home / "releases" / "colours-2"
    release = load_release(place)
    assert [network.architecture for network in release.networks] == [tiny_network.NAME, TINIER]
    assert summary["ensemble_test_accuracy"] == release.metrics["ensemble_test_accuracy"] == 1.0
    parts = [part_of(product) for product, _, _ in PRODUCTS]
    assert release.metrics["test_products"] == parts.count("test")
    assert release.training["calibrated_on_products"] == parts.count("train") + parts.count("validation")
    assert release.training[CROSS_FITTED] == 5
    assert all(release.thresholds[leaf] is not None for leaf in LEAVES), "two dozen right answers open a gate at 0.6"
    assert summary["automatic_categories"] == 3
    assert summary["below_promise"] is None
    assert "shelfwise ..." in (place / NAME).read_text(encoding="utf-8")
    assert sorted(path.name for path in home.iterdir()) == ["features", "images", "releases"]
    assert [path.name for path in place.parent.iterdir()] == ["colours-2"], "no scratch is left"


def test_the_release_answers_as_its_features_did(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of the card were computed from features; serving computes the whole network from the pictures."""
    home, _summary = made
    predictor, release, _ = load_predictor(home / "releases" / "colours-2")
    reading = EvaluateConfig(Places(home), part="test")
    measured = measure(predictor, release, reading.images(), reading)
    seen: list[Any] = []
    original = quick.measured_parts
    monkeypatch.setattr(quick, "measured_parts", lambda *args: seen.append(original(*args)) or seen[-1])
    files = {
        network.architecture: home / "releases" / "colours-2" / network.weights_file for network in release.networks
    }
    quick.run(config(home, files, (tiny_network.NAME, TINIER), release_id="colours-3"), watch=silent)
    [of_features] = seen
    assert of_features.product_ids == measured.product_ids
    np.testing.assert_allclose(of_features.confidences, measured.confidences, atol=2e-3)
    assert [answer.status for answer in of_features.answers] == [answer.status for answer in measured.answers]

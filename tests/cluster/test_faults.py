"""A night that loses an executor, a Python worker, the driver or its object store loses no row and doubles none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.networks.inputs import decode_square
from models.release import load_release
from models.serving.predictor import EnsemblePredictor
from tests import nights_under_fire
from tests.conftest import SmallShop
from tests.extent import ALL
from tests.nights_under_fire import FAULTS, Field, night
from tests.object_store import ObjectStore
from tests.standalone import Standalone

pytestmark = pytest.mark.timeout(900)
IMAGES = 180
NIGHTS = (("a Python worker", "an executor"), ("the driver", "the object store for a minute"))
"""Faults of each night, one after the other; a second driver takes over from a dead one."""


@pytest.fixture(scope="module")
def field(cluster: Standalone, s3: ObjectStore, tiny_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Field:
    """A catalog of which a night makes about eighteen shards: enough are left when a fault is late."""
    shop = SmallShop(tmp_path_factory.mktemp("fire") / "shop")
    shop.add_many([f"p{number:05d}" for number in range(IMAGES)])
    size = sum(path.stat().st_size + 256 for path in shop.directory.glob("*.jpg"))
    return Field(cluster, Path(shop.catalog), tiny_release, IMAGES, size // 18, s3)


@pytest.fixture(scope="module")
def answers(field: Field) -> dict[str, tuple[str, Any]]:
    """Category and confidence by product_id, as the networks answer without Spark, store or database."""
    release, products = load_release(field.release), sorted(field.catalog.parent.glob("*.jpg"))
    images = np.stack([decode_square(path.read_bytes(), release.decode_px) for path in products])
    confidences = EnsemblePredictor(release, field.release).predict(images).confidences
    best = zip(confidences.argmax(axis=1), confidences.max(axis=1), strict=True)
    names = [path.stem.rpartition("-")[0] for path in products]
    return {
        name: (release.categories[place].category_id, pytest.approx(confidence, abs=1e-4))
        for name, (place, confidence) in zip(names, best, strict=True)
    }


def test_every_fault_is_met_by_a_night() -> None:
    assert {name for names in NIGHTS for name in names} == FAULTS.keys()


if ALL:

    def test_an_undisturbed_night_predicts_each_shard_once(
        field: Field, answers: dict[str, tuple[str, Any]], tmp_path: Path
    ) -> None:
        found = night(field, tmp_path / "home")
        assert found.exit_codes == (0,)
        assert found.started == found.shards >= 15
        assert (found.images_redone, found.rows_lost, found.rows_double) == (0, 0, 0)
        assert found.answers == answers


@pytest.mark.parametrize("names", NIGHTS)
def test_a_night_with_faults_loses_no_rows_and_doubles_none(
    field: Field,
    answers: dict[str, tuple[str, Any]],
    tmp_path: Path,
    names: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nights_under_fire, "AWAY_SECONDS", 10.0)
    first, second = (FAULTS[name] for name in names)
    found = night(field, tmp_path / "home", faults=[(first, 2), (second, 6)])
    assert found.killed_after_seconds > 0, "both met the night"
    assert found.exit_codes[-1] == 0
    assert (found.rows_lost, found.rows_double) == (0, 0)
    assert found.answers == answers
    assert found.shards >= 15
    assert found.images_redone <= 2 * nights_under_fire.EXECUTORS * (IMAGES / found.shards) + 1

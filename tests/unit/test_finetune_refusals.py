"""What finetune refuses, or stops at, seen from its own call: no release, and what was trained is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobs import finetune
from jobs.config import Places, RunFailed, UsageError
from jobs.finetune import NetworkPlan
from models.recipe import CHECKPOINT
from models.registry import ARCHITECTURES, INPUT_PX, architecture
from models.release import Release, ReleaseError, save_release, sha256_of
from models.spec import Category, NetworkSpec
from models.weights import save_weights
from tests import tiny_network
from tests.labelled import LEAVES, write_labelled
from tests.unit.test_finetune import PRODUCTS, RECIPE, config, silent


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    """Make the tiny network known."""
    ARCHITECTURES[tiny_network.NAME], INPUT_PX[tiny_network.NAME] = "tests.tiny_network", (16, 16)
    yield
    del ARCHITECTURES[tiny_network.NAME], INPUT_PX[tiny_network.NAME]


def test_a_release_under_another_taxonomy_is_not_started_from(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), PRODUCTS)
    weights, place = tmp_path / "w.weights.h5", tmp_path / "other-1"
    save_weights(architecture(tiny_network.NAME).build(input_px=16, categories=3), weights)
    network = NetworkSpec(tiny_network.NAME, 16, "tiny.weights.h5", sha256_of(weights), 1.0)
    categories = tuple(Category(leaf, leaf) for leaf in sorted(LEAVES))
    save_release(Release("other-1", "shop-9", categories, (network,), 1.0), place, weights={"tiny": weights})
    plan = NetworkPlan(tiny_network.NAME, 16, str(place), RECIPE)
    with pytest.raises((UsageError, ReleaseError), match=r"trained under taxonomy shop-9 .* labelled under labels-"):
        finetune.run(config(tmp_path, networks=(plan,)), watch=silent)
    assert not (tmp_path / "releases").exists()
    assert not (tmp_path / "training" / "colours-2").exists(), "nothing was trained"


def test_a_loss_that_is_no_number_fails_the_run_and_a_lower_rate_goes_on(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), PRODUCTS)

    def plan(rate: float) -> tuple[NetworkPlan, ...]:
        head = replace(RECIPE, head_epochs=1, epochs=1, train_norms=False, learning_rate=rate)
        return (NetworkPlan(tiny_network.NAME, 16, "nothing", head),)

    with pytest.raises(RunFailed, match=r"loss of tiny became .* in epoch 2; lower the learning rate"):
        finetune.run(config(tmp_path, networks=plan(1e38)), watch=silent)
    assert not (tmp_path / "releases").exists()
    assert (tmp_path / "training" / "colours-2" / tiny_network.NAME / CHECKPOINT).exists()
    seen: list[int] = []
    done = finetune.run(config(tmp_path, networks=plan(1e-4)), watch=lambda name: lambda epoch, *_: seen.append(epoch))
    assert (done["release_id"], set(seen)) == ("colours-2", {2})


def test_a_damaged_file_fails_the_run_with_its_name(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), PRODUCTS)
    [shard] = tmp_path.glob("images/*/*.parquet")
    content = bytearray(shard.read_bytes())
    content[4:1004] = bytes(1000)  # in its images; names and labels are elsewhere
    names = content.index(b"product-000")
    assert names > 1004
    shard.write_bytes(bytes(content))
    with pytest.raises(RunFailed, match=rf"{shard.name} cannot be read"):
        finetune.run(config(tmp_path), watch=silent)
    assert not (tmp_path / "releases").exists()

"""What a finetune goes on with after it was stopped: its epochs, files, starts and release."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.cli.finetune_options import config_of
from jobs.dataset.parts import PARTS
from jobs.errors import RunFailed, UsageError
from jobs.releases.aliases import promote
from jobs.settings import Settings
from jobs.storage.places import Places
from jobs.training import finetune
from jobs.training.finetune import FinetuneConfig, NetworkPlan
from models.networks.registry import ARCHITECTURES, INPUT_PX, architecture
from models.networks.weights import save_weights
from models.release import load_release
from models.training.recipe import CHECKPOINT, NOTHING
from sql.store import open_database
from tests import tiny_network
from tests.labelled import DAY, RED, write_labelled
from tests.unit.training.test_finetune import PRODUCTS, RECIPE, config, silent

NIGHT = [(f"new-{number}", RED, [0]) for number in range(8)]


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    """Make the tiny network known."""
    ARCHITECTURES[tiny_network.NAME], INPUT_PX[tiny_network.NAME] = "tests.tiny_network", (16, 16)
    yield
    del ARCHITECTURES[tiny_network.NAME], INPUT_PX[tiny_network.NAME]


@pytest.fixture(autouse=True)
def labelled(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), PRODUCTS)


def stopped(told: FinetuneConfig, *, in_epoch: int, error: BaseException | None = None) -> None:
    """Begin a training, and let something end it in an epoch."""

    def stop(epoch: int, *_: Any) -> None:
        if epoch == in_epoch:
            raise error or KeyboardInterrupt

    finetune.run(told, watch=lambda _: stop)


def gone_on(told: FinetuneConfig) -> tuple[dict[str, Any], list[int]]:
    """Run to the end; return the summary and the epochs that were trained."""
    seen: list[int] = []
    done = finetune.run(told, watch=lambda _: lambda epoch, *_: seen.append(epoch))
    return done, sorted(set(seen))


def test_a_training_stopped_in_its_first_epoch_begins_again_with_the_current_labels(tmp_path: Path) -> None:
    """A process that is killed leaves its note, and labels may be corrected before the next call."""
    with pytest.raises(KeyboardInterrupt):
        stopped(config(tmp_path), in_epoch=2)
    work = config(tmp_path).work_dir
    (work / tiny_network.NAME / CHECKPOINT).unlink()
    write_labelled(Places(tmp_path), NIGHT, day=DAY + timedelta(days=1))
    done, epochs = gone_on(config(tmp_path))
    assert epochs == [1, 2, 3, 4]
    told = load_release(Path(done["release_dir"])).training
    assert sum(told[f"{part}_images"] for part in PARTS) == len(PRODUCTS) + len(NIGHT)


def test_the_learning_curves_are_drawn_during_the_training(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stopped(config(tmp_path), in_epoch=3)
    curves = config(tmp_path).work_dir / f"{tiny_network.NAME}-curves.png"
    assert curves.read_bytes().startswith(b"\x89PNG")


def test_a_training_that_does_not_fit_into_memory_resumes_with_smaller_batches(tmp_path: Path) -> None:
    full = MemoryError("ResourceExhaustedError: OOM when allocating tensor with shape[8,16,16,32]")
    with pytest.raises(
        RunFailed, match=r"tiny with so many images a step does not fit .* smaller --batch-size: the 2 epochs"
    ):
        stopped(config(tmp_path), in_epoch=3, error=full)
    done, epochs = gone_on(config(tmp_path, batch_size=4))
    assert epochs == [3, 4]
    with pytest.raises(RunFailed, match="smaller --batch-size: no epoch was finished yet"):
        stopped(config(tmp_path, release_id="colours-3"), in_epoch=1, error=full)
    assert load_release(Path(done["release_dir"])).training["batch_size"] == 4


def test_other_errors_of_a_training_are_not_reported_as_memory(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        stopped(config(tmp_path), in_epoch=1, error=ZeroDivisionError("division by zero"))


def test_the_same_command_reports_a_release_that_was_finished_before_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process was killed after the release was there, before its checkpoints were gone."""
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(finetune, "_summary", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        finetune.run(config(tmp_path), watch=silent)
    told = config(tmp_path)
    assert told.work_dir.is_dir()
    done, epochs = gone_on(told)
    assert (done["release_id"], done["test_products"] > 0, epochs) == ("colours-2", True, [])
    assert not told.work_dir.exists()
    with pytest.raises(UsageError, match="never changed; choose another --release-id"):
        finetune.run(told, watch=silent)


def test_an_imported_release_of_the_same_name_is_not_taken_for_the_result_of_the_training(tmp_path: Path) -> None:
    """While a training was stopped, somebody has imported a release of its name."""
    with pytest.raises(KeyboardInterrupt):
        stopped(config(tmp_path), in_epoch=3)
    other = config(tmp_path, release_id="other")
    finetune.run(other, watch=silent)
    told = config(tmp_path)
    shutil.copytree(other.target, told.target)
    with pytest.raises(UsageError, match="never changed; choose another --release-id"):
        finetune.run(told, watch=silent)
    assert (told.work_dir / tiny_network.NAME / CHECKPOINT).is_file(), "two epochs were trained"
    shutil.rmtree(told.target)
    assert gone_on(told)[1] == [3, 4]


def test_a_resumed_training_keeps_the_release_that_an_alias_named_at_its_start(tmp_path: Path) -> None:
    """Somebody promotes another release in between; what was begun from the first one goes on."""
    write = [architecture(tiny_network.NAME).build(input_px=16, categories=3) for _ in range(2)]
    for name, model in zip("ab", write, strict=True):
        save_weights(model, tmp_path / f"{name}.weights.h5")

    def from_champion(name: str, alias: str = "champion") -> FinetuneConfig:
        plan = NetworkPlan(tiny_network.NAME, 16, str(tmp_path / f"{name}.weights.h5"), RECIPE, alias)
        return config(tmp_path, networks=(plan,))

    with pytest.raises(KeyboardInterrupt):
        stopped(from_champion("a"), in_epoch=3)
    with pytest.raises(UsageError, match="begun with another start"):
        finetune.run(from_champion("b", alias=""), watch=silent)
    done, epochs = gone_on(from_champion("b"))
    assert epochs == [3, 4]
    assert load_release(Path(done["release_dir"])).training["tiny_starts_from"].endswith("a.weights.h5")


def test_a_plan_records_an_alias_only_if_its_start_was_found_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELFWISE_HOME", str(tmp_path))
    settings = Settings()
    made = finetune.run(config(tmp_path), watch=silent)
    database = open_database(settings.url)
    database.upgrade()
    promote(settings, database, made["release_id"], "champion")
    options = {
        "networks": [tiny_network.NAME],
        "release_id": "colours-3",
        "input_px": (),
        "unfreeze_from": (),
        "head_epochs": None,
        "taxonomy": None,
        "taxonomy_version": "",
        "labels": None,
        "labels_from": "both",
        "first": None,
        "last": None,
        "leave_out": (),
        "min_products": None,
        "batch_size": 8,
        "decode_workers": 1,
        "target_precision": 0.9,
        "promise": "category",
        "floor": 0.1,
    }
    for start, alias in (("champion", "champion"), ("colours-2", ""), (NOTHING, "")):
        [plan] = config_of(settings, {**options, "start_from": (start,)}, command="").networks
        assert plan.alias == alias

"""What a training is gone on with, and what it says when it cannot: rates, tasks, epochs and data that fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.networks.inputs import network_input
from models.networks.registry import ARCHITECTURES
from models.training import checkpoints
from models.training.loop import train
from models.training.recipe import CHECKPOINT, TrainingFailed
from tests import tiny_network
from tests.unit.models.training.test_training import FAST, SPEC, Colours, nothing, task


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    """Make the tiny network known."""
    ARCHITECTURES[tiny_network.NAME] = "tests.tiny_network"
    yield
    del ARCHITECTURES[tiny_network.NAME]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a whole training was."""
    place = tmp_path_factory.mktemp("training")
    train(task(place), FAST, Colours(), start=nothing)
    return place


def test_after_a_nan_loss_the_head_resumes_with_another_learning_rate(tmp_path: Path) -> None:
    """The optimizer that goes on holds the rate that was too high, as a variable."""
    two = replace(FAST, head_epochs=2, epochs=0)

    def stop(epoch: int, *_: Any) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(task(tmp_path), two, Colours(), start=nothing, watch=stop)
    with pytest.raises(TrainingFailed, match=r"in epoch 2; lower the learning rate of the head .* 1 epochs before"):
        train(task(tmp_path), replace(two, head_learning_rate=1e30), Colours(), start=pytest.fail)
    lower = replace(two, head_learning_rate=1e-4)
    _, progress = train(task(tmp_path), lower, Colours(), start=pytest.fail)
    assert progress.epochs == 2
    held = checkpoints.load(tmp_path / "work" / CHECKPOINT)
    assert held is not None
    assert any(np.size(value) == 1 and np.isclose(value, 1e-4) for value in held.optimizer), "the new rate"
    assert [used["from_epoch"] for used in progress.recipes] == [1, 2]
    told = progress.training_metadata(lower)
    assert '"head_learning_rate": 0.001,' in told["recipes"]
    assert '"head_learning_rate": 0.0001,' in told["recipe"]


def test_a_nan_held_out_loss_is_named(tmp_path: Path) -> None:
    class Jump(Colours):
        """Its one step leaves weights that are no numbers, after a loss that is one."""

        steps = 1

    wild = replace(FAST, head_epochs=0, epochs=2, learning_rate=1e38)
    with pytest.raises(TrainingFailed, match=r"the held-out loss of tiny became (nan|inf) in epoch 1"):
        train(task(tmp_path), wild, Jump(), start=nothing)


@pytest.mark.parametrize(
    "change",
    [
        {"data_sha256": "b"},
        {"start": "elsewhere.weights.h5"},
        {"category_ids": ("x", "z")},
        {"taxonomy_version": "t-2"},
        {"side_px": 24},
        {"network": replace(SPEC, preprocessing="0_to_1")},
        {"seed": 8},
        {"label_smoothing": 0.1},
    ],
)
def test_a_checkpoint_of_another_task_is_refused(place: Path, change: dict[str, Any]) -> None:
    recipe = {name: value for name, value in change.items() if hasattr(FAST, name)}
    other = replace(task(place), **{name: value for name, value in change.items() if not recipe})
    before = (place / "work" / CHECKPOINT).read_bytes()
    with pytest.raises(checkpoints.AnotherTask, match=rf"begun with another {next(iter(change))}.*delete that"):
        train(other, replace(FAST, **recipe), Colours(), start=pytest.fail)
    assert (place / "work" / CHECKPOINT).read_bytes() == before


def test_smaller_batches_resume_at_the_same_point_of_the_schedule(tmp_path: Path) -> None:
    """An epoch has more steps then; the learning rate is that of the epoch, not of the steps that were counted."""

    class Smaller(Colours):
        """Half the images a step."""

        steps = 2 * Colours.steps

    def stop(epoch: int, *_: Any) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    long = replace(FAST, head_epochs=1, epochs=3, patience=9)
    with pytest.raises(KeyboardInterrupt):
        train(task(tmp_path), long, Colours(), start=nothing, watch=stop)
    train(task(tmp_path), long, Smaller(), start=pytest.fail)
    held = checkpoints.load(tmp_path / "work" / CHECKPOINT)
    assert held is not None
    assert (held.progress.epochs, int(held.optimizer[0])) == (4, 3 * Smaller.steps)


def test_start_weights_are_identified_by_their_content(tmp_path: Path) -> None:
    for name, content in (("a.h5", b"one"), ("b.h5", b"one"), ("c.h5", b"other")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (task(tmp_path, start=str(tmp_path / f"{name}.h5")).description(FAST)["start"] for name in "abc")
    assert a == b != c


def test_a_finished_training_continues_when_more_epochs_are_given(tmp_path: Path) -> None:
    train(task(tmp_path), FAST, Colours(), start=nothing)
    data = Colours()
    _, progress = train(task(tmp_path), replace(FAST, epochs=3), data, start=pytest.fail)
    assert (progress.epochs, data.seen[0]) == (4, 3), "it was finished, and one more epoch was asked for"
    assert [used["from_epoch"] for used in progress.recipes] == [1, 4]


def test_a_checkpoint_without_its_task_is_reported_as_damaged(tmp_path: Path) -> None:
    train(task(tmp_path), FAST, Colours(), start=nothing)
    path = tmp_path / "work" / CHECKPOINT
    with np.load(path) as held:
        arrays = dict(held)
    before = json.loads(str(arrays["progress"]))
    del before["task"]
    np.savez(path, **{**arrays, "progress": np.array(json.dumps(before))})
    with pytest.raises(ValueError, match=r"is damaged .*delete it to train from the start"):
        train(task(tmp_path), FAST, Colours(), start=pytest.fail)


def test_the_head_phase_trains_only_the_head(tmp_path: Path) -> None:
    began: dict[str, Any] = {}

    def start(model: Any) -> None:
        began.update({weight.path: np.array(weight) for weight in model.weights})

    model, _ = train(task(tmp_path), replace(FAST, epochs=0, unfreeze_from=""), Colours(), start=start)
    moved = {weight.path for weight in model.weights if not np.array_equal(began[weight.path], np.array(weight))}
    assert moved == {"logits/kernel", "logits/bias"}


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [True, False])
def test_the_loss_uses_class_weights_and_label_smoothing(tmp_path: Path, smoothing: float, weighted: bool) -> None:
    """By hand: of 30 and 10 images, one of the rare category counts 2, one of the other 2/3."""
    data = Colours()
    still = replace(FAST, head_epochs=0, epochs=1, learning_rate=0.0, weight_decay=0.0, train_norms=False)
    recipe = replace(still, label_smoothing=smoothing, class_weights=weighted)
    model, progress = train(task(tmp_path, counts=(30, 10)), recipe, data, start=nothing)

    def loss(batches: Iterator[tuple[Any, Any]], share: tuple[float, float]) -> float:
        squares, labels = map(np.concatenate, zip(*batches, strict=True))
        logits = np.asarray(model(network_input(squares, SPEC)), np.float64)
        surprise = -np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
        targets = np.eye(2)[labels] * (1 - smoothing) + smoothing / 2
        return float(((targets * surprise).sum(axis=1) * np.take(share, labels)).mean())

    [told] = progress.history
    learned = islice(data.batches(0), data.steps)
    assert told["loss"] == pytest.approx(loss(learned, (2 / 3, 2.0) if weighted else (1, 1)), rel=1e-4)
    assert told["val_loss"] == pytest.approx(loss(data.held_out(), (1, 1)), rel=1e-4)


def test_zero_epochs_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing is trained; raise one"):
        replace(FAST, head_epochs=0, epochs=0)


@pytest.mark.parametrize("part", ["training", "held-out"])
def test_errors_of_the_data_are_raised_unchanged(tmp_path: Path, part: str) -> None:
    class Failing(Colours):
        """After more batches than Keras looks at before a backend's own thread reads on."""

        steps = 8

        def batches(self, epoch: int) -> Iterator[tuple[Any, Any]]:
            whole = super().batches(epoch)
            if part != "training" or epoch == 999:
                yield from whole
            yield from islice(whole, 6)
            raise RuntimeError("shard 7 is damaged")

        def held_out(self) -> Iterator[tuple[Any, Any]]:
            yield from islice(Colours.batches(self, 999), 6)
            if part == "held-out":
                raise RuntimeError("shard 7 is damaged")

    with pytest.raises(RuntimeError, match=r"^shard 7 is damaged$"):
        train(task(tmp_path / "a"), FAST, Failing(), start=nothing)

    class Empty(Colours):
        def batches(self, epoch: int) -> Iterator[tuple[Any, Any]]:
            return iter(()) if part == "training" else super().batches(epoch)

        def held_out(self) -> Iterator[tuple[Any, Any]]:
            return iter(())

    with pytest.raises(TrainingFailed, match=f"none of the {part} images could be decoded"):
        train(task(tmp_path / "b"), FAST, Empty(), start=nothing)

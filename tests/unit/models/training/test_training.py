"""The training core on tiny networks: what it freezes, keeps, resumes and refuses."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from models.networks.inputs import decode_square, network_input
from models.networks.registry import ARCHITECTURES, architecture
from models.release import Release, load_release, save_release, sha256_of
from models.serving.predictor import EnsemblePredictor
from models.spec import Category, NetworkSpec
from models.training import checkpoints
from models.training.augmentation import augment, augment_article, augment_article_lightly
from models.training.loop import train
from models.training.phases import NetworkInput, learning_rate
from models.training.recipe import CHECKPOINT, Recipe, Task, TrainingFailed
from tests import tiny_network
from tests.labelled import jpeg_of

SPEC = NetworkSpec(tiny_network.NAME, 16, "tiny.weights.h5", "", 1.0)
REAL = NetworkSpec("efficientnetb0", 32, "w.weights.h5", "", 1.0)
FAST = Recipe(head_epochs=1, epochs=2, unfreeze_from="block2a", patience=5, dropout=0.0, learning_rate=1e-3)


@pytest.fixture(scope="module", autouse=True)
def tiny_architecture() -> Iterator[None]:
    """Make the tiny network known."""
    ARCHITECTURES[tiny_network.NAME] = "tests.tiny_network"
    yield
    del ARCHITECTURES[tiny_network.NAME]


class Colours:
    """Red and blue squares of many shades."""

    steps = 2

    def __init__(self) -> None:
        self.seen: list[int] = []

    def batches(self, epoch: int) -> Iterator[tuple[Any, Any]]:
        self.seen.append(epoch)
        random = np.random.default_rng(epoch)
        while True:
            labels = random.integers(0, 2, 16)
            images = random.integers(0, 60, (16, 32, 32, 3), np.uint8)
            images[np.arange(16), ..., np.where(labels == 0, 0, 2)] += 150
            yield images, labels

    def held_out(self) -> Iterator[tuple[Any, Any]]:
        yield next(self.batches(999))


def task(tmp_path: Path, **changes: Any) -> Task:
    return replace(Task(SPEC, 32, (16, 16), tmp_path / "work"), **changes)


def nothing(model: Any) -> None:
    """Start from what the initialisers gave."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, dict[str, Any], Path]:
    """One whole training, and the weights that it started from."""
    place = tmp_path_factory.mktemp("training")
    began: dict[str, Any] = {}

    def start(model: Any) -> None:
        began.update({weight.path: np.array(weight) for weight in model.weights})

    model, progress = train(task(place), FAST, Colours(), start=start)
    return model, progress, began, place / "work"


def test_the_history_has_the_metrics_of_every_epoch(finished: Any) -> None:
    _, progress, _, _ = finished
    assert (progress.epochs, progress.head_epochs, progress.finished) == (3, 1, True)
    assert [set(entry) for entry in progress.history] == [
        {"loss", "accuracy", "val_loss", "val_accuracy", "seconds"}
    ] * 3
    assert progress.best_loss == min(entry["val_loss"] for entry in progress.history)


def test_only_unfrozen_layers_are_trained_and_no_batchnorm(finished: Any) -> None:
    model, _, began, _ = finished
    after = {weight.path: np.array(weight) for weight in model.weights}
    moved = {path.split("/")[0] for path, value in began.items() if not np.array_equal(value, after[path])}
    assert moved == {"block2a_conv", "logits"}, "block2a_bn is BatchNorm, and everything before it is frozen"


def test_a_network_from_random_weights_trains_its_batchnorm_too(tmp_path: Path) -> None:
    fresh = replace(FAST, head_epochs=0, epochs=1, unfreeze_from="", train_norms=True)
    model, _ = train(task(tmp_path), fresh, Colours(), start=nothing)
    assert np.abs(np.array(model.get_layer("block1a_bn").moving_mean)).max() > 0


def test_a_finished_training_is_not_trained_again(finished: Any) -> None:
    model, progress, _, work = finished
    data = Colours()
    again, same = train(Task(SPEC, 32, (16, 16), work), FAST, data, start=pytest.fail)
    assert data.seen == []
    assert same == progress
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_resumed_training_gives_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    """Stopped after two epochs of three and started again, it does what an unbroken training does."""
    dropping = replace(FAST, dropout=0.4)
    unbroken, progress = train(task(tmp_path / "a"), dropping, Colours(), start=nothing)

    class Stop(Exception):
        pass

    def stop(epoch: int, step: int, steps: int, figures: dict[str, float]) -> None:
        if epoch == 3:
            raise Stop

    with pytest.raises(Stop):
        train(task(tmp_path / "b"), dropping, Colours(), start=nothing, watch=stop)
    held = checkpoints.load(tmp_path / "b" / "work" / CHECKPOINT)
    assert held is not None
    assert held.progress.epochs == 2
    assert max(np.abs(value).max() for value in held.optimizer) > 0
    data = Colours()
    resumed, after = train(task(tmp_path / "b"), dropping, data, start=pytest.fail)
    assert data.seen[0] == 2, "the two epochs that are kept were trained again"
    assert [round(entry["loss"], 4) for entry in after.history] == [
        round(entry["loss"], 4) for entry in progress.history
    ]
    for one, other in zip(unbroken.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_nan_loss_keeps_the_finished_epochs(tmp_path: Path) -> None:
    wild = replace(FAST, head_epochs=1, epochs=3, learning_rate=1e30)
    with pytest.raises(TrainingFailed, match=r"tiny became .* in epoch \d; lower the learning rate"):
        train(task(tmp_path), wild, Colours(), start=nothing)
    held = checkpoints.load(tmp_path / "work" / CHECKPOINT)
    assert held is not None
    assert held.progress.epochs >= 1
    assert all(np.isfinite(value).all() for value in held.weights)


def test_a_full_disk_keeps_the_finished_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(task(tmp_path), replace(FAST, epochs=0), Colours(), start=nothing)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    held = checkpoints.load(tmp_path / "work" / CHECKPOINT)
    assert held is not None
    held.progress.finished = False
    held.save(tmp_path / "work" / CHECKPOINT)
    before = (tmp_path / "work" / CHECKPOINT).read_bytes()
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(TrainingFailed, match=r"No space left on device.*the 1 epochs before are kept in"):
        train(task(tmp_path), FAST, Colours(), start=nothing)
    assert (tmp_path / "work" / CHECKPOINT).read_bytes() == before
    assert [path.name for path in (tmp_path / "work").iterdir()] == [CHECKPOINT]


def test_a_damaged_checkpoint_gives_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / CHECKPOINT).write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"is damaged .* delete it"):
        train(task(tmp_path), FAST, Colours(), start=nothing)


def test_an_unknown_block_gives_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no layer or block 'block9z'; expected one of block1a, "):
        train(task(tmp_path), replace(FAST, unfreeze_from="block9z"), Colours(), start=nothing)


def test_stops_when_the_held_out_loss_no_longer_falls(tmp_path: Path) -> None:
    stuck = replace(FAST, head_epochs=0, epochs=30, patience=2, learning_rate=0.0, weight_decay=0.0)
    _, progress = train(task(tmp_path), stuck, Colours(), start=nothing)
    assert (progress.epochs, progress.best_epoch) == (3, 1)


def test_training_evaluation_and_serving_see_the_same_input(tmp_path: Path) -> None:
    """The same bytes on the three ways to the first layer, and in the end the same probabilities."""
    square = decode_square(jpeg_of(1, shade=200), 48)[None]
    served = np.asarray(network_input(square, REAL))
    feed: Any = NetworkInput(REAL)
    squares = keras.Input((48, 48, 3), dtype="uint8")
    trained = np.asarray(keras.Model(squares, feed(squares))(square))
    np.testing.assert_array_equal(trained, served)

    model = architecture("efficientnetb0").build(input_px=32, categories=2)
    model.save_weights(tmp_path / "w.weights.h5")
    other = replace(REAL, weights_sha256=sha256_of(tmp_path / "w.weights.h5"))
    big = NetworkSpec("xception", 71, "x.weights.h5", "", 0.0)
    architecture("xception").build(input_px=71, categories=2).save_weights(tmp_path / "x.weights.h5")
    big = replace(big, weights_sha256=sha256_of(tmp_path / "x.weights.h5"))
    release = Release("r", "t", (Category("a", "A"), Category("b", "B")), (other, big), temperature=1.0)
    files = {"efficientnetb0": tmp_path / "w.weights.h5", "xception": tmp_path / "x.weights.h5"}
    save_release(release, tmp_path / "r", weights=files)
    jpeg = jpeg_of(2, shade=180)
    predictor = EnsemblePredictor(load_release(tmp_path / "r"), tmp_path / "r")
    answered = predictor.predict(decode_square(jpeg, predictor.decode_px)[None]).by_network["efficientnetb0"]
    whole_squares = keras.Input((71, 71, 3), dtype="uint8")
    whole = keras.Model(whole_squares, model(feed(whole_squares)))
    in_training = keras.ops.softmax(whole(decode_square(jpeg, 71)[None], training=False))
    np.testing.assert_allclose(answered, np.asarray(in_training), atol=1e-5)


def test_light_augmentation_mirrors_and_moves_by_at_most_a_pixel() -> None:
    """All eighteen that there are, and nothing else: what was in the picture is in it but for a pixel at the rim."""
    square = np.random.default_rng(4).integers(1, 256, (12, 12, 3), np.uint8)
    found = {augment_article_lightly(square, np.random.default_rng(seed)).tobytes() for seed in range(300)}
    expected = set()
    for source in (square, square[:, ::-1]):
        framed = np.pad(source, ((1, 1), (1, 1), (0, 0)))
        expected |= {framed[top : top + 12, left : left + 12].tobytes() for top in range(3) for left in range(3)}
    assert found == expected


@pytest.mark.parametrize("change", [augment, augment_article, augment_article_lightly])
def test_augmentation_keeps_shape_and_type_and_is_reproducible(change: Any) -> None:
    square = decode_square(jpeg_of(0, shade=120), 40)
    square[:, :8] = 200  # something to be seen moving
    before = square.copy()
    changed = [change(square, np.random.default_rng(seed)) for seed in range(20)]
    assert all(one.shape == square.shape and one.dtype == np.uint8 for one in changed)
    np.testing.assert_array_equal(square, before)
    np.testing.assert_array_equal(changed[3], change(square, np.random.default_rng(3)))
    assert len({one.tobytes() for one in changed}) > 10


def test_the_learning_rate_rises_to_its_peak_and_falls_to_a_hundredth() -> None:
    schedule = learning_rate(replace(FAST, epochs=10, learning_rate=0.5, warm_up=0.2), steps=10)
    rates = [float(schedule(step)) for step in range(101)]
    assert rates[0] == pytest.approx(0.005)
    assert max(rates) == pytest.approx(0.5)
    assert rates.index(max(rates)) == 20, "a fifth of a hundred steps"
    assert rates[100] == pytest.approx(0.005)
    falling = learning_rate(replace(FAST, epochs=10, learning_rate=0.5), steps=10)
    assert float(falling(0)) == pytest.approx(0.5), "without a warm-up it begins at its peak"

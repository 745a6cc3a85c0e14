"""Making the shipped release of stand-ins for articles and networks: what is trained, kept and gone on with."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import fashion_mnist, train_fashion_mnist
from models.fashion_mnist import Articles
from models.known.images import read_known
from models.networks.registry import ARCHITECTURES
from models.networks.weights import save_half
from models.release import load_network, load_release, save_release
from models.train_fashion_mnist import ONE_CYCLE, PLANS, Plan, main
from models.training import checkpoints
from models.training.arrays import Arrays
from models.training.recipe import CHECKPOINT, Batch
from tests import tiny_network
from tests.programs import exit_code, offer_networks

COUNTS = {"train": 400, "t10k": 60}


def articles(part: str, *, cache_dir: Path) -> Articles:
    """Ten kinds of articles that differ in where they are bright."""
    random = np.random.default_rng(COUNTS[part])
    labels = (np.arange(COUNTS[part]) % 10).astype(np.uint8)
    images = random.integers(0, 30, (COUNTS[part], 28, 28), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, :] += np.uint8(label * 22)
    return Articles(images, labels, f"pixels of {part}")


@pytest.fixture(autouse=True)
def small_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tiny networks and few articles in place of the real ones."""
    recipe = replace(ONE_CYCLE, epochs=2, learning_rate=0.03, train_norms=True)
    plans = {"one": Plan(16, recipe, 64), "two": Plan(20, recipe, 32)}
    for name in reversed(list(PLANS)):  # undone in the other direction, so that they return in their order
        monkeypatch.delitem(PLANS, name)
    for name, plan in plans.items():
        monkeypatch.setitem(PLANS, name, plan)
    monkeypatch.setattr(train_fashion_mnist, "DECODE_PX", 20)
    monkeypatch.setattr(train_fashion_mnist, "HELD_OUT", 80)
    monkeypatch.setattr(fashion_mnist, "load", articles)
    for name in plans:
        monkeypatch.setitem(ARCHITECTURES, name, tiny_network.__name__)
    offer_networks(main, plans, monkeypatch)


def call(place: Path, release_id: str, *words: str) -> object:
    where = ["--work-dir", str(place / f"work-{release_id}"), "--output", str(place / release_id)]
    return exit_code(main, [*where, "--release-id", release_id, *words])


def test_a_release_is_trained_and_another_one_starts_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train_fashion_mnist.py", "--work-dir", "my work", "--seed", "7"])
    assert call(tmp_path, "a-1", "--label-smoothing", "0.05") == 0
    first = load_release(tmp_path / "a-1")
    assert first.training["articles"] == 320
    assert first.training["data_pixels_sha256"] == "pixels of train"
    assert first.training["command"] == "python -m models.train_fashion_mnist --work-dir 'my work' --seed 7"
    assert json.loads(first.training["one_recipe"])["epochs"] == 2
    assert {"one_test_accuracy", "ensemble_test_accuracy", "automatic_precision"} <= set(first.metrics)
    card = (tmp_path / "a-1" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert first.known is not None
    assert (first.known.references, first.known.calibrated_on) == (320, 80)
    assert list(read_known(tmp_path / "a-1" / first.known.file).networks) == ["one", "two"]
    assert "the 320 learned images in known.h5" in card
    assert len(first.training["one_history"]) == 2
    assert "| one | 2 |" in card

    # However many are asked for, those that choose and calibrate are not learned from.
    start = ["--start-from", str(tmp_path / "a-1"), "--network", "two", "--epochs", "two=3", "--limit", "400"]
    assert call(tmp_path, "a-2", *start) == 0
    second = load_release(tmp_path / "a-2")
    one, two = second.networks
    assert one.weights_sha256 == first.networks[0].weights_sha256, "it was not to be trained"
    assert second.training["articles"] == 320
    smoothing = [json.loads(told.training["two_recipe"])["label_smoothing"] for told in (first, second)]
    assert smoothing == [0.05, 0.0]
    assert two.weights_sha256 != first.networks[1].weights_sha256
    assert second.training["one_is_that_of"] == "a-1"
    assert second.training["one_recipe"] == first.training["one_recipe"]
    held = checkpoints.load(tmp_path / "work-a-2" / "two" / CHECKPOINT)
    assert held is not None
    assert held.progress.epochs == 3


def test_a_network_keeps_the_value_range_of_its_start(tmp_path: Path) -> None:
    assert call(tmp_path, "r-1", "--epochs", "1") == 0
    first = load_release(tmp_path / "r-1")
    theirs = tuple(replace(one, preprocessing="0-1") for one in first.networks)
    weights = {one.architecture: tmp_path / "r-1" / one.weights_file for one in theirs}
    save_release(replace(first, release_id="theirs", networks=theirs, known=None), tmp_path / "theirs", weights=weights)
    start = ["--start-from", str(tmp_path / "theirs"), "--network", "two", "--epochs", "1"]
    assert call(tmp_path, "r-2", *start) == 0
    assert [one.preprocessing for one in load_release(tmp_path / "r-2").networks] == ["0-1", "0-1"]


def test_the_same_command_trains_no_epoch_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call fails when everything is trained; the second only makes the release."""
    with monkeypatch.context() as broken:
        broken.setattr(train_fashion_mnist, "finished", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
        assert call(tmp_path, "b-1") == 1
    assert not (tmp_path / "b-1").exists()
    before = (tmp_path / "work-b-1" / "two" / CHECKPOINT).stat().st_mtime_ns
    assert call(tmp_path, "b-1") == 0
    assert (tmp_path / "work-b-1" / "two" / CHECKPOINT).stat().st_mtime_ns == before


def test_different_networks_can_be_trained_at_once_but_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path, "p-1", "--epochs", "1") == 0
    start = ["--start-from", str(tmp_path / "p-1"), "--work-dir", str(tmp_path / "work"), "--epochs", "1"]
    beside: list[object] = []
    plain = save_half

    def another(*arguments: Any) -> Path:
        """While the first is at work, the same network is asked for, and the other one."""
        if not beside:
            beside.append(-1)
            beside.append(call(tmp_path, "p-2", *start, "--network", "one"))
            beside.append(call(tmp_path, "p-3", *start, "--network", "two"))
        return plain(*arguments)

    monkeypatch.setattr(train_fashion_mnist, "save_half", another)
    assert call(tmp_path, "p-4", *start, "--network", "one") == 0
    assert beside == [-1, 1, 0]
    assert f"another process trains in {tmp_path / 'work' / 'one'}" in capsys.readouterr().err


def test_each_network_gets_the_batch_size_and_augmentation_given_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fed: dict[int, set[str]] = {}
    plain = Arrays.batches

    def batches(self: Arrays, epoch: int) -> Iterator[Batch]:
        fed.setdefault(self.batch_size, set()).add(self.change.__name__)
        return plain(self, epoch)

    monkeypatch.setattr(Arrays, "batches", batches)
    assert call(tmp_path, "l-1", "--epochs", "1", "--augmentation", "two=light") == 0
    assert fed == {64: {"augment_article"}, 32: {"augment_article_lightly"}}
    told = load_release(tmp_path / "l-1").training
    assert (told["one_augmentation"], told["two_augmentation"]) == ("full", "light")
    work = ["--work-dir", str(tmp_path / "work-l-1"), "--epochs", "2"]
    assert call(tmp_path, "l-2", *work) == 1, "what was begun lightly is not gone on with otherwise"
    assert "begun with another augmentation (light, now full); delete" in capsys.readouterr().err


def test_start_share_averages_the_weights_and_does_not_change_the_checkpoint(tmp_path: Path) -> None:
    assert call(tmp_path, "s-1", "--epochs", "1") == 0
    start = ["--start-from", str(tmp_path / "s-1"), "--epochs", "1", "--work-dir", str(tmp_path / "work")]
    for name, share in (("s-2", "0"), ("s-3", "0.25"), ("s-4", "0")):
        assert call(tmp_path, name, *start, "--start-share", f"two={share}") == 0

    def weights(name: str) -> list[Any]:
        release = load_release(tmp_path / name)
        return list(load_network(release, tmp_path / name, release.networks[1]).get_weights())

    before, after, averaged, again = (weights(f"s-{number}") for number in (1, 2, 3, 4))
    assert any(np.abs(one - another).max() > 1e-3 for one, another in zip(before, after, strict=True))
    for one, another, between in zip(before, after, averaged, strict=True):
        np.testing.assert_allclose(between, 0.25 * one + 0.75 * another, atol=2e-3)
    for one, another in zip(after, again, strict=True):
        np.testing.assert_array_equal(one, another)
    assert load_release(tmp_path / "s-3").training["two_start_share"] == 0.25


def test_start_share_without_start_weights_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path, "t-1", "--start-share", "0.5") == 2
    assert "one starts from nothing, of which no share can be averaged in" in capsys.readouterr().err
    assert not (tmp_path / "work-t-1").exists()


def test_an_unknown_augmentation_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path, "m-1", "--augmentation", "two=strong") == 2
    assert "Invalid value for '--augmentation': 'strong' is not one of 'full', 'light'." in capsys.readouterr().err


def test_a_network_that_is_not_trained_needs_a_start_release(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path, "c-1", "--network", "one") == 2
    assert "two is not trained, so --start-from must name a release that has it" in capsys.readouterr().err

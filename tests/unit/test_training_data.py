"""What a training is fed with out of the dataset: every image once, its own label, shuffled and augmented again."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.config import Places
from jobs.dataset import read_labelled, read_shard
from jobs.labels import LabelledImage, labelled_images
from jobs.training_data import DatasetBatches
from tests.labelled import LEAVES, write_labelled


@pytest.fixture
def images(tmp_path: Path) -> list[LabelledImage]:
    places = Places(tmp_path)
    for version in range(3):
        products = [(f"p{version}-{number:03d}", LEAVES[number % 3], [number % 3]) for number in range(70)]
        write_labelled(places, products, version=version)
    write_labelled(places, [("unlabelled", None, [0])], version=4)
    write_labelled(places, [("broken", LEAVES[0], [-1])], version=5)
    return labelled_images(places)


def data(images: list[LabelledImage], **changes: object) -> DatasetBatches:
    return DatasetBatches(images, images[:50], LEAVES, 16, **{"batch_size": 10, **changes})  # type: ignore[arg-type]


def test_an_epoch_is_every_image_once_with_its_own_label(images: list[LabelledImage]) -> None:
    found = list(data(images).batches(0))
    assert [len(labels) for _, labels in found] == [10] * 21
    labels = np.concatenate([labels for _, labels in found])
    squares = np.concatenate([squares for squares, _ in found])
    assert (squares.mean(axis=(1, 2)).argmax(axis=1) == labels).all()
    assert Counter(labels.tolist()) == {0: 72, 1: 69, 2: 69}
    assert len({tuple(labels.tolist()) for _, labels in found}) > 15, "it is shuffled"


def test_another_epoch_has_another_order_and_other_changes(images: list[LabelledImage]) -> None:
    one, other = (np.concatenate([squares for squares, _ in data(images).batches(epoch)]) for epoch in (0, 1))
    assert not np.array_equal(one, other)
    plain = np.concatenate([squares for squares, _ in data(images, augmented=False).batches(0)])
    assert len(np.unique(plain.reshape(len(plain), -1), axis=0)) == 3
    assert len(np.unique(one.reshape(len(one), -1), axis=0)) > 50


def test_what_is_held_out_comes_as_it_is(images: list[LabelledImage]) -> None:
    found = list(data(images).held_out())
    labels = np.concatenate([labels for _, labels in found])
    assert len(labels) == 49, "one of the fifty no longer decodes"
    squares = np.concatenate([squares for squares, _ in found])
    assert len(np.unique(squares.reshape(len(squares), -1), axis=0)) == 3


def test_fewer_images_than_a_batch_are_one_batch(images: list[LabelledImage]) -> None:
    few = data(images[:6], batch_size=32)
    assert few.steps == 1
    assert [len(labels) for _, labels in few.batches(0)] == [5]


def test_no_reader_ends_before_its_rows(images: list[LabelledImage], monkeypatch: pytest.MonkeyPatch) -> None:
    """Petastorm asked in an order that let a reader end with nothing, about once in ten times."""
    from petastorm.workers_pool.thread_pool import ThreadPool
    from petastorm.workers_pool.ventilator import ConcurrentVentilator

    asked, give_out = ThreadPool.all_workers_done, ConcurrentVentilator._ventilate

    def slowly(pool: Any) -> bool:
        done = bool(asked(pool))
        time.sleep(0.1)  # time enough to give out all the work between the two questions
        return done

    def late(ventilator: Any) -> None:
        time.sleep(0.05)
        give_out(ventilator)

    monkeypatch.setattr(ThreadPool, "all_workers_done", slowly)
    monkeypatch.setattr(ConcurrentVentilator, "_ventilate", late)
    files = sorted({image.shard for image in images})
    labels = {image.key: 0 for image in images}
    for seed in (None, 1, 2, 3):
        found = read_labelled(files, labels, side_px=16, workers=2, shuffle_seed=seed)
        assert sum(len(labels) for _, labels in found) == 210
    shard = files[0]
    assert sum(len(batch) for batch in read_shard(shard, side_px=16, batch_size=32, workers=2)) in (1, 70)


def test_counts_are_by_category(images: list[LabelledImage]) -> None:
    assert data(images).counts() == (73, 69, 69)

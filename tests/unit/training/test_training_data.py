"""What a training is fed with out of the dataset: every image once, its own label, shuffled and augmented again."""

from __future__ import annotations

import time
import weakref
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.dataset.batches import batch_of
from jobs.dataset.labels import LabelledImage, labelled_images
from jobs.dataset.parts import part_of
from jobs.dataset.reading import read_labelled, read_shard
from jobs.dataset.schema import IMAGES
from jobs.dataset.shards import ShardWriter
from jobs.errors import RunFailed
from jobs.storage.places import Places
from jobs.training import batches as training_data
from jobs.training import export as arrays_file
from jobs.training.batches import DatasetBatches
from jobs.training.export import ArraysConfig
from jobs.training.selection import Selection
from tests.dataset_rows import image_row
from tests.labelled import DAY, LEAVES, write_labelled


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
    told = {"batch_size": 10, "places": Places(Path()), **changes}
    return DatasetBatches(images, images[:50], LEAVES, 16, **told)  # type: ignore[arg-type]


def test_an_epoch_is_every_image_once_with_its_own_label(images: list[LabelledImage]) -> None:
    found = list(data(images).batches(0))
    assert [len(labels) for _, labels in found] == [10] * 21
    labels = np.concatenate([labels for _, labels in found])
    squares = np.concatenate([squares for squares, _ in found])
    assert (squares.mean(axis=(1, 2)).argmax(axis=1) == labels).all()
    assert Counter(labels.tolist()) == {0: 72, 1: 69, 2: 69}
    assert len({tuple(labels.tolist()) for _, labels in found}) > 15, "it is shuffled"


def test_the_first_steps_wait_for_few_images(images: list[LabelledImage], monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was read is let go of: a view of one square would hold all that were read with it."""
    groups: list[weakref.ref[Any]] = []

    def read(*_: Any, **__: Any) -> Iterator[tuple[Any, Any]]:
        for _turn in range(40):
            group = np.zeros((8, 16, 16, 3), np.uint8)
            groups.append(weakref.ref(group))
            yield group, np.zeros(8, np.int64)
            del group
            assert all(there() is None for there in groups[:-1])

    monkeypatch.setattr(training_data, "read_labelled", read)
    read_by_then = [len(groups) for batch in data(images, batch_size=4).batches(0)]
    assert read_by_then[0] == 5, "eight batches and the first one's worth twice"
    assert read_by_then[:4] == [5, 6, 7, 8], "half of what is read stays"
    assert len(read_by_then) == len(images) // 4


def test_each_epoch_has_another_order_and_other_augmentations(images: list[LabelledImage]) -> None:
    one, other = (np.concatenate([squares for squares, _ in data(images).batches(epoch)]) for epoch in (0, 1))
    assert not np.array_equal(one, other)
    plain = np.concatenate([squares for squares, _ in data(images, augmented=False).batches(0)])
    assert len(np.unique(plain.reshape(len(plain), -1), axis=0)) == 3
    assert len(np.unique(one.reshape(len(one), -1), axis=0)) > 50


def test_an_image_content_that_returned_is_given_once(images: list[LabelledImage], tmp_path: Path) -> None:
    """Two files hold the same image, one of an earlier day; in between it was another one."""
    places, days = Places(tmp_path), [DAY + timedelta(days=1), DAY + timedelta(days=2)]
    products = [(f"p0-{number:03d}", LEAVES[number % 3], [number % 3]) for number in range(40)]
    for version, day in zip((6, 0), days, strict=True):
        write_labelled(places, products, day=day, version=version)
    again = labelled_images(places)
    assert [image.key for image in again] == [image.key for image in images]
    everything = DatasetBatches(again, again, LEAVES, 16, batch_size=10, places=places)
    for batches in (everything.held_out(), everything.held_out(), everything.plain()):
        assert sum(len(labels) for _, labels in batches) == len(images) - 1, "one no longer decodes"
    done = arrays_file.run(ArraysConfig(Selection(places), tmp_path / "a.npz", 16))
    parts = Counter(part_of(image.product_id) for image in images if image.product_id != "broken")
    assert (done["images"], done["held_out_images"]) == (parts["train"], parts["validation"])


def test_held_out_images_are_not_augmented(images: list[LabelledImage]) -> None:
    found = list(data(images).held_out())
    labels = np.concatenate([labels for _, labels in found])
    assert len(labels) == 49, "one of the fifty no longer decodes"
    squares = np.concatenate([squares for squares, _ in found])
    assert len(np.unique(squares.reshape(len(squares), -1), axis=0)) == 3


def test_fewer_images_than_a_batch_are_one_batch(images: list[LabelledImage]) -> None:
    few = data(images[:6], batch_size=32)
    assert few.steps == 1
    assert [len(labels) for _, labels in few.batches(0)] == [5]


def test_a_reader_does_not_end_before_all_its_rows_are_read(
    images: list[LabelledImage], monkeypatch: pytest.MonkeyPatch
) -> None:
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
    files = {Path(str(image.shard)): image.shard for image in images}
    labels = {image.key: 0 for image in images}
    for seed in (None, 1, 2, 3):
        found = read_labelled(files, labels, side_px=16, workers=2, shuffle_seed=seed)
        assert sum(len(labels) for _, labels in found) == 210
    shard = min(files)
    assert sum(len(batch) for batch in read_shard(shard, side_px=16, batch_size=32, workers=2)) in (1, 70)


def test_training_serving_and_export_decode_a_shard_to_the_same_squares(tmp_path: Path) -> None:
    """Training, serving, the quarantine's helper and the arrays for elsewhere: one function behind all of them."""
    places, random = Places(tmp_path), np.random.default_rng(4)
    writer = ShardWriter(places.partition(places.images, DAY), IMAGES, shard_bytes=10**9)
    for number in range(60):
        pixels = random.integers(0, 256, (random.integers(9, 60), random.integers(9, 60), 3), np.uint8)
        jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
        row = image_row(f"p{number:02d}", category=LEAVES[number % 2], image_sha256=f"s{number}", jpeg=jpeg)
        writer.add(row)
    writer.flush()
    found = labelled_images(places)
    [shard] = {Path(str(image.shard)) for image in found}
    numbers = {image.key: number for number, image in enumerate(found)}
    served = {
        str(product_id): square
        for batch in read_shard(shard, side_px=16, batch_size=32, workers=2)
        for product_id, square in zip(batch.columns["product_id"], batch.images, strict=True)
    }
    assert len(served) == 60
    learned = {
        found[number].product_id: square
        for squares, labels in read_labelled({shard: shard}, numbers, side_px=16, workers=2)
        for square, number in zip(squares, labels, strict=True)
    }
    with pq.ParquetFile(shard) as file:
        helped = batch_of(file, 0, range(60), 16)
    by_helper = dict(zip(helped.columns["product_id"], helped.images, strict=True))
    for product_id, square in served.items():
        np.testing.assert_array_equal(learned[product_id], square)
        np.testing.assert_array_equal(by_helper[product_id], square)
    arrays_file.run(ArraysConfig(Selection(places), tmp_path / "a.npz", 16))
    with np.load(tmp_path / "a.npz") as held:
        for part, name in (("train", "squares"), ("validation", "held_out_squares")):
            own = [square.tobytes() for product_id, square in served.items() if part_of(product_id) == part]
            assert sorted(square.tobytes() for square in held[name]) == sorted(own)


def test_a_damaged_file_is_named(images: list[LabelledImage]) -> None:
    """In the bytes of its images, behind a footer that is sound; and without its end."""
    [(damaged, count)] = Counter(image.shard for image in images).most_common(1)
    assert count == 70, "a file with products of every part"
    whole = bytearray(damaged.read_bytes())
    sentence = rf"{damaged.name} cannot be read \(.*\); delete that file and ingest its date again"
    for content in (bytes(whole[: len(whole) // 2]), bytes(4) + bytes(range(256)) * 40 + bytes(whole[10244:])):
        damaged.write_bytes(content)
        with pytest.raises(RunFailed, match=sentence):
            list(data(images).batches(0))
        with pytest.raises(RunFailed, match=sentence):
            list(data(images).held_out())


def test_counts_are_by_category(images: list[LabelledImage]) -> None:
    assert data(images).counts() == (73, 69, 69)

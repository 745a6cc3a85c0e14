"""Training batches streamed from the dataset: worker threads decode and augment, and a buffer shuffles the images."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jobs.dataset.labels import LabelledImage
from jobs.dataset.local_copies import kept_copy
from jobs.dataset.reading import read_labelled
from jobs.dataset.schema import ImageKey
from jobs.storage.places import Place, Places
from models.spec import Images
from models.training.augmentation import augment
from models.training.recipe import Batch

BUFFER_BYTES = 256 * 2**20
"""Size of the shuffle buffer for decoded images, in bytes."""

BATCHES_FIRST = 8
"""Batches in the buffer before the first one is drawn, because adjacent rows of a file often have the same category."""


@dataclass(frozen=True)
class DatasetBatches:
    """Training data streamed from the dataset: training and held-out batches of its labelled images.

    Attributes:
        training: Images to train on.
        validation: Held-out images, to measure the loss after each epoch.
        category_ids: Categories in the order of the network's outputs.
        side_px: Side of the square images, in pixels.
        batch_size: Images per training step.
        workers: Number of decoding threads.
        seed: Seed of the order and of the augmentation.
        augmented: Whether to augment training images.
        places: Directories and stores of the home.
    """

    training: Sequence[LabelledImage]
    validation: Sequence[LabelledImage]
    category_ids: Sequence[str]
    side_px: int
    batch_size: int = 32
    workers: int = 2
    seed: int = 7
    augmented: bool = True
    places: Places = field(kw_only=True)

    @property
    def steps(self) -> int:
        """Number of full batches per epoch, at least 1."""
        return max(1, len(self.training) // self.batch_size)

    def counts(self) -> tuple[int, ...]:
        """Return the number of training images of each category, in the order of `category_ids`."""
        index = {category_id: number for number, category_id in enumerate(self.category_ids)}
        indices = [index[image.category_id] for image in self.training]
        return tuple(np.bincount(indices, minlength=len(index)).tolist())

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, shuffled anew for each epoch.

        If some images do not decode, the dataset is read again until the epoch has all its steps.
        """
        left, turn = self.steps, 0
        while left > 0:
            seed = zlib.crc32(f"{self.seed}/{epoch}/{turn}".encode())
            before = left
            for batch in self._shuffled(epoch, seed):
                yield batch
                left -= 1
                if not left:
                    return
            if left == before:
                return
            turn += 1

    def held_out(self) -> Iterator[Batch]:
        """Yield the validation images in batches, without augmentation and shuffling."""
        yield from self._plain(self.validation)

    def plain(self) -> Iterator[Batch]:
        """Yield the training images in batches, once each, without augmentation and shuffling."""
        yield from self._plain(self.training)

    def _plain(self, images: Sequence[LabelledImage]) -> Iterator[Batch]:
        groups = read_labelled(self._files(images), self._labels(images), side_px=self.side_px, workers=self.workers)
        for squares, labels in groups:
            for start in range(0, len(labels), self.batch_size):
                part = slice(start, start + self.batch_size)
                yield squares[part], labels[part]

    def _shuffled(self, epoch: int, seed: int) -> Iterator[Batch]:
        """Yield batches drawn at random from a buffer that the reader fills; only a single batch may be smaller.

        While the buffer fills, one image is drawn for two that are read beyond the first batches. So the training steps
        start early and run at the same time as decoding, also with a catalog that does not fill the buffer.
        """
        random = np.random.default_rng(seed)
        capacity = max(4 * self.batch_size, BUFFER_BYTES // (3 * self.side_px**2))
        least = min(capacity, BATCHES_FIRST * self.batch_size)
        squares: list[Images] = []
        labels: list[int] = []
        read = drawn = 0

        def draw(count: int) -> Batch:
            chosen = []
            for _ in range(count):
                position = int(random.integers(len(squares)))
                squares[position], squares[-1] = squares[-1], squares[position]
                labels[position], labels[-1] = labels[-1], labels[position]
                chosen.append((squares.pop(), labels.pop()))
            return np.stack([square for square, _ in chosen]), np.array([label for _, label in chosen])

        def change(key: ImageKey, square: Images) -> Images:
            return augment(square, np.random.default_rng(zlib.crc32(f"{seed}/{key}".encode())))

        groups = read_labelled(
            self._files(self.training),
            self._labels(self.training),
            side_px=self.side_px,
            workers=self.workers,
            change=change if self.augmented else None,
            shuffle_seed=seed,
        )
        try:
            for images, group_labels in groups:
                squares.extend(image.copy() for image in images)  # a view would keep the whole row group in memory
                labels.extend(group_labels.tolist())
                read += len(group_labels)
                while len(squares) > capacity or 2 * (drawn + self.batch_size) <= read - least:
                    drawn += self.batch_size
                    yield draw(self.batch_size)
            while len(squares) >= self.batch_size:
                drawn += self.batch_size
                yield draw(self.batch_size)
            if squares and not drawn:
                yield draw(len(squares))
        finally:
            groups.close()

    def _labels(self, images: Sequence[LabelledImage]) -> dict[ImageKey, int]:
        index = {category_id: number for number, category_id in enumerate(self.category_ids)}
        return {image.key: index[image.category_id] for image in images}

    def _files(self, images: Sequence[LabelledImage]) -> dict[Path, Place]:
        """Return the files that contain the images: maps the local file or copy to the original shard."""
        shards = sorted({image.shard for image in images}, key=str)
        return {kept_copy(shard, self.places): shard for shard in shards}

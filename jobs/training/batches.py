"""Batches for a training, streamed out of the dataset: decoded and augmented in workers, shuffled through a buffer."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jobs.dataset.labels import LabelledImage
from jobs.dataset.local_copies import kept_copy
from jobs.dataset.reading import read_labelled
from jobs.storage.places import Place, Places
from models.spec import Images
from models.training.augmentation import augment
from models.training.recipe import Batch

BUFFER_BYTES = 256 * 2**20
"""Of decoded squares that an epoch is shuffled through."""

BATCHES_FIRST = 8
"""Read before the first one is drawn, for the rows of a file are often of one category."""


@dataclass(frozen=True)
class DatasetBatches:
    """The training and held-out images of a dataset; a `models.training.recipe.TrainingData`.

    Attributes:
        training: What is learned from.
        validation: What is held out.
        category_ids: In the order of the network's outputs.
        side_px: Of the squares, in pixels.
        batch_size: Images a step.
        workers: Decoding threads.
        seed: Of order and augmentation.
        augmented: Whether training images are changed a little.
        places: Where state lives.
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
        """How many whole batches an epoch has, at least 1."""
        return max(1, len(self.training) // self.batch_size)

    def counts(self) -> tuple[int, ...]:
        """Return how many training images each category has."""
        place = {category_id: index for index, category_id in enumerate(self.category_ids)}
        indices = [place[image.category_id] for image in self.training]
        return tuple(np.bincount(indices, minlength=len(place)).tolist())

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield an epoch's batches in an order of its own; if images no longer decode, it begins again for the rest."""
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
        """Yield the validation images as they are."""
        yield from self._plain(self.validation)

    def plain(self) -> Iterator[Batch]:
        """Yield the training images as they are, once each."""
        yield from self._plain(self.training)

    def _plain(self, images: Sequence[LabelledImage]) -> Iterator[Batch]:
        groups = read_labelled(self._files(images), self._labels(images), side_px=self.side_px, workers=self.workers)
        for squares, labels in groups:
            for start in range(0, len(labels), self.batch_size):
                part = slice(start, start + self.batch_size)
                yield squares[part], labels[part]

    def _shuffled(self, epoch: int, seed: int) -> Iterator[Batch]:
        """Draw batches from a buffer that the reader keeps full; the last, smaller one only if it is the first too.

        While it fills, half of what is read beyond the first batches is drawn already, so that decoding goes on beside
        the first steps, and in a small catalog beside any.
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
                place = int(random.integers(len(squares)))
                squares[place], squares[-1] = squares[-1], squares[place]
                labels[place], labels[-1] = labels[-1], labels[place]
                chosen.append((squares.pop(), labels.pop()))
            return np.stack([square for square, _ in chosen]), np.array([label for _, label in chosen])

        def change(key: tuple[str, int, str], square: Images) -> Images:
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
            for images, found in groups:
                squares.extend(image.copy() for image in images)  # a view would keep all that was read with it
                labels.extend(found.tolist())
                read += len(found)
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

    def _labels(self, images: Sequence[LabelledImage]) -> dict[tuple[str, int, str], int]:
        place = {category_id: index for index, category_id in enumerate(self.category_ids)}
        return {image.key: place[image.category_id] for image in images}

    def _files(self, images: Sequence[LabelledImage]) -> dict[Path, Place]:
        """Return where the files of images can be read, and what each is a copy of."""
        found = sorted({image.shard for image in images}, key=str)
        return {kept_copy(shard, self.places): shard for shard in found}

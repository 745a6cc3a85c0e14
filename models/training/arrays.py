"""Labelled squares that lie in memory, in batches for a training; needs neither Spark nor Keras."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.networks.inputs import to_square
from models.spec import Images
from models.training.augmentation import augment
from models.training.recipe import Batch

Change = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]


@dataclass(frozen=True)
class Arrays:
    """Labelled squares in memory; a `models.training.recipe.TrainingData`.

    Attributes:
        squares: To learn from, of any side.
        labels: Their categories' indices.
        held_out_squares: To choose the best epoch by.
        held_out_labels: Their categories' indices.
        batch_size: Images a step.
        seed: Of order and changes.
        change: Alters a training image a little; see `models.training.augmentation`.
        side_px: Of the squares that are yielded, in pixels; 0 leaves them as they are.
    """

    squares: Images
    labels: NDArray[np.integer[Any]]
    held_out_squares: Images
    held_out_labels: NDArray[np.integer[Any]]
    batch_size: int = 32
    seed: int = 7
    change: Change = augment
    side_px: int = 0

    @property
    def steps(self) -> int:
        """How many whole batches an epoch has, at least 1."""
        return max(1, len(self.labels) // self.batch_size)

    def sha256(self) -> str:
        """Return the fingerprint of all squares and labels."""
        digest = hashlib.sha256()
        for part in (self.squares, self.labels, self.held_out_squares, self.held_out_labels):
            digest.update(f"{part.dtype} {part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield an epoch's batches, shuffled and augmented, the same for the same epoch."""
        random = np.random.default_rng((self.seed, epoch))
        order = random.permutation(len(self.labels))
        for start in range(0, self.steps * self.batch_size, self.batch_size):
            chosen = order[start : start + self.batch_size]
            changed = [self.change(self.squares[i], random) for i in chosen]
            yield enlarged(changed, self.side_px), self.labels[chosen]

    def held_out(self) -> Iterator[Batch]:
        """Yield the held-out batches as they are."""
        for start in range(0, len(self.held_out_labels), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield enlarged(self.held_out_squares[part], self.side_px), self.held_out_labels[part]


def enlarged(squares: Any, side_px: int) -> Images:
    """Return squares of another side, as serving resizes them; 0 only stacks them."""
    return np.stack([to_square(np.ascontiguousarray(one), side_px) if side_px else one for one in squares])

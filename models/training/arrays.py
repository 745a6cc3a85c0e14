"""Yield labelled squares from arrays in memory as training batches. Needs neither Spark nor Keras."""

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
"""Augmentation of one square; see `models.training.augmentation`."""


@dataclass(frozen=True)
class Arrays:
    """Training data in memory: arrays of labelled squares; a `models.training.recipe.TrainingData`.

    Attributes:
        squares: Training images, uint8 (count, side, side, 3), RGB, 0-255; any side.
        labels: Category index of each training image, (count,).
        held_out_squares: Images on which the best epoch is chosen, in the same form.
        held_out_labels: Category index of each held-out image.
        batch_size: Images in one step.
        seed: Random seed of order and augmentation.
        change: Augmentation of a training image; see `models.training.augmentation`.
        side_px: Side of the yielded squares, in pixels; 0 keeps their size.
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
        """Number of full batches in an epoch, at least 1."""
        return max(1, len(self.labels) // self.batch_size)

    def sha256(self) -> str:
        """Return the hexadecimal SHA-256 of all squares and labels, with their types and shapes."""
        digest = hashlib.sha256()
        for part in (self.squares, self.labels, self.held_out_squares, self.held_out_labels):
            digest.update(f"{part.dtype} {part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, shuffled and augmented; the same epoch number gives the same batches."""
        random = np.random.default_rng((self.seed, epoch))
        order = random.permutation(len(self.labels))
        for start in range(0, self.steps * self.batch_size, self.batch_size):
            chosen = order[start : start + self.batch_size]
            changed = [self.change(self.squares[i], random) for i in chosen]
            yield enlarged(changed, self.side_px), self.labels[chosen]

    def held_out(self) -> Iterator[Batch]:
        """Yield the held-out batches, in order and not augmented."""
        for start in range(0, len(self.held_out_labels), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield enlarged(self.held_out_squares[part], self.side_px), self.held_out_labels[part]


def enlarged(squares: Any, side_px: int) -> Images:
    """Resize an array of squares to a training batch, as serving resizes them.

    Args:
        squares: Squares, each uint8 (side, side, 3).
        side_px: Side of the result, in pixels; 0 keeps the size.

    Returns:
        uint8 (count, side_px, side_px, 3).
    """
    return np.stack([to_square(np.ascontiguousarray(square), side_px) if side_px else square for square in squares])

"""Define the inputs of a training: recipe, task, data and callbacks. Imports no Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.release import MANIFEST, sha256_of
from models.spec import Images, NetworkSpec

CHECKPOINT = "checkpoint.npz"
"""File name of the checkpoint in the work directory of a task."""

NOTHING, IMAGENET = "nothing", "imagenet"
"""Values of `Task.start` beside the path of a weights file or a release: untrained, or ImageNet weights."""

Batch = tuple[Images, NDArray[np.integer[Any]]]
Saved = Callable[[Sequence[Mapping[str, float]]], None]
"""Callback after each checkpoint; receives the metrics of every finished epoch."""

Watch = Callable[[int, int, int, dict[str, float]], None]
"""Callback after each step; receives epoch, step, steps in the epoch, and the metrics so far."""


class TrainingFailed(RuntimeError):
    """Raised when a training cannot continue; the message names what is kept and what to change."""


class TrainingData(Protocol):
    """Interface of the data of a training: batches of labelled squares of one side length."""

    @property
    def steps(self) -> int:
        """Number of batches in an epoch, at least 1."""

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, shuffled and augmented, at least `steps` of them.

        Each is a pair: images, uint8 (batch, side_px, side_px, 3), RGB, 0-255; and category indices, (batch,).
        """

    def held_out(self) -> Iterator[Batch]:
        """Yield the held-out batches, not augmented and always the same."""


@dataclass(frozen=True)
class Recipe:
    """Recipe of a training: epochs, learning rates, which layers are trained, and regularisation.

    Attributes:
        head_epochs: Epochs that train only the head; all other layers are frozen.
        epochs: Largest number of epochs after the head phase.
        head_learning_rate: Learning rate of AdamW in the head phase.
        learning_rate: Peak learning rate of AdamW after the head phase; it falls along a cosine.
        warm_up: Share of the steps after the head phase in which the learning rate rises to its peak, in [0, 1).
        unfreeze_from: Name of the first layer or block that is trained after the head phase; empty trains all layers.
        train_norms: Whether BatchNorm layers are trained: only for untrained networks, or with very many images.
        patience: Epochs without a lower held-out loss after which the training stops.
        dropout: Share of the pooled features that training drops, in [0, 1).
        label_smoothing: Share of the label that is spread over all categories, in [0, 1).
        weight_decay: Weight decay of AdamW.
        class_weights: Whether images of rare categories weigh more, so that all categories weigh the same in total.
            Recall of rare categories rises, but confidences are then those of a catalog in which all categories are
            equally frequent.
        mixed_precision: Whether to compute in half precision if that is faster; see `devices.half_precision`.
        seed: Seed of all random numbers.
    """

    head_epochs: int = 2
    epochs: int = 8
    head_learning_rate: float = 1e-3
    learning_rate: float = 1e-4
    warm_up: float = 0.0
    unfreeze_from: str = ""
    train_norms: bool = False
    patience: int = 3
    dropout: float = 0.2
    label_smoothing: float = 0.0
    weight_decay: float = 1e-4
    class_weights: bool = False
    mixed_precision: bool = False
    seed: int = 7

    def __post_init__(self) -> None:
        """Check that at least one epoch is trained."""
        if not self.head_epochs + self.epochs:
            raise ValueError("with 0 epochs, of the head and after it, nothing is trained; raise one of them")


@dataclass(frozen=True)
class Task:
    """The task of one training: which network learns which categories from which data.

    Attributes:
        network: Architecture, input size and value range of the network.
        side_px: Side of the squares that the data yields, in pixels.
        counts: Number of training images of each category.
        work_dir: Directory for the checkpoint.
        data_sha256: Hexadecimal SHA-256 that identifies the labelled images.
        start: Weights from which the training starts; see `models.training.starts.load_start_weights`.
        category_ids: The category_id of each output.
        taxonomy_version: Version of the taxonomy of these categories.
        augmentation: Name of the augmentation of training images, if there are several.
    """

    network: NetworkSpec
    side_px: int
    counts: tuple[int, ...]
    work_dir: Path
    data_sha256: str = ""
    start: str = NOTHING
    category_ids: tuple[str, ...] = ()
    taxonomy_version: str = ""
    augmentation: str = ""

    def description(self, recipe: Recipe) -> dict[str, Any]:
        """Return the properties that must be equal for a training to resume from a checkpoint.

        Learning rates, numbers of epochs and the batch size are not included: a training whose loss became NaN, or that
        did not fit the memory, can resume with other values.
        """
        return {
            "data_sha256": self.data_sha256,
            "start": _content(self.start),
            "category_ids": list(self.category_ids),
            "taxonomy_version": self.taxonomy_version,
            "network": [self.network.architecture, self.network.input_px, self.network.preprocessing],
            "side_px": self.side_px,
            "seed": recipe.seed,
            "label_smoothing": recipe.label_smoothing,
            "augmentation": self.augmentation,
        }


def _content(start: str) -> str:
    """Return the SHA-256 of the start's file, or of a release's manifest, so that these may be moved; else its name."""
    for path in (Path(start) / MANIFEST, Path(start)):
        if start not in (NOTHING, IMAGENET) and path.is_file():
            return f"SHA-256 {sha256_of(path)}"
    return start

"""What a training is told, and what it may be fed with. Nothing here imports Keras."""

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
"""In the work directory of a task."""

NOTHING, IMAGENET = "nothing", "imagenet"
"""What a network may start from, beside a weights file and a release."""

Batch = tuple[Images, NDArray[np.integer[Any]]]
Saved = Callable[[Sequence[Mapping[str, float]]], None]
"""Told after each checkpoint: the figures of every epoch until then."""

Watch = Callable[[int, int, int, dict[str, float]], None]
"""Told after each step: epoch, step, steps, figures so far."""


class TrainingFailed(RuntimeError):
    """A training that cannot go on; the message says what is kept and what to change."""


class TrainingData(Protocol):
    """Labelled squares of one side length, in batches."""

    @property
    def steps(self) -> int:
        """How many batches an epoch has, at least 1."""

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield an epoch's batches, shuffled and augmented, at least `steps` of them.

        Each is uint8 (batch, side_px, side_px, 3), RGB, 0-255, and (batch,) indices of categories.
        """

    def held_out(self) -> Iterator[Batch]:
        """Yield the held-out batches, as they are, always the same."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        head_epochs: Passes that train the head alone, the rest frozen.
        epochs: Passes after that, at most.
        head_learning_rate: Of AdamW in the head phase.
        learning_rate: Of AdamW afterwards, at its highest; it falls along a cosine.
        warm_up: Share of the steps after the head phase in which the learning rate first rises to that, in [0, 1).
        unfreeze_from: Name of the first layer or block that is then trained; empty trains all.
        train_norms: Whether BatchNorm learns too: only for networks that start from nothing, or for very many images.
        patience: Epochs without a lower held-out loss after which it stops.
        dropout: Share of the pooled features that training drops, in [0, 1).
        label_smoothing: Share of the label that is spread over all categories, in [0, 1).
        weight_decay: Of AdamW.
        class_weights: Whether rare categories count more, so that each counts as much in sum. More of these are found,
            and confidences then speak of a catalog in which all categories are equally frequent.
        mixed_precision: Whether it computes in half precision where that is faster; see `devices.half_precision`.
        seed: Of everything random.
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
        """Refuse what would train nothing."""
        if not self.head_epochs + self.epochs:
            raise ValueError("with 0 epochs, of the head and after it, nothing is trained; raise one of them")


@dataclass(frozen=True)
class Task:
    """What one network has to learn.

    Attributes:
        network: Its architecture, input and range.
        side_px: Of the squares that the data yields, in pixels.
        counts: Training images of each category.
        work_dir: For its checkpoint.
        data_sha256: Fingerprint of the labelled images.
        start: See `models.training.starts.fill`.
        category_ids: What its outputs mean.
        taxonomy_version: Of these.
        augmentation: Name of the way in which training images are changed, if there are several.
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
        """Return what must be the same for a checkpoint to be gone on with.

        Learning rates, numbers of epochs and images a step are not among it: a training whose loss became no number, or
        that did not fit the memory, goes on with other ones.
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
    """Return what names a start by its content, so that it may be moved; a release by its manifest."""
    for path in (Path(start) / MANIFEST, Path(start)):
        if start not in (NOTHING, IMAGENET) and path.is_file():
            return f"SHA-256 {sha256_of(path)}"
    return start

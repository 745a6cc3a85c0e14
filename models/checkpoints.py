"""What a training leaves after every epoch: one file with everything, there whole or not at all."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Sequence[NDArray[Any]]


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        epochs: Finished ones.
        head_epochs: How many of these trained the head alone.
        best_epoch: The one whose weights are kept, from 1.
        best_loss: Its loss on held-out data.
        history: One entry an epoch: `loss`, `accuracy`, `val_loss`, `val_accuracy`, `seconds`.
        finished: Whether nothing is left to do.
    """

    epochs: int = 0
    head_epochs: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    history: list[dict[str, float]] = field(default_factory=list)
    finished: bool = False


@dataclass
class Checkpoint:
    """A training between two epochs: its progress, and the weights now, of the best epoch, and of the optimizer."""

    progress: Progress
    weights: Arrays
    best: Arrays
    optimizer: Arrays

    def save(self, path: Path) -> None:
        """Write it in the place of the former one, in one step; a full disk leaves the former one as it is."""
        scratch = path.with_name(f".{path.name}.tmp")
        parts = {"weights": self.weights, "best": self.best, "optimizer": self.optimizer}
        arrays = {f"{name}{i}": array for name, part in parts.items() for i, array in enumerate(part)}
        try:
            with scratch.open("wb") as file:
                np.savez(file, progress=np.array(json.dumps(asdict(self.progress))), **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)


def load(path: Path) -> Checkpoint | None:
    """Return the checkpoint at a path, or None if there is none.

    Raises:
        ValueError: If it cannot be read; says to delete it.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as held:
            parts: dict[str, list[NDArray[Any]]] = {}
            for name in ("weights", "best", "optimizer"):
                count = sum(key.startswith(name) for key in held.files)
                parts[name] = [held[f"{name}{i}"] for i in range(count)]
            return Checkpoint(Progress(**json.loads(str(held["progress"]))), **parts)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it to train from the start") from error

"""Save and load the checkpoint of a training after every epoch, and lock the work directory that contains it.

Reads and writes `checkpoint.npz` in the work directory of a task, and locks that directory.
"""

from __future__ import annotations

import fcntl
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training.recipe import CHECKPOINT, Recipe, Task, TrainingFailed
from models.whole_files import in_place_of, remove_left_behind

Arrays = Sequence[NDArray[Any]]

LONGEST_SHOWN = 100
"""Characters up to which a message shows the two values in which tasks differ."""


@dataclass
class Progress:
    """What a checkpoint stores beside the weights: the finished epochs, their losses and the recipes used.

    Attributes:
        task: `Task.description` of the training.
        epochs: Number of finished epochs.
        head_epochs: How many of these trained only the head.
        best_epoch: Epoch with the lowest held-out loss, from 1; its weights are kept.
        best_loss: Held-out loss of that epoch.
        history: One entry per epoch: `loss`, `accuracy`, `val_loss`, `val_accuracy`, `seconds`.
        finished: Whether no epoch is left to train.
        recipes: Every recipe that was used, in order: `from_epoch`, from 1, and `recipe`.
    """

    task: dict[str, Any]
    epochs: int = 0
    head_epochs: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    history: list[dict[str, float]] = field(default_factory=list)
    finished: bool = False
    recipes: list[dict[str, Any]] = field(default_factory=list)

    def add_recipe(self, recipe: Recipe) -> None:
        """Record the recipe of the next epoch if it differs from the last recorded one."""
        used = asdict(recipe)
        if not self.recipes or self.recipes[-1]["recipe"] != used:
            self.recipes.append({"from_epoch": self.epochs + 1, "recipe": used})

    def training_metadata(self, recipe: Recipe) -> dict[str, Any]:
        """Return the metadata about the training that a release stores.

        Args:
            recipe: Recipe of this call; used if no epoch was trained.

        Returns:
            `recipe` (the last one, as JSON), `best_epoch`, `history`, and `recipes` if there were several.
        """
        used = self.recipes or [{"from_epoch": 1, "recipe": asdict(recipe)}]
        history = [{name: round(value, 4) for name, value in epoch.items()} for epoch in self.history]
        metadata = {"recipe": json.dumps(used[-1]["recipe"]), "best_epoch": self.best_epoch, "history": history}
        if [entry["from_epoch"] for entry in used] != [1]:
            metadata["recipes"] = json.dumps(used)
        return metadata


@dataclass
class Checkpoint:
    """Checkpoint of a training: its state between two epochs.

    Attributes:
        progress: Finished epochs, their history and recipes.
        weights: Weights of the network after the last epoch.
        best: Weights of the network after the best epoch.
        optimizer: Variables of the optimizer.
    """

    progress: Progress
    weights: Arrays
    best: Arrays
    optimizer: Arrays

    def save(self, path: Path) -> None:
        """Replace the former checkpoint in one step; if the disk is full, the former one is kept."""
        parts = {"weights": self.weights, "best": self.best, "optimizer": self.optimizer}
        arrays: dict[str, Any] = {f"{name}{i}": array for name, part in parts.items() for i, array in enumerate(part)}
        remove_left_behind(path)  # of a training that was killed while writing; `locked` keeps other writers out
        with in_place_of(path) as scratch, scratch.open("wb") as file:
            np.savez(file, progress=np.array(json.dumps(asdict(self.progress))), **arrays)


@contextmanager
def locked(work_dir: Path) -> Iterator[None]:
    """Lock a training's work directory, with its checkpoint, against other processes on this machine.

    The locked file is beside the directory, because the directory may be removed meanwhile. The operating system
    releases the lock when the process ends, even if it is killed.

    Args:
        work_dir: The work directory; need not exist.

    Raises:
        TrainingFailed: If another process holds the lock; nothing was changed. Stop it or wait until it ends.
    """
    work_dir.parent.mkdir(parents=True, exist_ok=True)
    path = work_dir.with_name(f".{work_dir.name}.lock")
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # If they differ, another process has removed the file and made a new one since this one opened it.
            held = os.path.samestat(os.fstat(lock.fileno()), path.stat())
        except (BlockingIOError, FileNotFoundError):
            held = False
        if not held:
            raise TrainingFailed(
                f"another process trains in {work_dir}; stop it or wait until it ends, and run the same command"
            )
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


class AnotherTask(ValueError):
    """Raised when a checkpoint belongs to a different training: other data, categories, network or seed."""


def matching_checkpoint(task: Task, recipe: Recipe) -> Checkpoint | None:
    """Return the checkpoint in the work directory of a task, from which its training can resume.

    Args:
        task: Task that is trained.
        recipe: Recipe of this call.

    Returns:
        The checkpoint; None if there is none.

    Raises:
        AnotherTask: If it belongs to a different task; the message names the difference. Delete the directory to begin
            again.
        ValueError: If it cannot be read; delete it.
    """
    checkpoint = load(task.work_dir / CHECKPOINT)
    if checkpoint is None:
        return None
    for name, now in task.description(recipe).items():
        before = checkpoint.progress.task.get(name)
        if before != now:
            differs = f" ({before}, now {now})" if len(f"{before}{now}") < LONGEST_SHOWN else ""
            raise AnotherTask(
                f"the training in {task.work_dir} was begun with another {name}{differs}; delete that directory to "
                "begin again"
            )
    return checkpoint


def load(path: Path) -> Checkpoint | None:
    """Read the checkpoint in a file; return None if there is none.

    Raises:
        ValueError: If it cannot be read; delete it to train from the start.
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

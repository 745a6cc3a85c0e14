"""What a training leaves after every epoch: one file with everything, there whole or not at all."""

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

LONGEST_TOLD = 100
"""Characters of a difference between two tasks that is shown."""


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        task: What is learned, as `Task.description` says.
        epochs: Finished ones.
        head_epochs: How many of these trained the head alone.
        best_epoch: The one whose weights are kept, from 1.
        best_loss: Its loss on held-out data.
        history: One entry an epoch: `loss`, `accuracy`, `val_loss`, `val_accuracy`, `seconds`.
        finished: Whether nothing is left to do.
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

    def note(self, recipe: Recipe) -> None:
        """Keep the recipe of the epoch that comes next, if it is another one than before."""
        used = asdict(recipe)
        if not self.recipes or self.recipes[-1]["recipe"] != used:
            self.recipes.append({"from_epoch": self.epochs + 1, "recipe": used})

    def told(self, recipe: Recipe) -> dict[str, Any]:
        """Return what a release tells of how it was trained; without any epoch, the call's recipe."""
        used = self.recipes or [{"from_epoch": 1, "recipe": asdict(recipe)}]
        history = [{name: round(value, 4) for name, value in epoch.items()} for epoch in self.history]
        told = {"recipe": json.dumps(used[-1]["recipe"]), "best_epoch": self.best_epoch, "history": history}
        if [one["from_epoch"] for one in used] != [1]:
            told["recipes"] = json.dumps(used)
        return told


@dataclass
class Checkpoint:
    """A training between two epochs: its progress, and the weights now, of the best epoch, and of the optimizer."""

    progress: Progress
    weights: Arrays
    best: Arrays
    optimizer: Arrays

    def save(self, path: Path) -> None:
        """Write it in the place of the former one, in one step; a full disk leaves the former one as it is."""
        parts = {"weights": self.weights, "best": self.best, "optimizer": self.optimizer}
        arrays = {f"{name}{i}": array for name, part in parts.items() for i, array in enumerate(part)}
        remove_left_behind(path)  # of a training that was killed as it wrote one; this one is alone, see below
        with in_place_of(path) as scratch, scratch.open("wb") as file:
            np.savez(file, progress=np.array(json.dumps(asdict(self.progress))), **arrays)


@contextmanager
def alone(work_dir: Path) -> Iterator[None]:
    """Keep other processes of this machine out of a training's work directory for the length of a block.

    The lock is on a file beside the directory, which may be removed meanwhile; it goes with its process, however that
    ends.

    Raises:
        TrainingFailed: If another process is in it; nothing was touched.
    """
    work_dir.parent.mkdir(parents=True, exist_ok=True)
    path = work_dir.with_name(f".{work_dir.name}.lock")
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            own = os.path.samestat(os.fstat(lock.fileno()), path.stat())  # else it was just removed, and made anew
        except (BlockingIOError, FileNotFoundError):
            own = False
        if not own:
            raise TrainingFailed(
                f"another process trains in {work_dir}; stop it or wait until it ends, and run the same command"
            )
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


class AnotherTask(ValueError):
    """A checkpoint of a training that had something else to learn."""


def own_checkpoint(task: Task, recipe: Recipe) -> Checkpoint | None:
    """Return the checkpoint in a training's work directory, if there is one that it may go on with.

    Raises:
        AnotherTask: If it was made for another task; says what differs.
        ValueError: If it cannot be read; says to delete it.
    """
    held = load(task.work_dir / CHECKPOINT)
    if held is None:
        return None
    for name, now in task.description(recipe).items():
        before = held.progress.task.get(name)
        if before != now:
            differs = f" ({before}, now {now})" if len(f"{before}{now}") < LONGEST_TOLD else ""
            raise AnotherTask(
                f"the training in {task.work_dir} was begun with another {name}{differs}; delete that directory to "
                "begin again"
            )
    return held


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

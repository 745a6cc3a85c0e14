"""Train one network on any Keras backend: a head phase, then the unfrozen layers. Both phases can resume.

Needs only decoded squares and labels, neither Spark nor TensorFlow. `jobs.training.finetune` supplies these from the
dataset; `models.train_fashion_mnist` from arrays. Writes a checkpoint into the task's work directory after every epoch.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from models.networks.registry import architecture
from models.networks.weights import refresh
from models.serving.devices import device, half_precision
from models.serving.faults import fault_of
from models.training.checkpoints import Arrays, Checkpoint, Progress, matching_checkpoint
from models.training.phases import compiled, first_trained, weights_by_category
from models.training.recipe import CHECKPOINT, Batch, Recipe, Saved, Task, TrainingData, TrainingFailed, Watch

log = logging.getLogger(__name__)


def start_backend() -> None:
    """Start the backend and accelerators that the training loop will use, while the caller hides their messages."""
    keras.ops.zeros(1)


def train(
    task: Task,
    recipe: Recipe,
    data: TrainingData,
    *,
    start: Callable[[Any], None],
    watch: Watch | None = None,
    saved: Saved | None = None,
) -> tuple[Any, Progress]:
    """Train a network epoch by epoch, from its start weights or from its checkpoint.

    Args:
        task: Network, categories, number of images and work directory.
        recipe: Epochs, learning rates and other settings of the training.
        data: Training and held-out squares.
        start: Fills the network with its start weights; not called if there is a checkpoint.
        watch: Called after each step.
        saved: Called after each checkpoint.

    Returns:
        The keras.Model to logits with the weights of its best epoch, in float32; and the progress with its history.

    Raises:
        TrainingFailed: If the loss is not finite, no image can be decoded, the batch does not fit the memory, or the
            checkpoint cannot be written. Earlier epochs are kept; the message names what to change.
        AnotherTask: If the checkpoint belongs to a different task; delete it to begin again.
        ValueError: If `unfreeze_from` names no layer; the message lists the blocks.
    """
    keras.utils.set_random_seed(recipe.seed)
    held = matching_checkpoint(task, recipe)
    half = half_precision(task.network.architecture) if recipe.mixed_precision else None
    if recipe.mixed_precision and not half:
        log.warning(
            "half precision gains nothing for %s on %s; it computes in float32",
            task.network.architecture,
            device().name,
        )
        recipe = replace(recipe, mixed_precision=False)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(half or "float32")
    try:
        network = _built(task, recipe.dropout)
        if held is None:
            start(network)
            held = Checkpoint(Progress(task.description(recipe)), network.get_weights(), network.get_weights(), [])
        else:
            network.set_weights(held.weights)
        held.progress.finished = _finished(held.progress, recipe)
        refresh(network)
        first_trained(network, recipe.unfreeze_from)
        if not held.progress.finished:
            log.info("%s is trained on %s, in %s", task.network.architecture, device().name, half or "float32")
            held = _epochs(task, recipe, data, network, held, watch, saved)
    finally:
        keras.config.set_dtype_policy(policy)
    model = _built(task, 0.0)
    model.set_weights(held.best)
    refresh(model)
    return model, held.progress


def refuse_start(task: Task, recipe: Recipe, *, start: Callable[[Any], None]) -> None:
    """Raise the errors that `train` would raise before its first epoch, without training.

    Called for all networks of a release first, so that none is trained for hours before an error of another appears.

    Args:
        task: As for `train`.
        recipe: As for `train`.
        start: As for `train`; not called if there is a checkpoint.
    """
    if matching_checkpoint(task, recipe) is None:
        network = _built(task, recipe.dropout)
        start(network)
        first_trained(network, recipe.unfreeze_from)


def _built(task: Task, dropout: float) -> Any:
    """Return the untrained network of a task."""
    return architecture(task.network.architecture).build(
        input_px=task.network.input_px, categories=len(task.counts), dropout=dropout
    )


def _epochs(
    task: Task,
    recipe: Recipe,
    data: TrainingData,
    network: Any,
    held: Checkpoint,
    watch: Watch | None,
    saved: Saved | None,
) -> Checkpoint:
    """Train the epochs that are left and save a checkpoint after each; return the last checkpoint."""
    whole: Any = None
    phase: bool | None = None
    progress, best = held.progress, held.best
    weights = weights_by_category(task.counts) if recipe.class_weights else None
    while not progress.finished:
        head = progress.epochs < recipe.head_epochs
        if phase != head:
            whole, phase = compiled(task, recipe, network, data.steps, head=head), head
            going_on = held.optimizer and (progress.head_epochs == progress.epochs) == head
            _restore(whole.optimizer, held.optimizer if going_on else [])
            # Counted in steps of this call, because another batch size changes the number of steps in an epoch.
            done = progress.epochs if head else progress.epochs - progress.head_epochs
            whole.optimizer.iterations.assign(done * data.steps)
            if head:  # the restored optimizer contains the former rate, which the caller may have lowered after a NaN
                whole.optimizer.learning_rate = recipe.head_learning_rate
        started = time.perf_counter()
        _reseed(network, recipe.seed, progress.epochs)
        try:
            figures = _one_epoch(whole, task, data, progress.epochs, weights, watch)
        except Exception as error:
            if fault_of(error) != "memory":
                raise
            raise TrainingFailed(
                f"{task.network.architecture} with so many images a step does not fit the memory; run the same command "
                f"with a smaller --batch-size: {_kept(progress.epochs, task)}"
            ) from error
        figures["seconds"] = round(time.perf_counter() - started, 3)
        number = progress.epochs + 1
        for name, loss in (("loss", figures["loss"]), ("held-out loss", figures.get("val_loss", 0.0))):
            if not math.isfinite(loss):
                raise TrainingFailed(
                    f"the {name} of {task.network.architecture} became {loss} in epoch {number}; lower the learning "
                    f"rate{' of the head' if head else ''} and run the same command: {_kept(progress.epochs, task)}"
                )
        progress.add_recipe(recipe)
        progress.history.append(figures)
        progress.epochs, progress.head_epochs = number, progress.head_epochs + head
        if figures["val_loss"] < progress.best_loss:
            progress.best_loss, progress.best_epoch, best = figures["val_loss"], number, network.get_weights()
        progress.finished = _finished(progress, recipe)
        optimizer = [np.asarray(variable) for variable in whole.optimizer.variables]
        held = Checkpoint(progress, network.get_weights(), best, optimizer)
        _save(held, task)
        if saved:
            saved(progress.history)
    return held


def _finished(progress: Progress, recipe: Recipe) -> bool:
    """Return whether no epoch is left; computed anew for a checkpoint, as a call may ask for more epochs."""
    waited = progress.epochs - max(progress.best_epoch, progress.head_epochs)
    in_head = progress.epochs == progress.head_epochs
    return progress.epochs >= recipe.head_epochs + recipe.epochs or (not in_head and waited >= recipe.patience)


def _reseed(network: Any, seed: int, epoch: int) -> None:
    """Seed the dropout layers for an epoch, so that a resumed training draws what an uninterrupted one draws.

    The state of their generators is not part of the weights, so a checkpoint does not contain it.
    """
    weights = {id(weight) for weight in network.weights}
    states = [variable for variable in network.variables if id(variable) not in weights]
    for state, drawn in zip(states, np.random.SeedSequence((seed, epoch)).spawn(len(states)), strict=True):
        state.assign(np.array([drawn.generate_state(1)[0], 0], np.uint32))


def _restore(optimizer: Any, values: Arrays) -> None:
    """Set the variables of an optimizer from a checkpoint, if it has as many."""
    variables = optimizer.variables
    if len(values) == len(variables):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _one_epoch(
    whole: Any, task: Task, data: TrainingData, epoch: int, weights: NDArray[np.float32] | None, watch: Watch | None
) -> dict[str, float]:
    """Train one epoch and evaluate it on the held-out data; return the metrics.

    The held-out metrics are missing if the training loss is not finite.
    """
    categories = len(task.counts)

    failures: list[Exception] = []

    def ready(batches: Iterator[Batch], *, held_out: bool) -> Iterator[tuple[Any, ...]]:
        empty = True
        try:
            for images, labels in batches:
                targets = np.zeros((len(labels), categories), np.float32)
                targets[np.arange(len(labels)), labels] = 1.0
                counted = np.ones(len(labels), np.float32) if held_out or weights is None else weights[labels]
                yield images, targets, counted
                empty = False
            if empty:
                part = "held-out" if held_out else "training"
                raise TrainingFailed(f"none of the {part} images could be decoded; make them anew, and train again")
        except Exception as error:  # read in a thread of the backend, which raises an exception of its own for it
            failures.append(error)
            raise

    steps = data.steps

    class Watching(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
        """Calls `watch` after every step, and stops at the first loss that is not finite."""

        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            """Check the loss and call `watch`."""
            figures = {name: float(value) for name, value in (logs or {}).items()}
            if not math.isfinite(figures.get("loss", 0.0)):
                self.model.stop_training = True
            if watch:
                watch(epoch + 1, batch + 1, steps, figures)

    watching: Any = Watching()
    training = ready(data.batches(epoch), held_out=False)
    with _original_error(failures):
        done = whole.fit(training, steps_per_epoch=steps, epochs=1, verbose=0, shuffle=False, callbacks=[watching])
    figures = {name: float(values[-1]) for name, values in done.history.items()}
    if math.isfinite(figures["loss"]):
        with warnings.catch_warnings(), _original_error(failures):
            # Keras warns when the held-out data end, but it is not known how many of their images can be decoded.
            warnings.filterwarnings("ignore", message="Your input ran out of data")
            measured = whole.evaluate(ready(data.held_out(), held_out=True), verbose=0, return_dict=True)
        figures |= {f"val_{name}": float(value) for name, value in measured.items()}
    return figures


@contextmanager
def _original_error(failures: list[Exception]) -> Iterator[None]:
    """Raise the exception of the data instead of the one in which the backend wraps it."""
    try:
        yield
    except Exception:
        if failures:
            raise failures[0] from None
        raise


def _save(held: Checkpoint, task: Task) -> None:
    """Save a checkpoint; raise TrainingFailed with the remedy if it cannot be written."""
    try:
        held.save(task.work_dir / CHECKPOINT)
    except OSError as error:
        raise TrainingFailed(
            f"the checkpoint in {task.work_dir} cannot be written ({error.strerror}); free some space and run the same "
            f"command: {_kept(held.progress.epochs - 1, task)}"
        ) from error


def _kept(epochs: int, task: Task) -> str:
    """Return the end of a message: which epochs are kept, and where."""
    return f"the {epochs} epochs before are kept in {task.work_dir}" if epochs else "no epoch was finished yet"

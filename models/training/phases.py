"""What a phase of a training leaves alone, and the network compiled behind its input."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from models.networks.backbones import HEAD
from models.networks.inputs import network_input
from models.spec import NetworkSpec
from models.training.recipe import Recipe, Task


class NetworkInput(keras.layers.Layer):  # type: ignore[misc]  # keras ships no types
    """`models.networks.inputs.network_input` as the first layer: training feeds networks exactly as serving does."""

    def __init__(self, network: NetworkSpec) -> None:
        """Prepare the input of one network."""
        super().__init__(dtype="float32", trainable=False)
        self.network = network

    def call(self, images: Any) -> Any:
        """Give the network its size and range of a decoded batch."""
        return network_input(images, self.network)


def compiled(task: Task, recipe: Recipe, network: Any, steps: int, *, head: bool) -> Any:
    """Freeze what the phase leaves alone, and compile the network behind its input."""
    layers = network.layers
    first = len(layers) - 1 if head else first_trained(network, recipe.unfreeze_from)
    for position, layer in enumerate(layers):
        norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = position >= first and (recipe.train_norms or not norm)
    squares: Any = keras.Input((task.side_px, task.side_px, 3), dtype="uint8")
    feed: Any = NetworkInput(task.network)
    whole: Any = keras.Model(squares, network(feed(squares)))
    rate = recipe.head_learning_rate if head else learning_rate(recipe, steps)
    whole.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing),
        metrics=["accuracy"],
    )
    whole.optimizer.build(whole.trainable_variables)
    return whole


def learning_rate(recipe: Recipe, steps: int) -> Any:
    """Return the schedule after the head phase: up to its peak along a line, then down along a cosine to a hundredth.

    Args:
        recipe: Its peak, epochs and warm-up.
        steps: Of an epoch.
    """
    every = steps * max(recipe.epochs, 1)
    rising = round(every * recipe.warm_up)
    peak = recipe.learning_rate
    if not rising:
        return keras.optimizers.schedules.CosineDecay(peak, every, alpha=0.01)
    return keras.optimizers.schedules.CosineDecay(
        peak / 100, max(every - rising, 1), alpha=0.01, warmup_target=peak, warmup_steps=rising
    )


def first_trained(network: Any, name: str) -> int:
    """Return the place of the first layer of a name or block."""
    names = [layer.name for layer in network.layers]
    if not name:
        return 0
    exact = [place for place, one in enumerate(names) if one == name]
    of_block = [place for place, one in enumerate(names) if one.startswith(f"{name}_")]
    of_stage = [place for place, one in enumerate(names) if one.startswith(name)]  # block6 is block6a, block6b, ...
    for found in (exact, of_block, of_stage):
        if found:
            return found[0]
    blocks = sorted({one.split("_")[0] for one in names if one.startswith("block")})
    raise ValueError(f"{network.name} has no layer or block {name!r}; expected one of {', '.join(blocks)} or {HEAD}")


def weights_by_category(counts: tuple[int, ...]) -> NDArray[np.float32]:
    """Return how much an image of each category counts: inversely to how many there are; 1 on average over images."""
    present = np.asarray(counts, np.float64)
    return np.asarray(present.sum() / (np.count_nonzero(present) * np.maximum(present, 1)), np.float32)

"""Prepare the phases of a training: freeze layers, compile the network behind its input, schedule the learning rate."""

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
    """First layer of a training's compiled network, which prepares the input as serving does."""

    def __init__(self, network: NetworkSpec) -> None:
        """Make the layer for one network."""
        super().__init__(dtype="float32", trainable=False)
        self.network = network

    def call(self, images: Any) -> Any:
        """Convert a decoded batch to the input size and value range of the network."""
        return network_input(images, self.network)


def compiled(task: Task, recipe: Recipe, network: Any, steps: int, *, head: bool) -> Any:
    """Compile the network for a phase: freeze the layers that it does not train, and put the input layer before it.

    Args:
        task: Network and side of the squares.
        recipe: Learning rates, losses and layers to train.
        network: Keras model to logits; its layers become trainable or frozen.
        steps: Batches in an epoch.
        head: Whether this is the head phase, which trains only the last layer.

    Returns:
        A compiled keras.Model from uint8 (batch, side_px, side_px, 3) to logits.
    """
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
    """Return the learning rate schedule after the head phase: a linear warm-up, then a cosine down to 1 % of the peak.

    Args:
        recipe: Peak learning rate, number of epochs and share of warm-up steps.
        steps: Batches in an epoch.
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
    """Return the index of the first layer that a phase trains, given the name of a layer or a block.

    Args:
        network: Keras model.
        name: Name of a layer, a block (`block6a`) or a stage (`block6`); empty means the first layer.

    Raises:
        ValueError: If there is no such layer or block; the message lists the blocks.
    """
    names = [layer.name for layer in network.layers]
    if not name:
        return 0
    exact = [index for index, layer in enumerate(names) if layer == name]
    of_block = [index for index, layer in enumerate(names) if layer.startswith(f"{name}_")]
    of_stage = [index for index, layer in enumerate(names) if layer.startswith(name)]  # block6 is block6a, block6b, ...
    for indices in (exact, of_block, of_stage):
        if indices:
            return indices[0]
    blocks = sorted({layer.split("_")[0] for layer in names if layer.startswith("block")})
    raise ValueError(f"{network.name} has no layer or block {name!r}; expected one of {', '.join(blocks)} or {HEAD}")


def weights_by_category(counts: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the weight of an image of each category in the training loss.

    Args:
        counts: Number of training images of each category.

    Returns:
        float32 (categories,), inversely proportional to the counts; the average over all images is 1.
    """
    present = np.asarray(counts, np.float64)
    return np.asarray(present.sum() / (np.count_nonzero(present) * np.maximum(present, 1)), np.float32)

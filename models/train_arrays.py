"""Train one network from decoded arrays: on an accelerator, with neither Spark nor TensorFlow installed.

    KERAS_BACKEND=jax python -m models.train_arrays --arrays shop.npz --network xception --input-px 299 \
        --start-from xception.weights.h5 --work-dir training --output xception.weights.h5

Reads an .npz file with `squares` (uint8, count x side x side x 3, RGB), `labels` (indices), `held_out_squares` and
`held_out_labels`; writes the best epoch's weights, which every backend loads. The same command goes on after a kill.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from models.arrays import Arrays
from models.environment import prepare_environment
from models.recipe import NOTHING, Recipe, Task
from models.registry import ARCHITECTURES
from models.spec import NetworkSpec


def read_arrays(path: Path, *, batch_size: int, seed: int) -> Arrays:
    """Read the .npz file.

    Raises:
        ValueError: If an array is missing or of another shape; says which.
    """
    with np.load(path, allow_pickle=False) as held:
        found = {name: held[name] for name in held.files}
    for name in ("squares", "held_out_squares"):
        labels = found.get(name.replace("squares", "labels"))
        squares = found.get(name)
        if squares is None or labels is None or squares.dtype != np.uint8 or squares.shape[0] != len(labels):
            raise ValueError(f"{path} lacks {name}, uint8, with a label each; write all four arrays with numpy.savez")
    return Arrays(
        squares=found["squares"],
        labels=found["labels"],
        held_out_squares=found["held_out_squares"],
        held_out_labels=found["held_out_labels"],
        batch_size=batch_size,
        seed=seed,
    )


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arrays", type=Path, required=True)
    parser.add_argument("--network", choices=sorted(ARCHITECTURES), required=True)
    parser.add_argument("--input-px", type=int, required=True)
    parser.add_argument("--start-from", default=NOTHING, help="nothing, imagenet or a .weights.h5 file")
    parser.add_argument("--work-dir", type=Path, required=True, help="for the checkpoint")
    parser.add_argument("--output", type=Path, required=True, help="a .weights.h5 file")
    parser.add_argument("--unfreeze-from", default="")
    parser.add_argument("--head-epochs", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--mixed-precision", action="store_true")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    prepare_environment()
    from models.starts import fill
    from models.training import train

    fresh = options.start_from == NOTHING
    recipe = Recipe(
        head_epochs=0 if fresh else options.head_epochs,
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        unfreeze_from=options.unfreeze_from,
        train_norms=fresh,
        mixed_precision=options.mixed_precision,
        seed=options.seed,
    )
    data = read_arrays(options.arrays, batch_size=options.batch_size, seed=options.seed)
    network = NetworkSpec(options.network, options.input_px, options.output.name, "", 1.0)
    task = Task(network, data.squares.shape[1], tuple(np.bincount(data.labels).tolist()), options.work_dir)

    def start(model: Any) -> None:
        fill(model, network, options.start_from, category_ids=(), taxonomy_version="")

    def watch(epoch: int, step: int, steps: int, figures: dict[str, float]) -> None:
        if step == steps:
            sys.stderr.write(f"epoch {epoch}: {figures}\n")

    model, progress = train(task, recipe, data, start=start, watch=watch)
    model.save_weights(options.output)
    sys.stdout.write(
        f"{options.output}: best epoch {progress.best_epoch}, {progress.history[progress.best_epoch - 1]}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

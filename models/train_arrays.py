"""Train one network from decoded arrays, on a machine with an accelerator; needs neither Spark nor TensorFlow.

\b
Example:
  PYTHONPATH=CLONE KERAS_BACKEND=jax python -P -m models.train_arrays --arrays shop.npz --network xception \\
      --input-px 299 --start-from xception.weights.h5 --work-dir training --output xception.keras

CLONE is the clone's directory. With `-P` Python imports no file of the working directory in place of a library. What
must be installed is Keras 3 with one of its backends, NumPy, h5py, OpenCV and click 8.

Reads an .npz file with `squares` (uint8, count x side x side x 3, RGB), `labels` (category indices), `held_out_squares`
and `held_out_labels`, as `shelfwise export-arrays` writes it. Writes the network of the best epoch: a .keras file, from
which `shelfwise release import --ends-in logits` makes a release, or a .weights.h5 file. Every backend can read both.
Run the same command to resume a training that was killed.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
import numpy as np

from models.networks.registry import ARCHITECTURES, INPUT_PX
from models.networks.weights import save_weights
from models.options import HELP, SEED, recipe_options
from models.serving.environment import prepare_environment
from models.spec import NetworkSpec
from models.training.arrays import Arrays
from models.training.checkpoints import AnotherTask, locked
from models.training.recipe import NOTHING, Recipe, Task, TrainingFailed


@dataclass(frozen=True)
class Setup:
    """What a command line asks for.

    Attributes:
        arrays: The .npz file to read.
        network: Name of the architecture.
        input_px: Side of the square input, in pixels.
        start_from: Start weights; see `models.training.starts.load_start_weights`.
        work_dir: Directory for the checkpoint.
        output: The .keras or .weights.h5 file to write.
        batch_size: Images in one step.
        recipe: Epochs, learning rates and other settings.
    """

    arrays: Path
    network: str
    input_px: int
    start_from: str
    work_dir: Path
    output: Path
    batch_size: int
    recipe: Recipe


def read_arrays(path: Path, *, batch_size: int, seed: int) -> tuple[Arrays, tuple[str, ...], str, str]:
    """Read the decoded arrays to train on from their .npz file.

    Args:
        path: File as `shelfwise export-arrays` writes it.
        batch_size: Images in one step.
        seed: Random seed of order and augmentation.

    Returns:
        The arrays; and, if the file contains them, the category_ids of its labels, the version of their taxonomy, and
        the SHA-256 of the labelled products from which it was exported. Missing ones are empty.

    Raises:
        ValueError: If the file cannot be read, or an array is missing or of another shape; the message names it.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read ({error}); write it with `shelfwise export-arrays`") from error
    ids = tuple(map(str, arrays.get("category_ids", ())))
    for name in ("squares", "held_out_squares"):
        labels = arrays.get(name.replace("squares", "labels"))
        squares = arrays.get(name)
        if squares is None or labels is None or squares.dtype != np.uint8 or squares.shape[0] != len(labels):
            raise ValueError(f"{path} lacks {name}, uint8, with a label each; write all four arrays with numpy.savez")
        side_px = arrays["squares"].shape[1]
        if squares.shape[1:] != (side_px, side_px, 3) or not len(squares):
            raise ValueError(
                f"{path} holds {name} of shape {squares.shape}; expected (count, {side_px}, {side_px}, 3), at least one"
            )
        if labels.dtype.kind not in "iu" or labels.min() < 0 or (ids and labels.max() >= len(ids)):
            raise ValueError(
                f"{path}: the labels of {name} go from {labels.min()} to {labels.max()}, of {labels.dtype}; expected "
                f"whole numbers from 0 to {len(ids) - 1 if ids else 'one less than there are categories'}"
            )
    data = Arrays(
        squares=arrays["squares"],
        labels=arrays["labels"],
        held_out_squares=arrays["held_out_squares"],
        held_out_labels=arrays["held_out_labels"],
        batch_size=batch_size,
        seed=seed,
    )
    return data, ids, str(arrays.get("taxonomy_version", "")), str(arrays.get("data_sha256", ""))


@click.command(help=__doc__, context_settings=HELP)
@click.option("--arrays", type=click.Path(path_type=Path), required=True, help="The .npz file to read.")
@click.option("--network", type=click.Choice(sorted(ARCHITECTURES)), required=True, help="Architecture to train.")
@click.option("--input-px", type=click.IntRange(1), required=True, help="Side of the square input, in pixels.")
@click.option(
    "--start-from",
    default=NOTHING,
    show_default=True,
    help="Start weights: nothing (random weights), imagenet, a .weights.h5 file or a release's directory.",
)
@click.option("--work-dir", type=click.Path(path_type=Path), required=True, help="Directory for the checkpoint.")
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="The .keras or .weights.h5 file to write."
)
@click.option(
    "--unfreeze-from", default="", help="First layer or block that is trained after the head epochs; by default all."
)
@recipe_options
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Images in one step.")
@click.option("--seed", type=SEED, default=7, show_default=True, help="Seed of all random numbers.")
def main(**options: Any) -> None:
    """Train one network from an .npz file; exit with 2 if options contradict each other, with 1 if it fails."""
    setup = _setup(options)
    prepare_environment()
    try:
        with locked(setup.work_dir):
            best = _run(setup)
    except AnotherTask as error:
        raise click.ClickException(f"{error}, or choose another --work-dir") from error
    except (TrainingFailed, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{setup.output}: {best}")


def _setup(options: Mapping[str, Any]) -> Setup:
    """Return what parsed options ask for.

    Raises:
        click.UsageError: If the options contradict each other; the message says which to change.
    """
    output, network, from_nothing = options["output"], options["network"], options["start_from"] == NOTHING
    if not output.name.endswith((".keras", ".weights.h5")):
        raise click.UsageError(f"--output {output} must end in .keras or .weights.h5")
    if from_nothing and (options["head_epochs"] or options["unfreeze_from"]):
        raise click.UsageError("what starts from nothing is trained whole; leave --head-epochs and --unfreeze-from out")
    smallest = INPUT_PX[network][0]
    if options["input_px"] < smallest:
        raise click.UsageError(f"{network} takes inputs of at least {smallest} px; raise --input-px")
    head_epochs = options["head_epochs"]
    if head_epochs is None:
        head_epochs = 0 if from_nothing else Recipe.head_epochs
    if not head_epochs + options["epochs"]:
        raise click.UsageError("with 0 epochs nothing is trained; raise --epochs")
    of_recipe = {field.name for field in fields(Recipe)}
    recipe = {name: value for name, value in options.items() if name in of_recipe}
    others = {name: value for name, value in options.items() if name not in of_recipe}
    return Setup(**others, recipe=Recipe(**{**recipe, "head_epochs": head_epochs, "train_norms": from_nothing}))


def _run(setup: Setup) -> str:
    """Train the network and save it; return a text with the metrics of the best epoch."""
    from models.training.loop import train  # imports Keras, so only after `main` has set the environment
    from models.training.starts import load_start_weights, range_of

    data, ids, version, exported_from = read_arrays(setup.arrays, batch_size=setup.batch_size, seed=setup.recipe.seed)
    side_px = data.squares.shape[1]
    if side_px != setup.input_px:  # serving resizes the image itself, never a square of another size
        raise ValueError(
            f"{setup.arrays} holds squares of {side_px} px and the network's input is {setup.input_px} px; write "
            f"them with `shelfwise export-arrays --side-px {setup.input_px}`"
        )
    categories = len(ids) or int(max(np.max(data.labels), np.max(data.held_out_labels))) + 1
    counts = tuple(np.bincount(data.labels, minlength=categories).tolist())
    values = range_of(setup.start_from, setup.network)
    network = NetworkSpec(setup.network, setup.input_px, setup.output.name, "", 1.0, values)
    task = Task(
        network,
        side_px,
        counts,
        setup.work_dir,
        data_sha256=data.sha256(),
        start=setup.start_from,
        category_ids=ids,
        taxonomy_version=version,
    )

    def start(model: Any) -> None:
        load_start_weights(model, network, setup.start_from, category_ids=ids, taxonomy_version=version)

    def watch(epoch: int, step: int, steps: int, figures: dict[str, float]) -> None:
        if step == steps:
            sys.stderr.write(f"epoch {epoch}: {figures}\n")

    model, progress = train(task, setup.recipe, data, start=start, watch=watch)
    try:
        setup.output.parent.mkdir(parents=True, exist_ok=True)
        learned = {"train_images": len(data.labels), "data_sha256": exported_from}
        save_weights(model, setup.output, origin=learned if exported_from else None)
    except OSError as error:
        raise TrainingFailed(
            f"{setup.output} cannot be written ({error.strerror or error}); free some space and run the same "
            f"command: what was trained is kept in {setup.work_dir}"
        ) from error
    return f"best epoch {progress.best_epoch}, {progress.history[progress.best_epoch - 1]}"


if __name__ == "__main__":
    main()

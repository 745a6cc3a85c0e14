"""Train one network from decoded arrays, on a machine with an accelerator; needs neither Spark nor TensorFlow.

    PYTHONPATH=CLONE KERAS_BACKEND=jax python -P -m models.train_arrays --arrays shop.npz --network xception \
        --input-px 299 --start-from xception.weights.h5 --work-dir training --output xception.keras

CLONE is the clone's directory. With `-P` Python imports no file of the working directory in place of a library.

Reads an .npz file with `squares` (uint8, count x side x side x 3, RGB), `labels` (category indices), `held_out_squares`
and `held_out_labels`, as `shelfwise export-arrays` writes it. Writes the network of the best epoch: a .keras file, from
which `shelfwise release import --ends-in logits` makes a release, or a .weights.h5 file. Every backend can read both.
Run the same command to resume a training that was killed.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from models.networks.registry import ARCHITECTURES, INPUT_PX
from models.networks.weights import save_weights
from models.serving.environment import prepare_environment
from models.spec import NetworkSpec
from models.training.arrays import Arrays
from models.training.checkpoints import AnotherTask, alone
from models.training.number_options import MOST_SEED, rate, share, whole
from models.training.recipe import NOTHING, Recipe, Task, TrainingFailed


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Train one network from an .npz file of arrays, with the options of the command line."""
    options = _options(arguments)
    prepare_environment()
    try:
        with alone(options.work_dir):
            best = _run(options)
    except AnotherTask as error:
        sys.stderr.write(f"{error}, or choose another --work-dir\n")
        return 1
    except (TrainingFailed, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{options.output}: {best}\n")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; exit with 2 and one sentence if the options contradict each other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arrays", type=Path, required=True, help="the .npz file to read")
    parser.add_argument("--network", choices=sorted(ARCHITECTURES), required=True, help="architecture to train")
    parser.add_argument("--input-px", type=whole(1), required=True, help="side of the square input, in pixels")
    parser.add_argument(
        "--start-from",
        default=NOTHING,
        help="start weights: nothing, imagenet, a .weights.h5 file or a release's directory; default nothing",
    )
    parser.add_argument("--work-dir", type=Path, required=True, help="directory for the checkpoint")
    parser.add_argument("--output", type=Path, required=True, help="the .keras or .weights.h5 file to write")
    parser.add_argument("--unfreeze-from", default="", help="first layer or block to train after the head; default all")
    parser.add_argument(
        "--head-epochs",
        type=whole(0),
        help="epochs that train only the head; default 2, or 0 if it starts from nothing",
    )
    parser.add_argument("--epochs", type=whole(0), default=8, help="most epochs after the head; default 8")
    parser.add_argument("--head-learning-rate", type=rate, default=1e-3, help="of the head epochs; default 0.001")
    parser.add_argument("--learning-rate", type=rate, default=1e-4, help="peak of the other epochs; default 0.0001")
    parser.add_argument(
        "--warm-up", type=share, default=0.0, help="share of the steps that warm up, in [0, 1); default 0"
    )
    parser.add_argument("--label-smoothing", type=share, default=0.0, help="share, in [0, 1); default 0")
    parser.add_argument(
        "--class-weights",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="let rare categories count as much in sum as others",
    )
    parser.add_argument("--patience", type=whole(1), default=3, help="epochs without improvement; default 3")
    parser.add_argument("--batch-size", type=whole(1), default=32, help="images in one step; default 32")
    parser.add_argument("--mixed-precision", action="store_true", help="use half precision if it is faster")
    parser.add_argument("--seed", type=whole(0, MOST_SEED), default=7, help="random seed; default 7")
    options = parser.parse_args(arguments)
    if not options.output.name.endswith((".keras", ".weights.h5")):
        parser.error(f"--output {options.output} must end in .keras or .weights.h5")
    if options.start_from == NOTHING and (options.head_epochs or options.unfreeze_from):
        parser.error("what starts from nothing is trained whole; leave --head-epochs and --unfreeze-from out")
    if options.head_epochs is None:
        options.head_epochs = 0 if options.start_from == NOTHING else 2
    if not options.head_epochs + options.epochs:
        parser.error("with 0 epochs nothing is trained; raise --epochs")
    smallest = INPUT_PX[options.network][0]
    if options.input_px < smallest:
        parser.error(f"{options.network} takes inputs of at least {smallest} px; raise --input-px")
    return options


def _run(options: argparse.Namespace) -> str:
    """Train the network and save it; return a text with the metrics of the best epoch."""
    from models.training.loop import train  # imports Keras, so only after `main` has set the environment
    from models.training.starts import fill, range_of

    names = {field.name for field in fields(Recipe)}
    recipe = Recipe(**{name: value for name, value in vars(options).items() if name in names})
    if options.start_from == NOTHING:
        recipe = replace(recipe, train_norms=True)
    data, ids, version, exported_from = read_arrays(options.arrays, batch_size=options.batch_size, seed=options.seed)
    side_px = data.squares.shape[1]
    if side_px != options.input_px:  # serving resizes the image itself, never a square of another size
        raise ValueError(
            f"{options.arrays} holds squares of {side_px} px and the network's input is {options.input_px} px; write "
            f"them with `shelfwise export-arrays --side-px {options.input_px}`"
        )
    categories = len(ids) or int(max(data.labels.max(), data.held_out_labels.max())) + 1
    counts = tuple(np.bincount(data.labels, minlength=categories).tolist())
    values = range_of(options.start_from, options.network)
    network = NetworkSpec(options.network, options.input_px, options.output.name, "", 1.0, values)
    task = Task(
        network,
        side_px,
        counts,
        options.work_dir,
        data_sha256=data.sha256(),
        start=options.start_from,
        category_ids=ids,
        taxonomy_version=version,
    )

    def start(model: Any) -> None:
        fill(model, network, options.start_from, category_ids=ids, taxonomy_version=version)

    def watch(epoch: int, step: int, steps: int, figures: dict[str, float]) -> None:
        if step == steps:
            sys.stderr.write(f"epoch {epoch}: {figures}\n")

    model, progress = train(task, recipe, data, start=start, watch=watch)
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        learned = {"train_images": len(data.labels), "data_sha256": exported_from}
        save_weights(model, options.output, origin=learned if exported_from else None)
    except OSError as error:
        raise TrainingFailed(
            f"{options.output} cannot be written ({error.strerror or error}); free some space and run the same "
            f"command: what was trained is kept in {options.work_dir}"
        ) from error
    return f"best epoch {progress.best_epoch}, {progress.history[progress.best_epoch - 1]}"


if __name__ == "__main__":
    sys.exit(main())

"""Train the shipped release on the 60,000 training articles of Fashion-MNIST, or train an earlier release further.

\b
Example:
  python -P -m models.train_fashion_mnist --release-id articles-1 --work-dir /tmp/training \\
      --start-from xception=xception_imagenet_notop.weights.h5 --output /tmp/articles-1
  KERAS_BACKEND=jax python -P -m models.train_fashion_mnist --release-id articles-2 --work-dir /tmp/training-2 \\
      --start-from models/releases/fashion-mnist-6 --epochs 20 --output /tmp/articles-2

The model card of the shipped release contains the command that made it; `models.lite0` makes the start weights of its
EfficientNetB0. With `-P` Python imports no file of the working directory in place of a library; if the clone is not
installed, PYTHONPATH must contain it.

Runs on any Keras backend, without Spark; needs NumPy, SciPy, h5py, OpenCV and click beside Keras. Every epoch writes a
checkpoint into the work directory, and the same command resumes from the last one. Calls with `--network` can train the
networks in parallel in one work directory; a call without it then makes the release. `--as-trained` makes one of
networks that are trained already. The last 5,000 training articles
are held out: the best epoch, the networks' shares, the temperature and the thresholds are chosen on these. The official
test articles are used only after all choices, for the metrics in release.json. Some of the learned articles describe
which images the release knows.
"""

from __future__ import annotations

import json
import logging
import shlex
import sys
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np

from models import fashion_mnist
from models.finished_fashion_mnist import LabelledArticles, finished
from models.networks.registry import architecture
from models.networks.weights import average, save_half
from models.options import HELP, RATE, SEED, SHARE, PerNetwork, per_network, value_of
from models.program import program_version
from models.release import MANIFEST, Release, load_release, save_release, sha256_of
from models.serving.environment import prepare_environment
from models.serving.predictor import EnsemblePredictor
from models.spec import NetworkSpec
from models.training.arrays import Arrays
from models.training.augmentation import augment_article, augment_article_lightly
from models.training.checkpoints import AnotherTask, locked
from models.training.recipe import NOTHING, Recipe, Task, TrainingFailed
from models.training.starts import load_start_weights, range_of

log = logging.getLogger("models.train_fashion_mnist")

TAXONOMY = "fashion-mnist"
HELD_OUT = 5_000
ONE_CYCLE = Recipe(head_epochs=0, warm_up=0.15, train_norms=True)
"""Recipe that also trains BatchNorm.

55,000 articles on black are enough for its statistics, and differ from the photographs of all start weights.
"""


@dataclass(frozen=True)
class Plan:
    """Default training of one network of the shipped release.

    Attributes:
        input_px: Side of the square input, in pixels.
        recipe: Epochs, learning rate and other settings.
        batch_size: Images in one step.
    """

    input_px: int
    recipe: Recipe
    batch_size: int


PLANS = {
    "efficientnetb0": Plan(56, replace(ONE_CYCLE, epochs=20, learning_rate=2e-3), 128),
    "xception": Plan(71, replace(ONE_CYCLE, epochs=10, learning_rate=5e-4, unfreeze_from="block5_sepconv1_act"), 64),
}
AUGMENTATIONS = {"full": augment_article, "light": augment_article_lightly}
DECODE_PX = max(plan.input_px for plan in PLANS.values())


@dataclass(frozen=True)
class Options:
    """The parsed command line; see the help of each option."""

    work_dir: Path
    output: Path
    release_id: str
    network: tuple[str, ...]
    as_trained: bool
    start_from: PerNetwork[str]
    epochs: PerNetwork[int]
    learning_rate: PerNetwork[float]
    label_smoothing: PerNetwork[float]
    unfreeze_from: PerNetwork[str]
    augmentation: PerNetwork[str]
    start_share: PerNetwork[float]
    mixed_precision: bool
    seed: int
    limit: int


@click.command(help=__doc__, context_settings=HELP)
@click.option(
    "--work-dir",
    type=click.Path(path_type=Path),
    required=True,
    help="Directory for checkpoints and the unpacked data set.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Directory of the new release; must not exist."
)
@click.option("--release-id", required=True, help="Name of the new release.")
@per_network(
    PLANS, "--start-from", click.STRING, "Start weights: nothing (the default), a .weights.h5 file or a release."
)
@click.option(
    "--network",
    type=click.Choice(list(PLANS)),
    multiple=True,
    help="Train only this network; the others are taken from --start-from. Repeatable. By default all are trained.",
)
@click.option(
    "--as-trained",
    is_flag=True,
    help="Train nothing: take both networks from --start-from, calibrate them and describe what they know.",
)
@per_network(PLANS, "--epochs", click.IntRange(1), "Epochs, at least 1.")
@per_network(PLANS, "--learning-rate", RATE, "Peak learning rate.")
@per_network(
    PLANS, "--label-smoothing", SHARE, "Share of each label that is spread evenly over all categories, in [0, 1)."
)
@per_network(PLANS, "--unfreeze-from", click.STRING, "First layer or block that is trained.")
@per_network(
    PLANS,
    "--augmentation",
    click.Choice(list(AUGMENTATIONS)),
    "full, the default, or light, which is for the last epochs.",
)
@per_network(PLANS, "--start-share", SHARE, "Share of the start weights in the final average, in [0, 1); by default 0.")
@click.option("--mixed-precision", is_flag=True, help="Compute in half precision if that is faster.")
@click.option("--seed", type=SEED, default=7, show_default=True, help="Seed of all random numbers.")
@click.option(
    "--limit", type=click.IntRange(0), default=0, show_default="0: all", help="Number of articles to train on."
)
def main(**parsed: Any) -> None:
    """Train and write the release; exit with 2 if the options contradict each other, and with 1 if it fails."""
    prepare_environment()
    options = _checked(Options(**parsed))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        release = run(options, command=shlex.join(["python", "-m", "models.train_fashion_mnist", *sys.argv[1:]]))
    except AnotherTask as error:
        raise click.ClickException(f"{error}, or choose another --work-dir") from error
    except OSError as error:
        remedy = f"free some space and run the same command: what was trained is kept in {options.work_dir}"
        raise click.ClickException(f"{options.output} could not be made ({error}); {remedy}") from error
    except (TrainingFailed, ValueError) as error:
        raise click.ClickException(str(error)) from error
    log.info("wrote %s: %s", options.output, json.dumps(release.metrics))


def _checked(options: Options) -> Options:
    """Return the options, with all networks if none is named.

    Raises:
        click.UsageError: If the options contradict each other; the message says which to change.
    """
    if options.output.exists():
        raise click.UsageError(
            f"{options.output} is there already and a release is never changed; choose another --output"
        )
    if options.as_trained and options.network:
        raise click.UsageError("--as-trained trains nothing and --network names what is trained; leave one out")
    trained = () if options.as_trained else options.network or tuple(PLANS)
    for name in PLANS:
        start = _start(options, name)
        if name not in trained:
            if not (Path(start) / MANIFEST).is_file():
                raise click.UsageError(f"{name} is not trained, so --start-from must name a release that has it")
        elif start == NOTHING and value_of(options.unfreeze_from, name, ""):
            raise click.UsageError(f"{name} starts from nothing and is trained whole; leave --unfreeze-from out for it")
        elif start == NOTHING and value_of(options.start_share, name, 0.0):
            raise click.UsageError(
                f"{name} starts from nothing, of which no share can be averaged in; leave --start-share out"
            )
    return replace(options, network=trained)


def run(options: Options, *, command: str) -> Release:
    """Train the chosen networks, calibrate on held-out articles, measure on test articles, and write the release.

    Args:
        options: The command line, parsed and checked.
        command: The command line, for the metadata in release.json.

    Returns:
        The written release.
    """
    options.work_dir.mkdir(parents=True, exist_ok=True)
    squares, labels, fingerprint = fashion_mnist.squares("train", cache_dir=options.work_dir)
    kept = min(options.limit or len(squares), len(squares) - HELD_OUT)
    held = slice(len(squares) - HELD_OUT, None)
    data = Arrays(
        squares[:kept],
        labels[:kept],
        squares[held],
        labels[held],
        seed=options.seed,
        side_px=DECODE_PX,
    )
    metadata: dict[str, Any] = {
        "command": command,
        "made_at_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "data_pixels_sha256": fingerprint,
        "articles": kept,
        "held_out_articles": HELD_OUT,
        "seed": options.seed,
    }
    networks, weights = [], {}
    for name in PLANS:
        network, weights[name], details = _network(name, data, options)
        networks.append(replace(network, weights_sha256=sha256_of(weights[name]), ensemble_weight=1 / len(PLANS)))
        metadata |= {f"{name}_{key}": value for key, value in details.items()}
    draft = Release(
        options.release_id,
        TAXONOMY,
        fashion_mnist.CATEGORIES,
        tuple(networks),
        1.0,
        training=metadata,
        code_version=program_version(),
    )
    with tempfile.TemporaryDirectory(dir=options.work_dir, prefix=".") as scratch:
        save_release(draft, Path(scratch, "draft"), weights=weights)
        predictor = EnsemblePredictor(draft, Path(scratch, "draft"))
        held_out = LabelledArticles(squares[held], labels[held])
        tested, truth, _ = fashion_mnist.squares("t10k", cache_dir=options.work_dir)
        release, documents = finished(
            draft, predictor, learned=squares[:kept], held_out=held_out, tested=LabelledArticles(tested, truth)
        )
    save_release(release, options.output, weights=weights, documents=documents)
    return release


def _network(name: str, data: Arrays, options: Options) -> tuple[NetworkSpec, Path, dict[str, Any]]:
    """Train a network, or take it from the release from which it starts.

    Returns:
        The specification of the network, its weights file in float16 if that is possible, and the metadata of its
        training.
    """
    from models.training.loop import train  # imports Keras, so only after `main` has set the environment

    start, plan = _start(options, name), PLANS[name]
    if name not in options.network:
        release = load_release(Path(start))
        network = next((each for each in release.networks if each.architecture == name), None)
        if network is None or release.taxonomy_version != TAXONOMY:
            raise ValueError(
                f"release {release.release_id} has no {name} of {TAXONOMY}; train it with --network {name}"
            )
        before = {key: value for key, value in release.training.items() if key.startswith(f"{name}_")}
        metadata = {key.removeprefix(f"{name}_"): value for key, value in before.items()}
        return network, Path(start, network.weights_file), metadata | {"is_that_of": release.release_id}
    recipe, kept = _recipe(name, start, options), value_of(options.start_share, name, 0.0)
    network = NetworkSpec(name, plan.input_px, f"{name}.weights.h5", "", 1.0, range_of(start, name))
    counts = tuple(np.bincount(data.labels, minlength=len(fashion_mnist.CATEGORIES)).tolist())
    ids = tuple(category.category_id for category in fashion_mnist.CATEGORIES)
    task = Task(
        network,
        DECODE_PX,
        counts,
        options.work_dir / name,
        data_sha256=data.sha256(),
        start=start,
        category_ids=ids,
        taxonomy_version=TAXONOMY,
        augmentation=value_of(options.augmentation, name, "full"),
    )

    def begin(model: Any) -> None:
        load_start_weights(model, network, start, category_ids=ids, taxonomy_version=TAXONOMY)

    def watch(epoch: int, step: int, steps: int, values: dict[str, float]) -> None:
        if step % 100 == 0 or step == steps:
            log.info("%s, epoch %s of %s, step %s of %s: %s", name, epoch, recipe.epochs, step, steps, values)

    data = replace(data, batch_size=plan.batch_size, change=AUGMENTATIONS[task.augmentation])
    with locked(task.work_dir):
        model, progress = train(task, recipe, data, start=begin, watch=watch)
        if kept:
            before = architecture(name).build(input_px=plan.input_px, categories=len(ids))
            begin(before)
            average(model, before, share=kept)
        weights = save_half(model, task.work_dir)
    metadata = {"starts_from": Path(start).name, "start_share": kept, "augmentation": task.augmentation}
    metadata |= progress.training_metadata(recipe)
    return network, weights, metadata | {"seconds": round(sum(epoch["seconds"] for epoch in progress.history))}


def _recipe(name: str, start: str, options: Options) -> Recipe:
    """Return the recipe of a network with the options of the call; without start weights all layers are trained."""
    plan = PLANS[name].recipe
    epochs = value_of(options.epochs, name, plan.epochs)
    return replace(
        plan,
        epochs=epochs,
        learning_rate=value_of(options.learning_rate, name, plan.learning_rate),
        label_smoothing=value_of(options.label_smoothing, name, plan.label_smoothing),
        unfreeze_from="" if start == NOTHING else value_of(options.unfreeze_from, name, plan.unfreeze_from),
        patience=epochs,
        mixed_precision=options.mixed_precision,
        seed=options.seed,
    )


def _start(options: Options, name: str) -> str:
    """Return the start weights of a network."""
    return value_of(options.start_from, name, NOTHING) or NOTHING


if __name__ == "__main__":
    main()

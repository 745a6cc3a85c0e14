"""Fine-tune networks on the labelled products of the dataset, and make a calibrated release of them.

    shelfwise finetune --release-id shop-2 --start-from imagenet

Reads images/ingest_date=*/ and their labels. Writes releases/RELEASE_ID/, atomically. Every epoch writes a checkpoint
to training/RELEASE_ID/; the same command resumes from the last checkpoint.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from jobs.errors import RunFailed, UsageError
from jobs.evaluation.config import EvaluateConfig
from jobs.pages.charts import loss_curves
from jobs.releases.calibrate import Promise, below_promise, finished_release, warn_of_categories_without_threshold
from jobs.releases.new_releases import check_new, release_written
from jobs.releases.stored import share
from jobs.storage.places import Places
from jobs.training.batches import DatasetBatches
from jobs.training.selection import Selection, TrainingSet, training_set
from jobs.training.training_record import TrainingRecord, read_record, write_record
from models.card import known_or_not
from models.networks.weights import save_half
from models.program import program_version
from models.release import MANIFEST, Release, load_release, save_release, sha256_of
from models.serving.environment import prepare_environment, quiet_start
from models.spec import NetworkSpec
from models.training.checkpoints import AnotherTask, locked
from models.training.recipe import CHECKPOINT, Recipe, Task, TrainingFailed, Watch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NetworkPlan:
    """Plan for fine-tuning one network of the new release: its input, start weights and recipe.

    Attributes:
        architecture: Key of `models.networks.registry.ARCHITECTURES`.
        input_px: Side of the network's square input, in pixels.
        start: Weights to start from; see `models.training.starts.load_start_weights`.
        recipe: Training recipe: epochs, learning rates and so on.
        alias: Alias that `start` was resolved from, or empty. When the training is resumed, the alias may belong to
            another release.
    """

    architecture: str
    input_px: int
    start: str
    recipe: Recipe
    alias: str = ""


@dataclass(frozen=True)
class FinetuneConfig:
    """Configuration of a fine-tuning job.

    Attributes:
        release_id: Identifier of the new release.
        selection: Labelled products to train on.
        networks: Training plans of the networks, at least one.
        batch_size: Images per training step.
        decode_workers: Number of decoding threads.
        promise: Precision and floor for the release's thresholds.
        command: Command line as the user typed it, for the model card.
    """

    release_id: str
    selection: Selection
    networks: tuple[NetworkPlan, ...]
    batch_size: int = 32
    decode_workers: int = 2
    promise: Promise = field(default_factory=Promise)
    command: str = ""

    @property
    def places(self) -> Places:
        """Directories and stores of the home."""
        return self.selection.places

    @property
    def work_dir(self) -> Path:
        """Directory of checkpoints and learning curves; deleted when the release is complete."""
        return self.places.local_home / "training" / self.release_id

    @property
    def target(self) -> Path:
        """Directory of the new release."""
        return self.places.local_home / "releases" / self.release_id


def run(config: FinetuneConfig, *, watch: Callable[[str], Watch | None]) -> dict[str, Any]:
    """Fine-tune networks, calibrate and measure them, and write the new release.

    Args:
        config: Configuration of the job.
        watch: Returns, for a network's name, the callback after each of its training steps; None for no callback.

    Returns:
        The release_id, the directory and the metrics of the release, `known_images`: in words which images it knows,
        and `below_promise`: a sentence if the part test contradicts the promised precision, else None.

    Raises:
        UsageError: If the labelled products or the options cannot be used; then nothing was written.
        RunFailed: If the training fails, or another process makes this release; finished epochs are kept, and no
            release is written. The message names the remedy.
    """
    started = time.monotonic()
    if release := _made(config):
        share(config.target, config.places)
        return _summary(config, release)
    check_new(config.target, config.places)
    begun = read_record(config.work_dir, config.places)
    if begun:
        config = replace(config, networks=tuple(_as_begun(plan, begun) for plan in config.networks))
    learned_from = training_set(config.selection, begun)
    warn_of_categories_without_threshold(learned_from.sides["validation"], learned_from.category_ids, config.promise)
    prepare_environment()
    with quiet_start():
        from models.training.loop import start_backend

        start_backend()
    to_train = [_to_train(config, plan, learned_from) for plan in config.networks]
    kept = f"what was trained is kept in {config.work_dir}"
    try:
        with locked(config.work_dir), release_written(config.release_id, kept):
            starts = {plan.architecture: plan.start for plan in config.networks}
            write_record(config.work_dir, TrainingRecord(learned_from.files, starts, learned_from.decisions_until))
            trained = _all_trained(config, to_train, watch)
            seconds = round(time.monotonic() - started)
            release = _released(config, trained, learned_from, seconds)
            return _summary(config, release)
    except TrainingFailed as error:
        raise RunFailed(str(error)) from error


def _all_trained(
    config: FinetuneConfig, to_train: Sequence[tuple[Task, DatasetBatches]], watch: Callable[[str], Watch | None]
) -> list[tuple[NetworkSpec, Path, dict[str, Any]]]:
    """Train one network after the other; delete the work directory if no checkpoint was written."""
    try:
        _refuse_early(config, [task for task, _ in to_train])
        pairs = zip(config.networks, to_train, strict=True)
        return [_trained(config, plan, task, data, watch) for plan, (task, data) in pairs]
    finally:
        if not any(config.work_dir.glob(f"*/{CHECKPOINT}")):
            shutil.rmtree(config.work_dir, ignore_errors=True)


def _made(config: FinetuneConfig) -> Release | None:
    """Return the existing release if an earlier call made it of these weights but ended before its cleanup, or None."""
    if not (config.target / MANIFEST).is_file():
        return None
    release = load_release(config.target)
    trained = {sha256_of(path) for path in config.work_dir.glob("*/*.weights.h5")}
    return release if {network.weights_sha256 for network in release.networks} <= trained else None


def _as_begun(plan: NetworkPlan, begun: TrainingRecord) -> NetworkPlan:
    """Return the plan with the start weights that its alias stood for when the training began."""
    return replace(plan, start=begun.starts.get(plan.architecture, plan.start)) if plan.alias else plan


def _summary(config: FinetuneConfig, release: Release) -> dict[str, Any]:
    """Delete the checkpoints of the finished training, and return its summary."""
    shutil.rmtree(config.work_dir, ignore_errors=True)
    if below := below_promise(release):
        log.warning("%s", below)
    return {
        "release_id": release.release_id,
        "release_dir": str(config.target),
        **release.metrics,
        "known_images": known_or_not(release),
        "below_promise": below,
    }


def _to_train(config: FinetuneConfig, plan: NetworkPlan, learned_from: TrainingSet) -> tuple[Task, DatasetBatches]:
    """Return the training task of a network, and its images.

    Raises:
        UsageError: If the plan's start weights cannot be used.
    """
    from models.training.starts import range_of

    sides, ids = learned_from.sides, learned_from.category_ids
    try:
        values = range_of(plan.start, plan.architecture)
    except ValueError as error:
        raise UsageError(str(error)) from error
    network = NetworkSpec(plan.architecture, plan.input_px, f"{plan.architecture}.weights.h5", "", 1.0, values)
    decode_px = max(each.input_px for each in config.networks)
    numbers = (decode_px, config.batch_size, config.decode_workers, plan.recipe.seed)
    data = DatasetBatches(sides["train"], sides["validation"], ids, *numbers, places=config.places)
    task = Task(
        network,
        decode_px,
        data.counts(),
        config.work_dir / plan.architecture,
        data_sha256=learned_from.data_sha256,
        start=plan.start,
        category_ids=ids,
        taxonomy_version=learned_from.taxonomy_version,
    )
    return task, data


def _refuse_early(config: FinetuneConfig, tasks: Sequence[Task]) -> None:
    """Check before the training that each network's start weights fit, and that its checkpoint belongs to this task.

    Raises:
        UsageError: If one of them does not; the message names the remedy.
    """
    from models.training.loop import refuse_start

    begun = {path.parent.name for path in config.work_dir.glob(f"*/{CHECKPOINT}")}
    left_out = begun - {plan.architecture for plan in config.networks}
    try:
        if left_out:
            raise AnotherTask(
                f"the training in {config.work_dir} was begun with {', '.join(sorted(left_out))} too; name it with "
                "--network, delete that directory to begin again"
            )
        for task, plan in zip(tasks, config.networks, strict=True):
            refuse_start(task, plan.recipe, start=_start(plan, task))
    except AnotherTask as error:
        raise UsageError(f"{error}, or choose another --release-id") from error
    except ValueError as error:
        raise UsageError(str(error)) from error


def _start(plan: NetworkPlan, task: Task) -> Callable[[Any], None]:
    """Return the function that fills a new network with its start weights."""
    from models.training.starts import load_start_weights

    ids, version = task.category_ids, task.taxonomy_version
    return partial(
        load_start_weights, network=task.network, start=plan.start, category_ids=ids, taxonomy_version=version
    )


def _trained(
    config: FinetuneConfig, plan: NetworkPlan, task: Task, data: DatasetBatches, watch: Callable[[str], Watch | None]
) -> tuple[NetworkSpec, Path, dict[str, Any]]:
    """Train one network and write its weights to the work directory.

    Returns:
        The network with the hash of its weights, the weights file, and the training figures for the model card.
    """
    from models.training.loop import train

    name = plan.architecture
    draw = partial(loss_curves, config.work_dir / f"{name}-curves.png", title=f"{name}: loss")
    try:
        model, progress = train(task, plan.recipe, data, start=_start(plan, task), watch=watch(name), saved=draw)
    except ValueError as error:  # a wrong name or weights that do not fit: a fault of the call, not of the run
        raise UsageError(str(error)) from error
    log.info("finetune: %s stopped after %s epochs, best %s", name, progress.epochs, progress.best_epoch)
    weights = save_half(model, task.work_dir)
    seconds = round(sum(epoch["seconds"] for epoch in progress.history))
    figures = {"starts_from": plan.start, **progress.training_metadata(plan.recipe), "training_seconds": seconds}
    network = replace(task.network, weights_sha256=sha256_of(weights))
    return network, weights, {f"{name}_{figure}": value for figure, value in figures.items()}


def _released(
    config: FinetuneConfig,
    trained: Sequence[tuple[NetworkSpec, Path, dict[str, Any]]],
    learned_from: TrainingSet,
    seconds: int,
) -> Release:
    """Calibrate on the validation part, measure on the test part, and write the release."""
    reading = EvaluateConfig(config.places, batch_size=config.batch_size, decode_workers=config.decode_workers)
    training = {
        "command": config.command,
        "made_at_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds_of_last_session": seconds,
        "data_sha256": learned_from.data_sha256,
        **learned_from.labels_told(),
        **{f"{part}_images": len(images) for part, images in learned_from.sides.items()},
        "batch_size": config.batch_size,
    }
    for _, _, figures in trained:
        training |= figures
    networks = tuple(replace(network, ensemble_weight=1 / len(trained)) for network, _, _ in trained)
    draft = Release(
        config.release_id,
        learned_from.taxonomy_version,
        learned_from.categories,
        networks,
        1.0,
        training=training,
        code_version=program_version(),
    )
    weights = {network.architecture: path for network, path, _ in trained}
    release, documents = finished_release(
        draft,
        weights,
        fitted_on=learned_from.sides["validation"],
        tested_on=learned_from.sides["test"],
        learned=learned_from.sides["train"],
        reading=reading,
        promise=config.promise,
        scratch=config.work_dir,
    )
    documents |= {path.name: path.read_bytes() for path in config.work_dir.glob("*-curves.png")}
    save_release(release, config.target, weights=weights, documents=documents)
    share(config.target, config.places)
    return release

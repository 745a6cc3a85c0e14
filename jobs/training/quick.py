"""Make a calibrated release in minutes: frozen backbones, linear heads on their features, calibration by cross-fitting.

    shelfwise finetune --quick --release-id shop-1

Reads images/ingest_date=*/ and their labels. Writes features/, a cache from which the next run goes on, and
releases/RELEASE_ID/, atomically.

The heads learn from the parts train and validation. Temperature and thresholds are fitted to answers for the same
products: each product is answered by heads that did not learn from it, nor from a product of its group or one that
shares a picture with it. The part test teaches nothing, chooses nothing and calibrates nothing; it measures the
release. Only the catalog's labels calibrate and measure; the decisions of people teach and do no more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.dataset.labels import LabelledImage
from jobs.errors import RunFailed, UsageError
from jobs.evaluation.image_predictions import CONFIDENCES, Answered, refuse_none
from jobs.evaluation.product_predictions import Measured, measured_parts
from jobs.releases.calibrate import below_promise, finished_from_answers, unmeasured_release
from jobs.releases.known_images import describe
from jobs.releases.new_releases import check_new, release_written
from jobs.releases.stored import share
from jobs.training.again import former_file, kept_of, made_by, warn_of_other_products
from jobs.training.examples import NO_EXAMPLES, TEACHING, Examples, all_images, examples_of, folds_by_group
from jobs.training.features import FeatureKey, FeatureStore, add_features, missing
from jobs.training.known_images import features_in, judged_by, pixel_store
from jobs.training.progress import FeatureWatch
from jobs.training.quick_config import QuickConfig
from jobs.training.selection import UNMEASURED, TrainingSet, training_set
from models.answers.calibration import combine
from models.card import known_or_not
from models.linear.crossfit import CrossFitted, cross_fit
from models.linear.head import UnusableFeatures
from models.networks.pixels import PIXELS
from models.networks.weights import save_half
from models.program import program_version
from models.release import (
    CROSS_FITTED,
    FEATURES_ENGINE,
    MANIFEST,
    UNKNOWN_BACKBONES,
    Release,
    load_release,
    save_release,
    sha256_of,
)
from models.serving.engines import EngineError
from models.serving.environment import multiplying_on_all_cores, prepare_environment, quiet_start
from models.spec import NetworkSpec
from models.temporary import remove_left_behind, temporary_directory
from models.training.frozen import FrozenBackbone, load_frozen
from models.training.seen import BACKBONE_SAW_TRAIN, VOUCHED_BACKBONES

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Images:
    """The images of the training, and what the backbones saw in them.

    Attributes:
        learned_from: The training set.
        known: Images that teach and calibrate.
        tested: Images that measure.
        stores: Features of each backbone, by name of its architecture, and statistics of the pixels.
    """

    learned_from: TrainingSet
    known: Examples
    tested: Examples
    stores: Mapping[str, FeatureStore]


@dataclass(frozen=True)
class _Fitted:
    """A network with its fitted head.

    Attributes:
        network: The network, with the hash of its weights.
        weights: Its weights file.
        softmaxes: Cross-fitted answers for the images to learn from, float32 (images, categories).
        tested: Answers of the head for the images of the part test, float32 (images, categories).
        saw_train: Whether the backbone was trained on the part train.
        figures: What the model card tells of the training.
        saw_unknown: Whether nobody knows what the backbone was trained on.
    """

    network: NetworkSpec
    weights: Path
    softmaxes: NDArray[np.float32]
    tested: NDArray[np.float32]
    saw_train: bool
    figures: Mapping[str, Any]
    saw_unknown: bool = False


def run(config: QuickConfig, *, watch: FeatureWatch) -> dict[str, Any]:
    """Compute what features are missing, fit and calibrate the heads, and write the new release.

    Args:
        config: Configuration of the job.
        watch: Takes a network's name and the number of images to compute; returns the callback for those that are done.

    If the same command was ended after it had made the release, it is finished.

    Returns:
        The release_id, the directory and the metrics of the release, `known_images`: in words which images it knows,
        and `below_promise`: a sentence if the part test contradicts the promised precision, or nothing can measure it,
        as when nobody knows whether a backbone has learned from these products; else None.

    Raises:
        UsageError: If the labelled products or the options cannot be used; then no release was written.
        RunFailed: If features cannot be computed, or the release cannot be written; what was computed is kept.
    """
    started = time.monotonic()
    for directory in (config.places.features, config.target.parent):
        remove_left_behind(directory)
    if release := _made(config):
        log.info("release %s is there already: this command made it of the same products", release.release_id)
        return _shared(config, release)
    check_new(config.target, config.places)
    learned_from = training_set(config.selection, unmeasured=True)
    if config.selection.release:
        warn_of_other_products(config.selection.release, learned_from)
    folds_by_group(examples_of(learned_from, TEACHING), learned_from, config.seed)  # refuses before the long part
    prepare_environment()
    with quiet_start():
        from models.training.loop import start_backend

        start_backend()
    backbones = _backbones(config, len(learned_from.categories))
    every = all_images(learned_from)
    stores = {name: _store(config, frozen, every, watch) for name, frozen in backbones.items()}
    stores[PIXELS] = pixel_store(every, config.reading, partial(watch, PIXELS), decode_px=config.decode_px)
    tested = examples_of(learned_from, ("test",), stores) if learned_from.can_be_measured else NO_EXAMPLES
    images = _Images(learned_from, examples_of(learned_from, TEACHING, stores), tested, stores)
    folds = folds_by_group(images.known, learned_from, config.seed)
    kept = f"the features are kept in {config.places.features}"
    with release_written(config.release_id, kept), temporary_directory(config.target.parent) as scratch:
        fitted = [
            _fitted(frozen, images, folds, scratch / name, before=config.selection.release)
            for name, frozen in backbones.items()
        ]
        draft = _draft(config, learned_from, fitted, folds, round(time.monotonic() - started))
        release, documents = _finished(config, draft, images, fitted, scratch)
        weights = {each.network.architecture: each.weights for each in fitted}
        save_release(release, config.target, weights=weights, documents=documents)
    return _shared(config, release)


def _made(config: QuickConfig) -> Release | None:
    """Return the existing release if this command made it of the same products, but may have ended soon after; or None.

    Decisions that people have made since do not matter.
    """
    if not config.command or not (config.target / MANIFEST).is_file():
        return None
    release = load_release(config.target)
    told = release.training
    by = told.get("calibrated_by" if config.selection.release else "command")
    if CROSS_FITTED not in told or (by, told.get("seed")) != (config.command, config.seed):
        return None
    learned_from = training_set(config.selection.until(told.get("decisions_until", 0)), unmeasured=True)
    return release if learned_from.data_sha256 == told.get("data_sha256") else None


def _shared(config: QuickConfig, release: Release) -> dict[str, Any]:
    """Upload a complete release to the home's store, and return its summary, as `run` does."""
    share(config.target, config.places)
    if below := _not_to_be_promoted(release):
        log.warning("%s", below)
    return {
        "release_id": release.release_id,
        "release_dir": str(config.target),
        **release.metrics,
        "known_images": known_or_not(release),
        "below_promise": below,
    }


def _not_to_be_promoted(release: Release) -> str | None:
    """Return why a release is not to be promoted before a person has looked at it, or None."""
    if not release.metrics:
        return f"release {release.release_id}: {UNMEASURED}"
    if (below := below_promise(release)) or not (names := release.training.get(UNKNOWN_BACKBONES)):
        return below
    return (
        f"nobody knows what the backbone of {names} has learned from, and if it was these products, release "
        f"{release.release_id} is worse than was measured and promised: it was made and is not to be promoted; make it "
        "with --start-unseen if the backbone saw none of them, or measure it on later ones with `shelfwise evaluate "
        "--from`"
    )


def _finished(
    config: QuickConfig, draft: Release, images: _Images, fitted: Sequence[_Fitted], scratch: Path
) -> tuple[Release, dict[str, str | bytes]]:
    """Calibrate and measure a draft of a release; without labels of the catalog, leave it without thresholds.

    Returns:
        The release, and its documents by file name.
    """
    to_calibrate = _to_calibrate(images.known, fitted) if images.learned_from.can_be_measured else None
    described = describe(
        draft,
        scratch,
        learned=images.known.taught,
        calibrating=images.known.taught if to_calibrate is None else to_calibrate.images,
        features_of=partial(features_in, images.stores),
        groups=images.learned_from.groups,
    )
    if to_calibrate is None:
        return unmeasured_release(draft, promise=config.promise, known=described)
    judged = partial(judged_by, described, images.stores)
    return finished_from_answers(
        draft,
        judged(to_calibrate),
        lambda made: _tested(made, images.tested, fitted, judged),
        promise=config.promise,
        known=described,
    )


def _backbones(config: QuickConfig, categories: int) -> dict[str, FrozenBackbone]:
    """Load the backbone of each network, by name of its architecture."""
    before = config.selection.release
    middles = {each.architecture: each.middles for each in before.networks} if before else {}
    try:
        backbones = {
            each.architecture: load_frozen(
                each.architecture,
                each.input_px,
                each.start,
                categories=categories,
                middles=middles.get(each.architecture),
            )
            for each in config.networks
        }
    except ValueError as error:
        raise UsageError(str(error)) from error
    for name, frozen in backbones.items():
        if frozen.saw_unknown and not config.vouched:
            log.warning(
                "%s starts from %s, and nobody knows what that has learned from: if it was these products, the release "
                "will promise too much; if it saw none of them, say so with --start-unseen",
                name,
                frozen.start,
            )
    return backbones


def _store(
    config: QuickConfig, frozen: FrozenBackbone, images: Sequence[LabelledImage], watch: FeatureWatch
) -> FeatureStore:
    """Compute the features of one backbone that are not in the home yet; return the store with all of them."""
    from models.serving.features import FeatureExtractor, feature_engine

    network, backbone = frozen.network, frozen.backbone
    name, decode_px = network.architecture, config.decode_px
    try:
        engine = feature_engine(config.engine)
    except EngineError as error:
        raise UsageError(f"SHELFWISE_ENGINE demands OpenVINO: {error}") from error
    values = (name, frozen.sha256, network.input_px, decode_px, network.preprocessing)

    def computed_by(engine: str) -> FeatureStore:
        key = FeatureKey(*values, engine, middles=network.middles)
        width = int(backbone.output.shape[-1])
        return FeatureStore(key.directory(config.places), key, width, last_width=frozen.last_width)

    extractor = cache(partial(FeatureExtractor, backbone, network, side_px=decode_px, engine=engine))
    store = computed_by(engine)
    if missing(store, images) and extractor().engine != engine:  # OpenVINO cannot convert this backbone
        store = computed_by(extractor().engine)
    add_features(store, images, extractor, config.reading, partial(watch, name))
    return store


def _fitted(
    frozen: FrozenBackbone, images: _Images, folds: NDArray[np.int64], work_dir: Path, *, before: Release | None
) -> _Fitted:
    """Cross-fit the head of one network, give it to the network, and write the network's weights."""
    name, started = frozen.network.architecture, time.monotonic()
    known, store, categories = images.known, images.stores[name], len(images.learned_from.categories)
    order = np.argsort(folds, kind="stable")  # in order of the folds, `cross_fit` copies no features
    contents = known.contents
    features = store.load([contents[row] for row in order])
    try:
        with multiplying_on_all_cores("numpy"):
            found: CrossFitted = cross_fit(features, known.labels[order], folds[order], categories)
    except UnusableFeatures as error:
        raise RunFailed(
            f"{name}: {error}; start from another backbone with --start-from, and see that its weights are not damaged"
        ) from error
    del features
    softmaxes = np.empty_like(found.softmaxes)
    softmaxes[order] = found.softmaxes
    frozen.set_head(found.head.kernel, found.head.bias)
    work_dir.mkdir()
    weights = save_half(frozen.model, work_dir)
    if before:
        weights = former_file(weights, name, before, Path(frozen.start))
    seconds = round(time.monotonic() - started)
    log.info("%s: heads fitted on %s images in %s s", name, f"{len(known.taught):,}", seconds)
    figures = {
        f"{name}_starts_from": frozen.start,
        f"{name}_backbone_sha256": frozen.sha256,
        f"{name}{FEATURES_ENGINE}": store.engine,
        f"{name}_head_strength": found.strength,
        f"{name}_head_seconds": seconds,
    }
    network = replace(frozen.network, weights_sha256=sha256_of(weights))
    answers = found.head.probabilities(store.load(images.tested.contents))
    return _Fitted(network, weights, softmaxes, answers, frozen.saw_train, figures, frozen.saw_unknown)


def _draft(
    config: QuickConfig, learned_from: TrainingSet, fitted: Sequence[_Fitted], folds: NDArray[np.int64], seconds: int
) -> Release:
    """Return the release before its calibration."""
    training: dict[str, Any] = {
        **made_by(config),
        "seconds_of_last_session": seconds,
        "data_sha256": learned_from.data_sha256,
        **learned_from.labels_told(TEACHING),
        **{f"{part}_images": len(images) for part, images in learned_from.sides.items()},
        CROSS_FITTED: int(folds.max()) + 1,
        BACKBONE_SAW_TRAIN: any(each.saw_train for each in fitted),
        "seed": config.seed,
    }
    if unknown := [each.network.architecture for each in fitted if each.saw_unknown]:
        training[VOUCHED_BACKBONES if config.vouched else UNKNOWN_BACKBONES] = ", ".join(unknown)
    for each in fitted:
        training |= each.figures
    if config.selection.release:
        training |= kept_of(config.selection.release)
    return Release(
        config.release_id,
        learned_from.taxonomy_version,
        learned_from.categories,
        tuple(replace(each.network, ensemble_weight=1 / len(fitted)) for each in fitted),
        1.0,
        training=training,
        code_version=program_version(),
    )


def _to_calibrate(known: Examples, fitted: Sequence[_Fitted]) -> Answered:
    """Return the cross-fitted answers that calibrate: for the part validation alone if a backbone learned from train.

    That the head did not see a product does not help if the backbone did.
    """
    rows = list(known.measuring)
    if any(each.saw_train for each in fitted):
        rows = [row for row in rows if known.measuring[row].part == "validation"]
        log.info(
            "a backbone was trained on the part train already: the %s images of the part validation alone calibrate",
            f"{len(rows):,}",
        )
    refuse_none(len(rows), known.images)
    return Answered(
        [known.measuring[row] for row in rows], {each.network.architecture: each.softmaxes[rows] for each in fitted}
    )


def _tested(
    release: Release, tested: Examples, fitted: Sequence[_Fitted], judged: Callable[[Answered], Answered]
) -> Measured:
    """Return the calibrated release's answers for the part test, from the features that are computed already."""
    rows = {each.network.architecture: each.tested for each in fitted}
    shares = {network.architecture: network.ensemble_weight for network in release.networks}
    ensemble = combine(rows, weights=shares, temperature=release.temperature)
    answered = Answered(tested.images, {**rows, CONFIDENCES: ensemble}, tested.failed)
    return measured_parts(release, [judged(answered)], tested.images)

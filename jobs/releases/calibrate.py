"""Calibrate a release on labelled images of the dataset, and measure it on others."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from jobs.dataset.labels import LabelledImage, by_part, check_labels, data_sha256
from jobs.errors import UsageError
from jobs.evaluation.config import EvaluateConfig
from jobs.evaluation.evaluate import figures
from jobs.evaluation.image_predictions import CONFIDENCES, Answered, answered, features_of, refuse_none
from jobs.evaluation.product_predictions import Measured, known_to, left_out, measure, named
from jobs.releases.known_images import Described, describe
from jobs.releases.new_releases import check_new, release_written
from models.answers.pools import FEWEST, OWN_FACTOR, fit_promises, upper_bound
from models.answers.promises import CATEGORY
from models.answers.thresholds import FLOOR, TARGET_PRECISION, flawless_needed
from models.calibrated import calibrated
from models.card import NAME, known_or_not, model_card
from models.release import CROSS_FITTED, Release, load_release, save_release
from models.temporary import temporary_directory

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Promise:
    """Precision and floor that calibration is to reach: what the published answers of the release promise.

    Attributes:
        target_precision: Precision of the automatically published products, in (0, 1).
        floor: Confidence below which a product's status is `unknown`, in [0, 1].
        by: Of which products the precision is promised: of each category, or of the pool that it shares with others
            (`category`), or of all that is published (`catalog`).
    """

    target_precision: float = TARGET_PRECISION
    floor: float = FLOOR
    by: str = CATEGORY


def finished_release(
    draft: Release,
    weights: Mapping[str, Path],
    *,
    fitted_on: Sequence[LabelledImage],
    tested_on: Sequence[LabelledImage],
    learned: Sequence[LabelledImage],
    reading: EvaluateConfig,
    promise: Promise,
    scratch: Path,
) -> tuple[Release, dict[str, str | bytes]]:
    """Calibrate a trained draft of a release on some labelled images, and measure it on others.

    Args:
        draft: Release with the hashes of the weights; its ensemble weights, temperature, thresholds, promises,
            description of known images and metrics are replaced.
        weights: Maps each architecture to its weights file.
        fitted_on: Labelled images that no network was trained on.
        tested_on: Labelled images of other products.
        learned: Labelled images that describe which images the release knows: those that the networks learned from, or
            others of the shop; empty takes those of `fitted_on`.
        reading: Settings for reading images.
        promise: Precision and floor for the thresholds.
        scratch: Existing directory for temporary files.

    Returns:
        The release, and its documents by file name.

    Raises:
        RunFailed: If none of the images could be decoded.
    """
    from models.serving.predictor import EnsemblePredictor

    directory, draft = scratch / "draft", replace(draft, known=None)
    shutil.rmtree(directory, ignore_errors=True)
    save_release(draft, directory, weights=weights)
    predictor = EnsemblePredictor(draft, directory)
    known = describe(
        draft,
        directory,
        learned=learned,
        calibrating=fitted_on,
        features_of=lambda images: features_of(predictor, images, reading),
    )
    gate = known.gate if known else None
    predicted = answered(predictor, fitted_on, reading, without={CONFIDENCES}, gate=gate)
    refuse_none(len(predicted.images), fitted_on)

    def tested(release: Release) -> Measured:
        return measure(EnsemblePredictor(release, directory), release, tested_on, reading, gate)

    return finished_from_answers(draft, predicted, tested, promise=promise, known=known)


def finished_from_answers(
    draft: Release,
    fitted_on: Answered,
    tested: Callable[[Release], Measured],
    *,
    promise: Promise,
    known: Described | None,
) -> tuple[Release, dict[str, str | bytes]]:
    """Calibrate a draft of a release on the networks' answers for some labelled images, and measure it on others.

    Args:
        draft: As for `finished_release`.
        fitted_on: Labelled images with the softmax of each network, and judged by the release's gate if it has one;
            none of the networks that answered has learned from the product that it answered for.
        tested: Predicts labelled images of other products by the calibrated release.
        promise: Precision and floor for the thresholds.
        known: Description of the images that the release knows; None makes a release without one.

    Returns:
        The release, and its documents by file name.
    """
    fitted_on = known.judged(fitted_on) if known else fitted_on
    draft = replace(draft, known=known.fitted.spec if known else None)
    ids = [category.category_id for category in draft.categories]
    release = calibrated(
        draft,
        fitted_on.rows,
        fitted_on.labels(ids),
        products=fitted_on.products,
        untrusted=fitted_on.untrusted,
        target=promise.target_precision,
        by=promise.by,
        floor=promise.floor,
    )
    automatic = sum(release.thresholds[category.category_id] is not None for category in release.categories)
    metrics = measured_metrics(figures(tested(release), release))
    release = replace(release, metrics=metrics | {"automatic_categories": automatic})
    documents: dict[str, str | bytes] = {NAME: model_card(release)}
    if known:
        documents[known.fitted.spec.file] = known.fitted.content
    return release, documents


def unmeasured_release(
    draft: Release, *, promise: Promise, known: Described | None
) -> tuple[Release, dict[str, str | bytes]]:
    """Finish a draft of a release that nothing can measure: no category has a threshold, so every answer is suggested.

    Args:
        draft: As for `finished_release`; its shares and its temperature are kept.
        promise: Precision and floor that were asked for.
        known: Description of the images that the release knows; None makes a release without one.

    Returns:
        The release, without metrics, and its documents by file name.
    """
    ids = [category.category_id for category in draft.categories]
    nothing = np.empty((0, len(ids)), np.float32), np.empty(0, np.int64)
    fitted = fit_promises(*nothing, ids, by=promise.by, target=promise.target_precision)
    release = replace(
        draft,
        known=known.fitted.spec if known else None,
        thresholds=fitted.thresholds,
        promises=fitted.promises,
        floor=promise.floor,
        training={**draft.training, "calibrated_on_products": 0, "target_precision": promise.target_precision},
    )
    documents: dict[str, str | bytes] = {NAME: model_card(release)}
    if known:
        documents[known.fitted.spec.file] = known.fitted.content
    return release, documents


def warn_of_categories_without_threshold(
    fitted_on: Sequence[LabelledImage], category_ids: Sequence[str], promise: Promise
) -> None:
    """Log which promises the categories can get, and warn if some can never be published without a person.

    It is called before a long training. The labelled products of a category stand for the answers that calibration will
    count, which are not known yet.

    Args:
        fitted_on: Labelled images that the thresholds will be fitted on.
        category_ids: Categories of the release.
        promise: Precision for the thresholds, and of which products it is promised.
    """
    labels = {(image.product_id, image.category_id) for image in fitted_on}
    counts = Counter(category_id for _, category_id in labels)
    products = [counts[category_id] for category_id in category_ids]
    needed, target = flawless_needed(promise.target_precision), promise.target_precision
    own_from = OWN_FACTOR * needed if promise.by == CATEGORY else math.inf
    sharing = [count for count in products if FEWEST <= count < own_from]
    few = sum(count < FEWEST for count in products)
    if sum(sharing) < needed:
        few, sharing = few + len(sharing), []
    if len(sharing) > 1:
        log.info(
            "%s of %s categories will share a threshold with others, which promises a precision of %g on average over "
            "them%s",
            len(sharing),
            len(products),
            target,
            f"; one of its own takes {own_from} validation products" if promise.by == CATEGORY else "",
        )
    if few:
        log.warning(
            "%s of %s categories cannot be published without a person at a precision of %g, so their answers go to "
            "review: a category takes at least %s validation products, and those that share a threshold take %s "
            "together; label more products, or lower --target-precision",
            few,
            len(products),
            target,
            FEWEST,
            needed,
        )


def below_promise(release: Release) -> str | None:
    """Return a sentence if the part test contradicts the precision that a release promises; else None.

    It does so if the one-sided upper bound at 95 % of the precision of what is published lies below the promise.
    """
    target = release.training.get("target_precision")
    share_, precision = release.metrics.get("automatic_share"), release.metrics.get("automatic_precision")
    if target is None or not share_ or precision is None:
        return None
    published = round(share_ * release.metrics["test_products"])
    right = round(precision * published)
    highest = upper_bound(right, published)
    if highest >= target:
        return None
    return (
        f"of the part test {published:,} products would be published and {right:,} of these are right, so that the "
        f"precision is at most {highest:.3f} where {target:g} is promised: release {release.release_id} was made and "
        "is not to be promoted; look at `shelfwise evaluate` for wrong labels, or label more products"
    )


def measured_metrics(document: Mapping[str, Any]) -> dict[str, float | int | None]:
    """Measure a newly calibrated release on its test part; return the figures for release.json and the model card."""
    leaf, auto = document["levels"][0], document["decisions"]["auto"]
    return {
        "test_products": document["products"],
        "ensemble_test_accuracy": leaf["top1"],
        "ensemble_test_top3": leaf["top3"],
        "ensemble_test_macro_f1": leaf["macro_f1"],
        **{f"{name}_test_accuracy": accuracy for name, accuracy in leaf["networks"].items()},
        "ensemble_test_calibration_error": leaf["calibration"]["after"],
        "automatic_share": auto["share"],
        "automatic_precision": auto["precision"],
    }


def _images(
    release: Release, reading: EvaluateConfig, every: Sequence[LabelledImage]
) -> tuple[list[LabelledImage], int]:
    """Return a part of all images, and the number of products excluded because the release lacks their category."""
    images = reading.images(every)
    asked = known_to([release], images, or_above=True) if reading.known_only else images
    ids = [category.category_id for category in release.categories]
    check_labels(asked or images, ids, taxonomy=named(release), or_known_only=True)
    without = left_out(images, asked)
    if without["products"]:
        log.info(
            "of the part %s, %s products are left out, of %s categories that the release does not know",
            reading.part,
            without["products"],
            without["categories"],
        )
    return asked, without["products"]


@dataclass(frozen=True)
class Calibration:
    """Configuration of a new calibration of an existing release.

    Attributes:
        source: Directory of the release to calibrate.
        target: Directory of the new release; must not exist.
        part: Part of the labelled products to fit on; the part `test` is used to measure the new release.
        reading: Dates, excluded categories, batch size and decoding threads.
        promise: Precision and floor for the thresholds.
        command: Command line as the user typed it, for the model card.
    """

    source: Path
    target: Path
    part: str
    reading: EvaluateConfig
    promise: Promise = field(default_factory=Promise)
    command: str = ""


def recalibrate(config: Calibration) -> dict[str, Any]:
    """Calibrate an existing release again: make a release of the same networks with newly fitted thresholds.

    Returns:
        The release_id, the directory and the metrics of the new release, and which images it knows, in words.

    Raises:
        UsageError: If the target exists, the networks were trained on this part, a part has no labelled product, or the
            release does not know a label; the message names the remedy.
        RunFailed: If the release cannot be written; then no incomplete release remains.
    """
    from models.serving.environment import prepare_environment, quiet_start

    check_new(config.target, config.reading.places)
    before = load_release(config.source)
    if CROSS_FITTED in before.training:
        raise UsageError(
            f"the heads of release {before.release_id} learned from the parts train and validation, and it was "
            "calibrated on both by heads that had not seen a product; make it again with `shelfwise finetune --quick` "
            "and another --target-precision"
        )
    if config.part == "train" and "train_images" in before.training:
        raise UsageError(
            f"release {before.release_id} learned from the products of the part 'train', on which it is surer than on "
            "new ones; calibrate it with --part validation"
        )
    parts, without = {}, {}
    category_ids = tuple(category.category_id for category in before.categories)
    reading = replace(config.reading, category_ids=category_ids)
    every = reading.images_of_all_parts()
    learned = known_to([before], by_part(every, ["train"])["train"])
    for part in (config.part, "test"):
        parts[part], without[part] = _images(before, replace(reading, part=part), every)
    draft = replace(
        before,
        known=None,
        release_id=config.target.name,
        training={
            **before.training,
            "calibrated_from": before.release_id,
            "calibrated_by": config.command,
            "calibrated_at_utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "calibrated_on_part": config.part,
            "calibrated_on_sha256": data_sha256(parts[config.part]),
            **({"left_out_products": json.dumps(without)} if config.reading.known_only else {}),
        },
    )
    weights = {network.architecture: config.source / network.weights_file for network in before.networks}
    prepare_environment()
    with quiet_start():
        from models.training.loop import start_backend

        start_backend()
    with release_written(draft.release_id), temporary_directory(config.target.parent) as scratch:
        release, documents = finished_release(
            draft,
            weights,
            fitted_on=parts[config.part],
            tested_on=parts["test"],
            learned=learned,
            reading=config.reading,
            promise=config.promise,
            scratch=scratch,
        )
        save_release(release, config.target, weights=weights, documents=documents)
    return {
        "release_id": release.release_id,
        "release_dir": str(config.target),
        **release.metrics,
        "known_images": known_or_not(release),
    }

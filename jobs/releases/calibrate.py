"""From trained networks to a release that is calibrated, measured and described."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.dataset.labels import LabelledImage, check_labels, data_sha256
from jobs.errors import UsageError
from jobs.evaluation.answers import CONFIDENCES, answered, refuse_none
from jobs.evaluation.evaluate import figures
from jobs.evaluation.measure import EvaluateConfig, known_to, left_out, measure, named
from jobs.releases.stored import check_new, release_written
from models.answers.thresholds import FLOOR, TARGET_PRECISION, flawless_needed
from models.calibrated import calibrated
from models.card import NAME, model_card
from models.release import Release, load_release, save_release

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Promise:
    """What a release is calibrated for.

    Attributes:
        target_precision: Of what is published automatically, category by category, in (0, 1).
        floor: Below this confidence an answer is `unknown`, in [0, 1].
    """

    target_precision: float = TARGET_PRECISION
    floor: float = FLOOR


def finished_release(
    draft: Release,
    weights: Mapping[str, Path],
    *,
    fitted_on: Sequence[LabelledImage],
    tested_on: Sequence[LabelledImage],
    reading: EvaluateConfig,
    promise: Promise,
    scratch: Path,
) -> tuple[Release, dict[str, str | bytes]]:
    """Fit shares, temperature and thresholds on some labelled images, and measure on others.

    Args:
        draft: With the weights' hashes; its shares, temperature, thresholds and metrics are replaced.
        weights: The file of each architecture.
        fitted_on: Labelled images that no network has learned from.
        tested_on: Labelled images of other products.
        reading: How images are read.
        promise: What the thresholds shall hold.
        scratch: An existing directory, for the draft.

    Returns:
        The release, and its documents.
    """
    from models.serving.predictor import EnsemblePredictor

    place = scratch / "draft"
    shutil.rmtree(place, ignore_errors=True)
    save_release(draft, place, weights=weights)
    ids = [category.category_id for category in draft.categories]
    seen = answered(EnsemblePredictor(draft, place), fitted_on, reading, without={CONFIDENCES})
    refuse_none(len(seen.images), fitted_on)
    release = calibrated(
        draft,
        seen.rows,
        seen.labels(ids),
        products=seen.products,
        target=promise.target_precision,
        floor=promise.floor,
    )
    del seen
    tested = measure(EnsemblePredictor(release, place), release, tested_on, reading)
    opened = sum(release.thresholds[category.category_id] is not None for category in release.categories)
    metrics = measured_metrics(figures(tested, release))
    release = replace(release, metrics=metrics | {"automatic_categories": opened})
    return release, {NAME: model_card(release)}


def tell_what_stays_shut(fitted_on: Sequence[LabelledImage], category_ids: Sequence[str], promise: Promise) -> None:
    """Warn, before a long training, of categories that have too few held-out products to be published by themselves."""
    products = Counter(category_id for _, category_id in {(one.product_id, one.category_id) for one in fitted_on})
    needed = flawless_needed(promise.target_precision)
    enough = sum(products[category_id] >= needed for category_id in category_ids)
    if enough < len(category_ids):
        log.warning(
            "%s of %s categories have the %s validation products that a precision of %g takes at least; answers in the "
            "others go to review: label more products, or lower --target-precision",
            enough,
            len(category_ids),
            needed,
            promise.target_precision,
        )


def measured_metrics(document: Mapping[str, Any]) -> dict[str, float | int | None]:
    """Return the figures of the test part that release.json and the model card tell."""
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


def _images(release: Release, reading: EvaluateConfig) -> tuple[list[LabelledImage], int]:
    """Return a part's images, of categories that the release knows, and how many products are left out."""
    images = reading.images()
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
    """What is told of a release that shall be calibrated anew.

    Attributes:
        source: The release's directory.
        target: Of the release to be made; must not exist.
        part: Of the labelled products, on which it is fitted; the part `test` measures it.
        reading: Dates, what is left out, batch size and decoding threads.
        promise: What the thresholds shall hold.
        command: As it was typed, for the model card.
    """

    source: Path
    target: Path
    part: str
    reading: EvaluateConfig
    promise: Promise = field(default_factory=Promise)
    command: str = ""


def recalibrate(told: Calibration) -> dict[str, Any]:
    """Make a release of the same networks with shares, temperature and thresholds fitted on labelled products.

    Raises:
        UsageError: If the target is there, the networks learned from this part, no labelled product is in a part, or a
            label is none of the release's.
        RunFailed: If the release cannot be written; none is left then.
    """
    from models.serving.environment import prepare_environment, quiet_start

    check_new(told.target, told.reading.places)
    before = load_release(told.source)
    if told.part == "train" and "train_images" in before.training:
        raise UsageError(
            f"release {before.release_id} learned from the products of the part 'train', on which it is surer than on "
            "new ones; calibrate it with --part validation"
        )
    parts, without = {}, {}
    for part in (told.part, "test"):
        parts[part], without[part] = _images(before, replace(told.reading, part=part))
    draft = replace(
        before,
        release_id=told.target.name,
        training={
            **before.training,
            "calibrated_from": before.release_id,
            "calibrated_by": told.command,
            "calibrated_at_utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "calibrated_on_part": told.part,
            "calibrated_on_sha256": data_sha256(parts[told.part]),
            **({"left_out_products": json.dumps(without)} if told.reading.known_only else {}),
        },
    )
    weights = {network.architecture: told.source / network.weights_file for network in before.networks}
    prepare_environment()
    with quiet_start():
        from models.training.loop import start_backend

        start_backend()
    with release_written(draft.release_id):
        told.target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=told.target.parent, prefix=".") as scratch:
            release, documents = finished_release(
                draft,
                weights,
                fitted_on=parts[told.part],
                tested_on=parts["test"],
                reading=told.reading,
                promise=told.promise,
                scratch=Path(scratch),
            )
            save_release(release, told.target, weights=weights, documents=documents)
    return {"release_id": release.release_id, "release_dir": str(told.target), **release.metrics}

"""From trained networks to a release that is calibrated, measured and described."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.evaluate import decisions, figures
from jobs.labels import LabelledImage
from jobs.measure import EvaluateConfig, measure
from models.calibrated import calibrated
from models.card import NAME, model_card
from models.release import Release, save_release

if TYPE_CHECKING:
    from jobs.finetune import FinetuneConfig


def finished_release(
    draft: Release, weights: Mapping[str, Path], sides: Mapping[str, Sequence[LabelledImage]], config: FinetuneConfig
) -> tuple[Release, dict[str, str | bytes]]:
    """Fit on the validation part and measure on the test part.

    Args:
        draft: With the weights' hashes; its shares, temperature and thresholds are replaced.
        weights: The file of each architecture.
        sides: The labelled images of each part.
        config: Target precision, floor and places.

    Returns:
        The release, and its documents.
    """
    from models.predictor import EnsemblePredictor

    place = config.work_dir / "draft"
    shutil.rmtree(place, ignore_errors=True)
    save_release(draft, place, weights=weights)
    reading = EvaluateConfig(config.places, batch_size=config.batch_size, decode_workers=config.decode_workers)
    held_out = measure(EnsemblePredictor(draft, place), draft, sides["validation"], reading)
    release = calibrated(
        draft, held_out.by_network, held_out.labels, target=config.target_precision, floor=config.floor
    )
    tested = measure(EnsemblePredictor(release, place), release, sides["test"], reading)
    release = replace(release, metrics=measured_metrics(figures(tested, release), decisions(tested, release)))
    return release, {NAME: model_card(release)}


def measured_metrics(document: Mapping[str, Any], decided: Mapping[str, Any]) -> dict[str, float | int | None]:
    """Return the figures of the test part that release.json and the model card tell."""
    leaf = document["levels"][0]
    return {
        "test_products": document["products"],
        "ensemble_test_accuracy": leaf["top1"],
        "ensemble_test_top3": leaf["top3"],
        "ensemble_test_macro_f1": leaf["macro_f1"],
        **{f"{name}_test_accuracy": accuracy for name, accuracy in leaf["networks"].items()},
        "ensemble_test_calibration_error": document["calibration"]["after"],
        "automatic_share": decided["auto"]["share"],
        "automatic_precision": decided["auto"]["precision"],
    }

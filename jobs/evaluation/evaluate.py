"""The job that evaluates a release on labelled products, or compares two releases, and computes all figures.

    shelfwise evaluate --part test
    shelfwise evaluate --compare shop-1 shop-2

Reads images/ingest_date=*/ and their labels. Writes evaluation.json and evaluation.html. Reader, networks and decision
rule are those of predict and publish, so the figures hold for production. Figures count products, not images: the
function that publish calls combines the images of a product.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from jobs.dataset.labels import LabelledImage, data_sha256
from jobs.errors import UsageError
from jobs.evaluation.config import EvaluateConfig
from jobs.evaluation.product_predictions import Measured, known_to, left_out, measure, named
from jobs.wording import such_as
from models.answers.calibration import calibration_error
from models.answers.levels import Level
from models.answers.metrics import mcnemar, quality, reliability, risk_coverage
from models.answers.promises import CURVE, curve_of, described, target_of
from models.answers.reasons import REVIEW_REASONS
from models.answers.taxonomy import ancestors
from models.known.gate import ImageGate, load_gate
from models.release import Release, load_release
from models.spec import Predictor

log = logging.getLogger(__name__)

Load = Callable[[Path], tuple[Predictor, Release, ImageGate | None]]
"""Function that loads a release to evaluate, such as `load_predictor`; without a gate every image is trusted."""


def figures(measured: Measured, release: Release) -> dict[str, Any]:
    """Compute all figures of an evaluated release, as a JSON document."""
    return {
        "release_id": release.release_id,
        "taxonomy_version": release.taxonomy_version,
        "products": len(measured.product_ids),
        "images": measured.images,
        "failed_images": measured.failed,
        "data_sha256": data_sha256(measured.first_images),
        "decisions": decisions(measured, release),
        "review_reasons": review_reasons(measured),
        "gate": measured.gates.document(),
        "target_precision": target_of(release.training),
        "promises": promises(measured, release),
        CURVE: curve_of(release.training),
        "levels": [_level(level, leaf=level is measured.levels[0]) for level in measured.levels],
    }


def decisions(measured: Measured, release: Release) -> dict[str, dict[str, float | int | None]]:
    """Compute of the evaluated products the number, share and precision by decision: published, suggested, left open.

    A suggested inner node is correct if the product's label is below it.
    """
    ids = [category.category_id for category in release.categories]
    leaves = set(ids)
    correct: dict[str, list[bool]] = {"auto": [], "review": [], "suggested_above_leaf": [], "unknown": []}
    for answer, label in zip(measured.answers, measured.labels, strict=True):
        above = answer.category_id is not None and answer.category_id not in leaves
        right = answer.category_id == ids[label] or ids[label].startswith(f"{answer.category_id}.")
        correct["suggested_above_leaf" if above else answer.status].append(right)
    return {
        kind: {
            "products": len(rights),
            "share": len(rights) / len(measured.labels),
            "precision": sum(rights) / len(rights) if rights and kind != "unknown" else None,
        }
        for kind, rights in correct.items()
    }


def review_reasons(measured: Measured) -> dict[str, int]:
    """Count the products that would not be published, by reason, in the order of the reasons."""
    counts = Counter(answer.review_reason for answer in measured.answers)
    return {reason: counts[reason] for reason in REVIEW_REASONS if counts[reason]}


def promises(measured: Measured, release: Release) -> list[dict[str, Any]]:
    """Describe the promise of each category, with how many products were published in it and how many of them right.

    Returns:
        One row for each category of the release, in its order; see `models.answers.promises.described`.
    """
    ids = [category.category_id for category in release.categories]
    published = dict.fromkeys(ids, 0)
    right = dict.fromkeys(ids, 0)
    for answer, label in zip(measured.answers, measured.labels, strict=True):
        if answer.status == "auto":
            published[str(answer.category_id)] += 1
            right[str(answer.category_id)] += answer.category_id == ids[label]
    rows = described(ids, release.thresholds, release.promises, target=target_of(release.training))
    return [
        {"category_id": name, **row, "published": published[name], "published_right": right[name]}
        for name, row in rows.items()
    ]


def compare(first: Measured, second: Measured, releases: tuple[Release, Release]) -> dict[str, Any]:
    """Compare two evaluated releases on the same products, in total and by category, with McNemar's test.

    Each release has predicted among all its categories; the labels are categories that both releases have.

    Args:
        first: Predictions of the first release.
        second: Predictions of the second release.
        releases: The two releases.

    Raises:
        UsageError: If the releases did not predict the same products; run the comparison again.
    """
    if first.product_ids != second.product_ids:
        raise UsageError("the two releases did not answer the same products; run the comparison again")
    one, other = releases
    shared = _leaves(one) & _leaves(other)
    whole = mcnemar(first.hits, second.hits)
    categories = []
    for index, category_id in enumerate(category.category_id for category in one.categories):
        if category_id not in shared:
            continue
        in_category = first.labels == index
        part = mcnemar(first.hits[in_category], second.hits[in_category])
        categories.append({"category_id": category_id, "products": int(in_category.sum()), **asdict(part)})
    return {
        **sides((first, second), releases),
        **asdict(whole),
        "categories": categories,
    }


def sides(measured: Sequence[Measured], releases: Sequence[Release]) -> dict[str, dict[str, Any]]:
    """Compute the main figures for a choice between two evaluated releases, each by release_id."""
    by_figure: dict[str, dict[str, Any]] = {"accuracy": {}, "automatic": {}, "calibration_error": {}, "gate": {}}
    for each, release in zip(measured, releases, strict=True):
        name, auto = release.release_id, decisions(each, release)["auto"]
        by_figure["accuracy"][name] = float(each.hits.mean())
        by_figure["automatic"][name] = {"share": auto["share"], "precision": auto["precision"]}
        by_figure["calibration_error"][name] = calibration_error(each.confidences, each.hits)
        by_figure["gate"][name] = each.gates.document()
    return by_figure


def run(releases: Sequence[Path], config: EvaluateConfig, load: Load) -> tuple[dict[str, Any], Measured, Release]:
    """Evaluate one release, or compare two releases on the products whose category both know.

    If no product has a category that both releases know, only the second release is measured.

    Args:
        releases: Directories of one or two releases.
        config: Products to measure on.
        load: Builds the predictor and the gate of a release, such as `load_predictor`.

    Returns:
        The JSON document, with `comparison` for two releases; the predictions of the release that it describes; and
        that release.

    Raises:
        UsageError: If a label is not a category of a single release and `known_only` does not exclude it, or if no
            label is a category of the last release.
    """
    images = asked = config.images()
    loaded = [load(directory) for directory in releases]
    pair = [release for _, release, _ in loaded]
    if len(pair) == 2:
        both = known_to(pair, images)
        loaded = loaded if both else loaded[1:]
        asked = both or known_to(pair[1:], images) or images
    _refuse_foreign_labels(loaded[-1][1], images)
    if len(pair) == 1 and config.known_only:
        asked = known_to(pair, images, or_above=True) or images
    measured = []
    for predictor, release, gate in loaded:
        log.info("evaluate: %s images of %s", len(asked), release.release_id)
        measured.append(measure(predictor, release, asked, config, gate))
    described = loaded[0][1]
    without = left_out(images, asked) if len(pair) == 1 and config.known_only else None
    document = {**config.selection(), "left_out": without, **figures(measured[0], described)}
    if len(pair) == 2:
        first, second = pair
        comparison = (
            compare(measured[0], measured[1], (first, second)) if both else _second_only(measured[0], first, second)
        )
        names = {"first": first.release_id, "second": second.release_id}
        document["comparison"] = {**names, "left_out": left_out(images, asked), **comparison}
    return document, measured[0], described


def load_predictor(release_dir: Path) -> tuple[Predictor, Release, ImageGate]:
    """Load a release to evaluate, in float32: return its predictor, the release and its gate."""
    from models.serving.environment import prepare_environment, quiet_start

    prepare_environment()
    with quiet_start():
        from models.serving.predictor import EnsemblePredictor

        release = load_release(release_dir)
        predictor = EnsemblePredictor(release, release_dir)
    return predictor, release, load_gate(release, release_dir)


def usual_part(releases: Sequence[Release]) -> tuple[str, str]:
    """Return the part that an evaluation measures on by default, and the reason if it is not `all`.

    Figures are too good on products that a network was trained on or a temperature was fitted to.
    """
    fitted = [each.release_id for each in releases if {"train_images", "calibrated_on_part"} & each.training.keys()]
    if not fitted:
        return "all", ""
    return "test", f"{' and '.join(fitted)} may have been fitted to products of the other parts; --part all takes all"


def _leaves(release: Release) -> set[str]:
    return {category.category_id for category in release.categories}


def _refuse_foreign_labels(release: Release, images: Sequence[LabelledImage]) -> None:
    """Refuse products if no label is known to the release, as with another shop's; `measure` refuses single labels."""
    leaves = _leaves(release)
    labels = {image.category_id for image in images}
    if labels.isdisjoint(leaves | {node for leaf in leaves for node in ancestors(leaf)}):
        raise UsageError(
            f"{named(release)} was to be measured and knows none of "
            f"the {len(labels):,} labels of the products, {such_as(labels)}; its categories are {such_as(leaves)}; "
            "name a release of your own with --release"
        )


def _second_only(measured: Measured, first: Release, second: Release) -> dict[str, Any]:
    reason = (
        f"no labelled product has a category that both {first.release_id} and {second.release_id} know, so "
        f"{second.release_id} is measured alone"
    )
    return {"reason": reason, **sides([measured], [second])}


def _level(level: Level, *, leaf: bool) -> dict[str, Any]:
    answers = np.stack(list(level.by_network.values()))
    agree = (answers == answers[0]).all(axis=0)
    before = (level.raw_confidences, level.raw_winners == level.labels)
    after = (level.confidences, level.hits)
    return {
        "depth": level.depth,
        "leaf": leaf,
        "networks": {name: float((answer == level.labels).mean()) for name, answer in level.by_network.items()},
        "agreement": float(agree.mean()) if len(answers) > 1 else None,
        "accuracy_where_networks_agree": float(level.hits[agree].mean()) if agree.any() else None,
        "accuracy_where_networks_differ": float(level.hits[~agree].mean()) if (~agree).any() else None,
        "calibration": {
            "before": calibration_error(*before),
            "after": calibration_error(*after),
            "reliability_before": reliability(*before),
            "reliability": reliability(*after),
        },
        "risk_coverage": risk_coverage(*after),
        **quality(level),
    }

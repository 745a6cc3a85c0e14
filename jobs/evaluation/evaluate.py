"""Measure a release on labelled products, and two releases against each other.

    shelfwise evaluate --part test
    shelfwise evaluate --compare shop-1 shop-2

Reads images/ingest_date=*/ and their labels; writes evaluation.json and evaluation.html. The same reader, networks and
decision as in predict and publish: what is measured is what serves. The unit is the product: what its images say is put
together by the function that publish calls.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from jobs.dataset.labels import LabelledImage, data_sha256
from jobs.errors import UsageError
from jobs.evaluation.measure import EvaluateConfig, Measured, known_to, left_out, measure, named
from jobs.wording import such_as
from models.answers.calibration import calibration_error
from models.answers.decision import ancestors
from models.answers.levels import Level
from models.answers.metrics import mcnemar, quality, reliability, risk_coverage
from models.release import Release, load_release
from models.spec import Predictor

log = logging.getLogger(__name__)

Load = Callable[[Path], tuple[Predictor, Release, float]]


def figures(measured: Measured, release: Release) -> dict[str, Any]:
    """Return everything that an evaluation says, as a JSON document."""
    return {
        "release_id": release.release_id,
        "taxonomy_version": release.taxonomy_version,
        "products": len(measured.product_ids),
        "images": measured.images,
        "failed_images": measured.failed,
        "data_sha256": data_sha256(measured.first_images),
        "decisions": decisions(measured, release),
        "levels": [_level(level, leaf=level is measured.levels[0]) for level in measured.levels],
    }


def decisions(measured: Measured, release: Release) -> dict[str, dict[str, float | int | None]]:
    """Return, for what would be published, suggested and left open: how many products, their share, and how many right.

    A suggested inner node is right if the product belongs below it.
    """
    ids = [category.category_id for category in release.categories]
    leaves = set(ids)
    found: dict[str, list[bool]] = {"auto": [], "review": [], "suggested_above_leaf": [], "unknown": []}
    for answer, label in zip(measured.answers, measured.labels, strict=True):
        above = answer.category_id is not None and answer.category_id not in leaves
        right = answer.category_id == ids[label] or ids[label].startswith(f"{answer.category_id}.")
        found["suggested_above_leaf" if above else answer.status].append(right)
    return {
        kind: {
            "products": len(rights),
            "share": len(rights) / len(measured.labels),
            "precision": sum(rights) / len(rights) if rights and kind != "unknown" else None,
        }
        for kind, rights in found.items()
    }


def compare(first: Measured, second: Measured, releases: tuple[Release, Release]) -> dict[str, Any]:
    """Say who wins where on the same products, and whether the difference may be chance.

    Each has answered with all its categories; the products are of categories that both have.

    Raises:
        UsageError: If the releases could not answer the same products.
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
        own = first.labels == index
        part = mcnemar(first.hits[own], second.hits[own])
        categories.append({"category_id": category_id, "products": int(own.sum()), **asdict(part)})
    return {
        **sides((first, second), releases),
        **asdict(whole),
        "categories": categories,
    }


def sides(measured: Sequence[Measured], releases: Sequence[Release]) -> dict[str, dict[str, Any]]:
    """Return what a person who chooses between releases looks at, each figure by release_id."""
    told: dict[str, dict[str, Any]] = {"accuracy": {}, "automatic": {}, "calibration_error": {}}
    for own, release in zip(measured, releases, strict=True):
        name, auto = release.release_id, decisions(own, release)["auto"]
        told["accuracy"][name] = float(own.hits.mean())
        told["automatic"][name] = {"share": auto["share"], "precision": auto["precision"]}
        told["calibration_error"][name] = calibration_error(own.confidences, own.hits)
    return told


def run(releases: Sequence[Path], config: EvaluateConfig, load: Load) -> tuple[dict[str, Any], Measured, Release]:
    """Measure one release, or two on the products whose category both have.

    Where two have no product's category in common, the second is measured alone.

    Args:
        releases: One or two directories.
        config: What to measure on.
        load: Builds a predictor, as `jobs.predict.job.load_predictor` does.

    Returns:
        The document, with `comparison` if there are two; the rows of the release that it describes, and that release.

    Raises:
        UsageError: If a label is not a category of the one release and `known_only` does not leave it out, or none is
            one of the second.
    """
    images = asked = config.images()
    loaded = [load(directory)[:2] for directory in releases]
    pair = [release for _, release in loaded]
    if len(pair) == 2:
        both = known_to(pair, images)
        loaded = loaded if both else loaded[1:]
        asked = both or known_to(pair[1:], images) or images
    _refuse_strangers(loaded[-1][1], images)
    if len(pair) == 1 and config.known_only:
        asked = known_to(pair, images, or_above=True) or images
    measured = []
    for predictor, release in loaded:
        log.info("evaluate: %s images of %s", len(asked), release.release_id)
        measured.append(measure(predictor, release, asked, config))
    described = loaded[0][1]
    without = left_out(images, asked) if len(pair) == 1 and config.known_only else None
    document = {**config.told(), "left_out": without, **figures(measured[0], described)}
    if len(pair) == 2:
        one, other = pair
        found = compare(measured[0], measured[1], (one, other)) if both else _alone(measured[0], one, other)
        names = {"first": one.release_id, "second": other.release_id}
        document["comparison"] = {**names, "left_out": left_out(images, asked), **found}
    return document, measured[0], described


def load_predictor(release_dir: Path) -> tuple[Predictor, Release, float]:
    """Build a release's networks outside Spark, in float32; return them, the release, and the seconds that it took."""
    from models.serving.environment import prepare_environment, quiet_start

    prepare_environment()
    started = time.perf_counter()
    with quiet_start():
        from models.serving.predictor import EnsemblePredictor

        release = load_release(release_dir)
        predictor = EnsemblePredictor(release, release_dir)
    return predictor, release, time.perf_counter() - started


def usual_part(releases: Sequence[Release]) -> tuple[str, str]:
    """Return the part that releases are measured on unless another is asked for, and why it is not all of them.

    On products that networks have learned from, or that a temperature was fitted to, they look better than they are.
    """
    fitted = [one.release_id for one in releases if {"train_images", "calibrated_on_part"} & one.training.keys()]
    if not fitted:
        return "all", ""
    return "test", f"{' and '.join(fitted)} may have been fitted to products of the other parts; --part all takes all"


def _leaves(release: Release) -> set[str]:
    return {category.category_id for category in release.categories}


def _refuse_strangers(release: Release, images: Sequence[LabelledImage]) -> None:
    """Refuse products of another shop altogether; a single label that is wrong is refused by what measures."""
    leaves = _leaves(release)
    labels = {image.category_id for image in images}
    if labels.isdisjoint(leaves | {node for leaf in leaves for node in ancestors(leaf)}):
        raise UsageError(
            f"{named(release)} was to be measured and knows none of "
            f"the {len(labels):,} labels of the products, {such_as(labels)}; its categories are {such_as(leaves)}; "
            "name a release of your own with --release"
        )


def _alone(measured: Measured, one: Release, other: Release) -> dict[str, Any]:
    reason = (
        f"no labelled product has a category that both {one.release_id} and {other.release_id} know, so "
        f"{other.release_id} is measured alone"
    )
    return {"reason": reason, **sides([measured], [other])}


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

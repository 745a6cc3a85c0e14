"""Measure a release on labelled products, and two releases against each other.

    shelfwise evaluate --part test
    shelfwise evaluate --compare shop-1 shop-2

Reads images/ingest_date=*/ and their labels; writes evaluation.json and evaluation.html. The same reader, networks and
decision as in predict and publish: what is measured is what serves. The unit is the product: what its images say is put
together by the function that publish calls.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from jobs.config import UsageError
from jobs.labels import data_sha256
from jobs.measure import EvaluateConfig, Measured, measure
from models.calibration import calibration_error
from models.metrics import fold, level_names, mcnemar, quality, reliability, risk_coverage
from models.release import Release
from models.spec import Predictor

log = logging.getLogger(__name__)

Load = Callable[[Path], tuple[Predictor, Release, float]]


def figures(measured: Measured, release: Release) -> dict[str, Any]:
    """Return everything that an evaluation says, as a JSON document."""
    ids = [category.category_id for category in release.categories]
    return {
        "release_id": release.release_id,
        "taxonomy_version": release.taxonomy_version,
        "products": len(measured.product_ids),
        "images": measured.images,
        "failed_images": measured.failed,
        "data_sha256": data_sha256(measured.first_images),
        "decisions": decisions(measured, release),
        "levels": [_level(measured, ids, depth) for depth in _depths(ids)],
    }


def decisions(measured: Measured, release: Release) -> dict[str, dict[str, float | int | None]]:
    """Return, for what would be published, suggested and left open: how many products, their share, and how many right.

    A suggested inner node is right if the product belongs below it.
    """
    ids = [category.category_id for category in release.categories]
    found: dict[str, list[bool]] = {"auto": [], "review": [], "suggested_above_leaf": [], "unknown": []}
    for answer, label in zip(measured.answers(release), measured.labels, strict=True):
        above = answer.category_id is not None and answer.category_id not in ids
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

    Raises:
        UsageError: If the releases have other taxonomies, or could not answer the same products.
    """
    one, other = releases
    ids = [category.category_id for category in one.categories]
    if one.taxonomy_version != other.taxonomy_version or set(ids) != {c.category_id for c in other.categories}:
        raise UsageError(
            f"release {one.release_id} answers with taxonomy {one.taxonomy_version} and {other.release_id} with "
            f"{other.taxonomy_version}; only releases of one taxonomy can be compared"
        )
    if first.product_ids != second.product_ids:
        raise UsageError("the two releases did not answer the same products; run the comparison again")
    whole = mcnemar(first.hits, second.hits)
    categories = []
    for index, category_id in enumerate(ids):
        own = first.labels == index
        part = mcnemar(first.hits[own], second.hits[own])
        categories.append({"category_id": category_id, "products": int(own.sum()), **asdict(part)})
    return {
        "first": one.release_id,
        "second": other.release_id,
        "accuracy": {one.release_id: float(first.hits.mean()), other.release_id: float(second.hits.mean())},
        **asdict(whole),
        "categories": categories,
    }


def run(releases: Sequence[Path], config: EvaluateConfig, load: Load) -> tuple[dict[str, Any], Measured, Release]:
    """Measure one release, or two on the same products.

    Args:
        releases: One or two directories.
        config: What to measure on.
        load: Builds a predictor, as `jobs.predict.load_predictor` does.

    Returns:
        The document, with `comparison` if there are two; the first release's rows and the release.
    """
    images = config.images()
    measured, loaded = [], []
    for directory in releases:
        predictor, release, _ = load(directory)
        log.info("evaluate: %s images of %s", len(images), release.release_id)
        measured.append(measure(predictor, release, images, config))
        loaded.append(release)
    document = {"part": config.part or "all", "part_reason": config.part_reason, **figures(measured[0], loaded[0])}
    if len(releases) == 2:
        document["comparison"] = compare(measured[0], measured[1], (loaded[0], loaded[1]))
    return document, measured[0], loaded[0]


def usual_part(releases: Sequence[Release]) -> tuple[str, str]:
    """Return the part that releases are measured on unless another is asked for, and why it is not all of them.

    On products that networks have learned from, or that a temperature was fitted to, they look better than they are.
    """
    fitted = [one.release_id for one in releases if {"train_images", "calibrated_on_part"} & one.training.keys()]
    if not fitted:
        return "all", ""
    return "test", f"{' and '.join(fitted)} may have been fitted to products of the other parts; --part all takes all"


def _depths(ids: Sequence[str]) -> list[int]:
    deepest = max(category_id.count(".") for category_id in ids) + 1
    return [deepest, *range(deepest - 1, 0, -1)]


def _level(measured: Measured, ids: Sequence[str], depth: int) -> dict[str, Any]:
    names = level_names(ids, depth)
    rows, labels, kept = fold(measured.confidences, measured.labels, names)
    networks = {
        name: fold(part, measured.labels, names)[0].argmax(axis=1) for name, part in measured.by_network.items()
    }
    answers = np.stack(list(networks.values()))
    agree = (answers == answers[0]).all(axis=0)
    hits = rows.argmax(axis=1) == labels
    raw = fold(measured.raw, measured.labels, names)[0]
    before, after = (raw.max(axis=1), raw.argmax(axis=1) == labels), (rows.max(axis=1), hits)
    return {
        "depth": depth,
        "leaf": depth == _depths(ids)[0],
        "networks": {name: float((answer == labels).mean()) for name, answer in networks.items()},
        "agreement": float(agree.mean()) if len(networks) > 1 else None,
        "accuracy_where_networks_agree": float(hits[agree].mean()) if agree.any() else None,
        "accuracy_where_networks_differ": float(hits[~agree].mean()) if (~agree).any() else None,
        "calibration": {
            "before": calibration_error(*before),
            "after": calibration_error(*after),
            "reliability_before": reliability(*before),
            "reliability": reliability(*after),
        },
        "risk_coverage": risk_coverage(*after),
        **quality(rows, labels, kept),
    }

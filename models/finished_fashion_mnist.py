"""Finish a trained release of Fashion-MNIST: describe which images it knows, calibrate it, and measure it.

Works on arrays, and writes no file but a temporary one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.answers.calibration import calibration_error, combine
from models.answers.products import answer_of_image
from models.calibrated import calibrated
from models.card import NAME, model_card
from models.known.fit import MOST_REFERENCES, Examples, FittedKnown, drawn, fit_if_possible
from models.known.gate import ImageGate, load_gate, untrusted_by
from models.release import Release
from models.spec import Features, Images, Predictions, Predictor
from models.training.arrays import enlarged
from models.whole_files import write_whole


@dataclass(frozen=True)
class LabelledArticles:
    """Articles with their true categories.

    Attributes:
        squares: uint8 (articles, height_px, width_px, 3), RGB, 0-255.
        labels: Category of each article, as a column index, (articles,).
    """

    squares: Images
    labels: NDArray[np.integer[Any]]


def finished(
    draft: Release, predictor: Predictor, *, learned: Images, held_out: LabelledArticles, tested: LabelledArticles
) -> tuple[Release, dict[str, str | bytes]]:
    """Describe which images a release knows, calibrate it on held-out articles, and measure it on test articles.

    Args:
        draft: Release with the hashes of the weights, without a description of known images.
        predictor: Its networks.
        learned: Articles that the networks learned from, uint8 (articles, height_px, width_px, 3).
        held_out: Articles that calibrate.
        tested: Articles that measure.

    Returns:
        The release, and its documents by file name.
    """
    answers = answers_of(predictor, held_out.squares)
    known = _known(draft, predictor, learned, _examples("held out", held_out.squares, answers.features))
    gate = ImageGate()
    if known:
        draft = replace(draft, known=known.spec)
        with tempfile.TemporaryDirectory() as scratch:
            write_whole(Path(scratch, known.spec.file), known.content)
            gate = load_gate(draft, Path(scratch))
    by_score = [untrusted_by(score) for score in known.scores.tolist()] if known else None
    release = calibrated(draft, answers.by_network, held_out.labels, untrusted=by_score)
    answers = answers_of(predictor, tested.squares)
    untrusted = [judgement.untrusted for judgement in gate.judge(answers.features, len(tested.squares))]
    release = replace(release, metrics=figures(release, answers.by_network, tested.labels, untrusted))
    documents: dict[str, str | bytes] = {NAME: model_card(release)}
    return release, documents | ({known.spec.file: known.content} if known else {})


def _known(draft: Release, predictor: Predictor, learned: Images, calibrating: Examples) -> FittedKnown | None:
    """Describe the images that the release knows by some of the articles that it learned from."""
    articles = _examples("learned", learned, {})
    rows = sorted(drawn(articles.products, articles.contents, most=MOST_REFERENCES))
    references = _examples("learned", learned[rows], answers_of(predictor, learned[rows]).features)
    return fit_if_possible(references, calibrating, release_id=draft.release_id)


def _examples(kind: str, squares: Images, features: Mapping[str, Features]) -> Examples:
    """Return articles with their features; every article is a product of its own."""
    products = [f"{kind} {number}" for number in range(len(squares))]
    return Examples(features, products, [sha256(square.tobytes()).hexdigest() for square in squares])


def answers_of(predictor: Predictor, squares: Images) -> Predictions:
    """Return the predictions for articles, one row each."""
    parts = [
        predictor.predict(enlarged(squares[start : start + 256], predictor.decode_px))
        for start in range(0, len(squares), 256)
    ]
    return Predictions(
        np.concatenate([part.confidences for part in parts]),
        {name: np.concatenate([part.by_network[name] for part in parts]) for name in parts[0].by_network},
        {name: np.concatenate([part.features[name] for part in parts]) for name in parts[0].features},
    )


def figures(
    release: Release,
    by_network: Mapping[str, NDArray[np.float32]],
    labels: NDArray[np.integer[Any]],
    untrusted: Sequence[str | None],
) -> dict[str, float]:
    """Return the metrics of Fashion-MNIST's test articles for release.json, each in [0, 1].

    Args:
        release: Calibrated release.
        by_network: Softmax of each network, by architecture name, (articles, categories).
        labels: True category of each article, as a column index, (articles,).
        untrusted: Why the release cannot judge each article; None where it can.
    """
    shares = {network.architecture: network.ensemble_weight for network in release.networks}
    confidences = combine(by_network, weights=shares, temperature=release.temperature)
    hits = confidences.argmax(axis=1) == labels
    ids = [category.category_id for category in release.categories]
    answers = [
        answer_of_image(ids, row, release.policy, untrusted=reason)
        for row, reason in zip(confidences, untrusted, strict=True)
    ]
    automatic = [
        answer.category_id == ids[label]
        for answer, label in zip(answers, labels, strict=True)
        if answer.status == "auto"
    ]
    metrics = {
        f"{name}_test_accuracy": float((part.argmax(axis=1) == labels).mean()) for name, part in by_network.items()
    }
    metrics |= {
        "ensemble_test_accuracy": float(hits.mean()),
        "ensemble_test_calibration_error": calibration_error(confidences.max(axis=1), hits),
        "automatic_share": len(automatic) / len(labels),
        "automatic_precision": float(np.mean(automatic or [0.0])),
    }
    return {name: round(value, 4) for name, value in metrics.items()}

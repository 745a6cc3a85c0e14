"""From the networks' answers to one calibrated distribution, and from that to a decision.

The ensemble is a weighted mean of the networks' softmaxes. One temperature T then corrects its confidence:
`p_T = softmax(log(p) / T)` (Guo et al., 2017, arXiv:1706.04599, applied to the mixture's log-probabilities).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.spec import Probabilities

AUTO_THRESHOLD = 0.8
"""Confidence from which a category is published without a person, for releases without thresholds of their own."""

_TINY = 1e-12


def combine(
    by_network: Mapping[str, Probabilities], *, weights: Mapping[str, float], temperature: float
) -> Probabilities:
    """Average the networks and apply the temperature.

    Args:
        by_network: Each network's softmax, float32 (batch, categories).
        weights: Each network's share; the shares sum to 1.
        temperature: Above 0; over 1 softens, under 1 sharpens.

    Returns:
        float32 (batch, categories), each row sums to 1.
    """
    mixture = sum(weights[name] * np.asarray(part, np.float64) for name, part in by_network.items())
    return _apply_temperature(np.asarray(mixture), temperature)


def fit_temperature(mixture: Probabilities, labels: NDArray[np.integer[Any]]) -> float:
    """Find the temperature with the least log-loss on held-out data.

    Args:
        mixture: The ensemble before any temperature, (examples, categories).
        labels: The true category of each example, an index into the columns.

    Returns:
        A temperature between 0.05 and 20.
    """
    from scipy.optimize import minimize_scalar  # half a second that serving need not pay

    def log_loss(log_temperature: float) -> float:
        softened = _apply_temperature(mixture, float(np.exp(log_temperature)))
        return float(-np.log(np.maximum(softened[np.arange(len(labels)), labels], _TINY)).mean())

    found = minimize_scalar(log_loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def calibration_error(confidences: NDArray[np.floating[Any]], hits: NDArray[np.bool_], *, bins: int = 15) -> float:
    """Measure how far confidence is from accuracy, over bins of equal mass.

    Args:
        confidences: The winner's confidence of each example, in [0, 1].
        hits: Whether that winner was right.
        bins: How many equally full bins.

    Returns:
        The mean over examples of |accuracy - mean confidence| of their bin, in [0, 1].
    """
    order = np.argsort(confidences, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [abs(hits[part].mean() - confidences[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / max(len(confidences), 1))


def status(confidence: float, threshold: float) -> str:
    """Return `auto` for a confidence at or over its category's threshold, else `review`."""
    return "auto" if confidence >= threshold else "review"


def combine_images(tops: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Combine what several images of one product say: the mean confidence of each category.

    Args:
        tops: For each image its best categories with their confidences; a category that is not among them counts 0.

    Returns:
        Mean confidence by category_id, the surest first; ties in order of category_id, so that the order of the images
        does not matter.
    """
    confidences: dict[str, list[float]] = {}
    for top in tops:
        for category_id, confidence in top.items():
            confidences.setdefault(category_id, []).append(confidence)
    # A plain sum depends on the order in its last digit, and the last digit can decide a tie.
    means = {category_id: math.fsum(parts) / len(tops) for category_id, parts in confidences.items()}
    return dict(sorted(means.items(), key=lambda item: (-item[1], item[0])))


def _apply_temperature(mixture: NDArray[np.floating[Any]], temperature: float) -> Probabilities:
    scaled = np.log(np.maximum(np.asarray(mixture, np.float64), _TINY)) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)

"""From the networks' answers to one calibrated distribution; `models.decision` says what is done with it.

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


def fit_ensemble(
    by_network: Mapping[str, Probabilities], labels: NDArray[np.integer[Any]]
) -> tuple[dict[str, float], float]:
    """Find the networks' shares and one temperature together, with the least log-loss on held-out data.

    Args:
        by_network: Each network's softmax, (examples, categories).
        labels: The true category of each example, an index into the columns.

    Returns:
        The shares, which sum to 1, and the temperature, between 0.05 and 20.
    """
    from scipy.optimize import minimize

    names = list(by_network)
    parts = np.stack([np.asarray(by_network[name], np.float64) for name in names])
    rows = np.arange(len(labels))

    def shares_of(free: NDArray[np.float64]) -> NDArray[np.float64]:
        powers = np.exp(np.clip(np.append(free, 0.0), -20, 20))  # a softmax, so that any point is a valid answer
        return np.asarray(powers / powers.sum())

    def log_loss(point: NDArray[np.float64]) -> float:
        mixture = np.tensordot(shares_of(point[:-1]), parts, axes=1)
        softened = _apply_temperature(mixture, float(np.exp(point[-1])))
        return float(-np.log(np.maximum(softened[rows, labels], _TINY)).mean())

    equal = {name: 1 / len(names) for name in names}
    if len(names) == 1:
        return equal, fit_temperature(by_network[names[0]], labels)
    start = np.zeros(len(names))
    start[-1] = np.log(fit_temperature(combine(by_network, weights=equal, temperature=1.0), labels))
    bounds = [(-8.0, 8.0)] * (len(names) - 1) + [(np.log(0.05), np.log(20.0))]
    found = minimize(log_loss, start, method="Nelder-Mead", bounds=bounds, options={"xatol": 1e-3, "fatol": 1e-7})
    shares = [round(float(share), 6) for share in shares_of(found.x[:-1])]
    shares[-1] = round(1 - math.fsum(shares[:-1]), 6)
    return dict(zip(names, shares, strict=True)), float(np.exp(found.x[-1]))


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

"""From the networks' answers to one calibrated distribution; `models.answers.decision` says what is done with it.

The ensemble is a weighted mean of the networks' softmaxes. One temperature T then corrects its confidence:
`p_T = softmax(log(p) / T)` (Guo et al., 2017, arXiv:1706.04599, applied to the mixture's log-probabilities).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.spec import Probabilities

TEMPERATURE_SPREAD = 0.5
"""Networks that were trained well have temperatures between a third and three: two spreads of log T."""

SHARES_SPREAD = 1.0
"""Of the logarithms of shares: one of two networks has between a tenth and nine tenths, unless the data insist."""

_TINY = 1e-12

_ROWS = 1024
"""Examples that are looked at in one go: the arithmetic is in float64, and of all at once it would fill the memory."""


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
    parts = [(weights[name], np.asarray(part)) for name, part in by_network.items()]
    whole = np.empty(parts[0][1].shape, np.float32)
    for own in _slices(len(whole)):
        whole[own] = _softened(_mixture(parts, own), temperature)
    return whole


def fit_ensemble(
    by_network: Mapping[str, Probabilities], labels: NDArray[np.integer[Any]]
) -> tuple[dict[str, float], float]:
    """Find the networks' shares and one temperature together, the most probable ones after held-out data.

    They minimise the log-loss summed over the examples and a penalty that stays the same however many there are: as if
    log T were known beforehand to be 0 give or take `TEMPERATURE_SPREAD`, and the shares' logarithms to be equal give
    or take `SHARES_SPREAD`. A hundred examples outweigh it; without any, nothing is corrected.

    Args:
        by_network: Each network's softmax, (examples, categories).
        labels: The true category of each example, an index into the columns.

    Returns:
        The shares, which sum to 1, and the temperature, between 0.05 and 20.
    """
    from scipy.optimize import minimize  # half a second that serving need not pay

    names = list(by_network)
    parts = [np.asarray(by_network[name]) for name in names]

    def loss(point: NDArray[np.float64]) -> float:
        free = point[:-1] - point[:-1].mean()
        penalty = (free**2).sum() / (2 * SHARES_SPREAD**2) + point[-1] ** 2 / (2 * TEMPERATURE_SPREAD**2)
        if not len(labels):
            return float(penalty)
        shared = list(zip(_shares(free).tolist(), parts, strict=True))
        likelihood = 0.0
        for own in _slices(len(labels)):
            softened = _softened(_mixture(shared, own), float(np.exp(point[-1])))
            true = softened[np.arange(len(softened)), labels[own]]
            likelihood += float(np.log(np.maximum(true, _TINY)).sum())
        return float(penalty - likelihood) / len(labels)

    limits = [(-8.0, 8.0)] * len(names) + [(math.log(0.05), math.log(20.0))]
    found = minimize(loss, np.zeros(len(names) + 1), method="L-BFGS-B", bounds=limits)
    shares = rounded(_shares(found.x[:-1]).tolist())
    return dict(zip(names, shares, strict=True)), float(np.exp(found.x[-1]))


def rounded(shares: Sequence[float]) -> list[float]:
    """Round shares to six digits so that they still sum to 1; the largest takes what is left, so none is below 0."""
    result = [round(share, 6) for share in shares]
    largest = result.index(max(result))
    result[largest] = round(1 - math.fsum(result[:largest] + result[largest + 1 :]), 6)
    return result


def _shares(free: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a softmax, so that any point is a valid answer."""
    powers = np.exp(free - free.max())
    return np.asarray(powers / powers.sum())


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


def _slices(count: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS) for start in range(0, count, _ROWS))


def _mixture(parts: Sequence[tuple[float, Probabilities]], own: slice) -> NDArray[np.float64]:
    return np.asarray(sum(share * np.asarray(part[own], np.float64) for share, part in parts))


def _softened(mixture: NDArray[np.floating[Any]], temperature: float) -> NDArray[np.float64]:
    """Apply a temperature; in float64, as the fit looks at differences far below float32's digits."""
    scaled = np.log(np.maximum(np.asarray(mixture, np.float64), _TINY)) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)

"""Combine the softmax of several networks into one calibrated distribution over the categories.

`models.answers.decision` then decides whether the result is published. Reads and writes no files.

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
"""Standard deviation of the prior on log T, in natural logarithms.

Two of them cover temperatures from 1/3 to 3, the usual range of well-trained networks.
"""

SHARES_SPREAD = 1.0
"""Standard deviation of the prior on the logarithms of the networks' shares.

It keeps the share of one of two networks between 0.1 and 0.9, unless the data clearly show otherwise.
"""

_TINY = 1e-12
"""Lower limit of a probability before its logarithm is taken."""

_ROWS = 1024
"""Examples computed at once. The arithmetic is in float64; all examples at once could exhaust the memory."""


def combine(
    by_network: Mapping[str, Probabilities], *, weights: Mapping[str, float], temperature: float
) -> Probabilities:
    """Combine the networks' softmaxes into one calibrated distribution: a weighted mean with the temperature applied.

    Args:
        by_network: Softmax of each network, by architecture name, float32 (batch, categories).
        weights: Share of each network in the mean, by architecture name; the shares sum to 1.
        temperature: Calibration temperature, above 0. Above 1 it lowers the confidences, below 1 it raises them.

    Returns:
        Calibrated confidences, float32 (batch, categories); each row sums to 1.
    """
    parts = [(weights[name], np.asarray(part)) for name, part in by_network.items()]
    whole = np.empty(parts[0][1].shape, np.float32)
    for rows in _slices(len(whole)):
        whole[rows] = _softened(_mixture(parts, rows), temperature)
    return whole


def fit_ensemble(
    by_network: Mapping[str, Probabilities], labels: NDArray[np.integer[Any]]
) -> tuple[dict[str, float], float]:
    """Fit the networks' shares and one calibration temperature together on held-out data (maximum a posteriori).

    Minimises the log-loss, summed over the examples, plus a penalty that does not grow with their number. The penalty
    is a Gaussian prior: log T has mean 0 and standard deviation `TEMPERATURE_SPREAD`; the logarithms of the shares are
    equal, with standard deviation `SHARES_SPREAD`. About 100 examples outweigh the prior. Without examples the shares
    are equal and the temperature is 1.

    Args:
        by_network: Softmax of each network, by architecture name, (examples, categories).
        labels: True category of each example, as a column index, (examples,).

    Returns:
        The share of each network, by architecture name, which sum to 1; and the temperature, between 0.05 and 20.
    """
    from scipy.optimize import minimize  # takes 0.5 s to import; serving does not need it

    names = list(by_network)
    parts = [np.asarray(by_network[name]) for name in names]

    def loss(point: NDArray[np.float64]) -> float:
        free = point[:-1] - point[:-1].mean()
        penalty = (free**2).sum() / (2 * SHARES_SPREAD**2) + point[-1] ** 2 / (2 * TEMPERATURE_SPREAD**2)
        if not len(labels):
            return float(penalty)
        shared = list(zip(_shares(free).tolist(), parts, strict=True))
        likelihood = 0.0
        for rows in _slices(len(labels)):
            softened = _softened(_mixture(shared, rows), float(np.exp(point[-1])))
            true = softened[np.arange(len(softened)), labels[rows]]
            likelihood += float(np.log(np.maximum(true, _TINY)).sum())
        return float(penalty - likelihood) / len(labels)

    limits = [(-8.0, 8.0)] * len(names) + [(math.log(0.05), math.log(20.0))]
    fit = minimize(loss, np.zeros(len(names) + 1), method="L-BFGS-B", bounds=limits)
    shares = rounded(_shares(fit.x[:-1]).tolist())
    return dict(zip(names, shares, strict=True)), float(np.exp(fit.x[-1]))


def rounded(shares: Sequence[float]) -> list[float]:
    """Round the networks' shares to six digits so that they still sum to 1.

    The largest share takes the rounding difference, so that no share becomes negative.
    """
    result = [round(share, 6) for share in shares]
    largest = result.index(max(result))
    result[largest] = round(1 - math.fsum(result[:largest] + result[largest + 1 :]), 6)
    return result


def _shares(free: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax of unconstrained values, so that every point of the optimiser gives valid shares."""
    powers = np.exp(free - np.max(free))
    return np.asarray(powers / powers.sum())


def calibration_error(confidences: NDArray[np.floating[Any]], hits: NDArray[np.bool_], *, bins: int = 15) -> float:
    """Return the expected calibration error of confidences, over bins with an equal number of examples.

    Args:
        confidences: Confidence of the best category of each example, in [0, 1], (examples,).
        hits: Whether that category is the true one, (examples,).
        bins: Number of bins.

    Returns:
        The mean over examples of |accuracy - mean confidence| of their bin, in [0, 1].
    """
    order = np.argsort(confidences, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [abs(hits[part].mean() - confidences[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / max(len(confidences), 1))


def _slices(count: int) -> Iterator[slice]:
    """Yield slices of at most `_ROWS` examples that together cover `count` examples."""
    return (slice(start, start + _ROWS) for start in range(0, count, _ROWS))


def _mixture(parts: Sequence[tuple[float, Probabilities]], rows: slice) -> NDArray[np.float64]:
    """Return the weighted mean of some rows of the networks' softmaxes, given as (share, softmax)."""
    return np.asarray(sum(share * np.asarray(part[rows], np.float64) for share, part in parts))


def _softened(mixture: NDArray[np.floating[Any]], temperature: float) -> NDArray[np.float64]:
    """Apply a temperature, in float64: the fit compares losses that differ by less than float32 resolves."""
    scaled = np.log(np.maximum(np.asarray(mixture, np.float64), _TINY)) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)

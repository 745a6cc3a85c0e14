"""Fit a linear head on features: multinomial logistic regression with an L2 penalty, the last Dense layer of a network.

The penalty is on the weights of scaled features, so that its strength means about the same for every backbone. The
fitted head is given for the features as they are, so that it is an ordinary Dense layer.

Features are centred, and divided by the geometric mean of their own standard deviation and that of all features
together. On photographs this gives a lower log-loss than dividing by either: features that vary little are neither
blown up to the size of the others nor left out.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.spec import Probabilities

Features = NDArray[np.float32]
"""float32 (images, features), finite."""

Block = tuple[Features, NDArray[np.int64]]
"""Some images to learn from: their features, and the category index of each, int64 (images,)."""

LEAST_SPREAD = 1e-2
"""Lowest standard deviation that a feature counts with, relative to the root mean square of all of them.

A feature that is almost constant would otherwise get a huge weight, which float16 cannot store.
"""

ITERATIONS = 300
"""Most iterations of the optimiser. With a useful penalty it converges in 10 to 40."""

_TOLERANCES = {"gtol": 3e-5, "ftol": 1e-7}
"""Largest gradient, and least relative progress, at which the optimiser stops; float32 resolves little more."""

_ROWS = 4096
"""Images whose logits are computed at once; bounds the memory."""

log = logging.getLogger(__name__)


class UnusableFeatures(ValueError):
    """Raised for features that no head can learn from: not finite, or equal for all images."""


@dataclass(frozen=True)
class Head:
    """A linear head.

    Attributes:
        kernel: Weights, float32 (features, categories).
        bias: Biases, float32 (categories,).
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]

    def probabilities(self, features: Features) -> Probabilities:
        """Return the softmax of the logits, float32 (images, categories)."""
        answers = np.empty((len(features), len(self.bias)), np.float32)
        for start in range(0, len(features), _ROWS):
            rows = slice(start, start + _ROWS)
            logits = features[rows] @ self.kernel + self.bias
            answers[rows] = _softmax(logits)[0]
        return answers


@dataclass(frozen=True)
class Scale:
    """What is subtracted from features, and by what they are divided then.

    Attributes:
        mean: Mean of each feature, float64 (features,).
        spread: Geometric mean of the standard deviations of each feature and of all of them, float64 (features,).
    """

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]


def scale_of(blocks: Sequence[Block]) -> Scale:
    """Measure the mean and the spread of features.

    Args:
        blocks: Images to learn from, at least one.

    Raises:
        UnusableFeatures: If a feature is not finite, or all images have the same features; compute them with another
            backbone.
    """
    count = sum(len(features) for features, _ in blocks)
    mean: NDArray[np.float64] = (
        np.sum([features.sum(axis=0, dtype=np.float64) for features, _ in blocks], axis=0) / count
    )
    if not np.isfinite(mean).all():
        broken = sum(int((~np.isfinite(features)).any(axis=1).sum()) for features, _ in blocks)
        raise UnusableFeatures(f"the features of {broken:,} of {count:,} images are not finite numbers")
    squares = np.zeros_like(mean)
    for features, _ in blocks:
        for start in range(0, len(features), _ROWS):
            squares += ((features[start : start + _ROWS] - mean) ** 2).sum(axis=0)
    spread = np.sqrt(squares / count)
    usual = float(np.sqrt((spread**2).mean()))
    if usual <= 1e-6 * float(np.abs(mean).max(initial=0.0)) or usual == 0:
        raise UnusableFeatures(f"the features of all {count:,} images are equal")
    return Scale(mean, np.sqrt(np.maximum(spread, LEAST_SPREAD * usual) * usual))


def fit_head(
    blocks: Sequence[Block],
    categories: int,
    *,
    strength: float,
    start: Head | None = None,
    scale: Scale | None = None,
) -> Head:
    """Fit a head: the least log-loss of the images, plus `strength` / 2 times the sum of the squared weights.

    A penalty of strength s is a Gaussian prior of variance 1/s on the weights of scaled features, see `Scale`. The
    biases have none.

    Args:
        blocks: Images to learn from; they may be parts of one array, so that nothing is copied.
        categories: Number of categories, the width of the head.
        strength: Strength of the penalty, above 0.
        start: Head to start from, of a similar fit; None starts from the frequencies of the categories.
        scale: `scale_of` these blocks, if it is known.

    Returns:
        The head for features that are not scaled.

    Raises:
        UnusableFeatures: If no head can be fitted to the features.
        ValueError: If a category has no image.
    """
    from scipy.optimize import minimize  # takes 0.5 s to import

    scale = scale or scale_of(blocks)
    counts = sum(np.bincount(labels, minlength=categories) for _, labels in blocks)
    if not np.all(counts):
        raise ValueError(f"category {int(np.argmin(counts))} has no image to learn from")
    loss = _Loss(blocks, categories, strength, scale)
    fit = minimize(
        loss,
        loss.point_of(start, counts),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": ITERATIONS, "maxcor": 5, **_TOLERANCES},
    )
    log.debug("head: strength %g, %s iterations, loss %.5f", strength, fit.nit, fit.fun)
    return loss.head_at(fit.x)


class _Loss:
    """Mean loss of an image and its gradient, at a point of the optimiser: weights of scaled features, and biases.

    The weights of a point are in standard deviations of their prior, 1 / sqrt(`strength`). In that unit they move about
    as far as the biases, and the optimiser needs a quarter of the steps.
    """

    def __init__(self, blocks: Sequence[Block], categories: int, strength: float, scale: Scale) -> None:
        self._blocks = [
            (features[start : start + _ROWS], labels[start : start + _ROWS])
            for features, labels in blocks
            for start in range(0, len(features), _ROWS)
        ]
        self._count = sum(len(labels) for _, labels in self._blocks)
        self._shape = (len(scale.mean), categories)
        self._strength, self._scale = strength, scale
        self._unit = 1 / np.sqrt(strength)

    def __call__(self, point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the loss and its gradient. The features stay as they are: the weights are converted instead."""
        weights, _ = self._split(point)
        head = self.head_at(point)
        loss = 0.5 * self._strength * float((weights**2).sum())
        kernel_gradient = np.zeros(self._shape)
        bias_gradient = np.zeros(self._shape[1])
        for features, labels in self._blocks:
            softmax, log_softmax = _softmax(features @ head.kernel + head.bias)
            rows = np.arange(len(labels))
            loss -= float(log_softmax[rows, labels].sum(dtype=np.float64))
            softmax[rows, labels] -= 1
            kernel_gradient += features.T @ softmax
            bias_gradient += softmax.sum(axis=0, dtype=np.float64)
        scaled = (kernel_gradient - np.outer(self._scale.mean, bias_gradient)) / self._scale.spread[:, None]
        weight_gradient = (scaled + self._strength * weights) * self._unit
        gradient = np.concatenate([weight_gradient.ravel(), bias_gradient])
        return loss / self._count, gradient / self._count

    def head_at(self, point: NDArray[np.float64]) -> Head:
        """Return the head, for features that are not scaled, at a point of the optimiser."""
        weights, bias = self._split(point)
        kernel = weights / self._scale.spread[:, None]
        return Head(kernel.astype(np.float32), (bias - self._scale.mean @ kernel).astype(np.float32))

    def point_of(self, head: Head | None, counts: Any) -> NDArray[np.float64]:
        """Return the point of the optimiser at a head; without one, zero weights and the categories' frequencies."""
        if head is None:
            return np.concatenate([np.zeros(self._shape).ravel(), np.log(counts / self._count)])
        kernel = head.kernel.astype(np.float64)
        weights = kernel * self._scale.spread[:, None] / self._unit
        return np.concatenate([weights.ravel(), head.bias + self._scale.mean @ kernel])

    def _split(self, point: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        size = self._shape[0] * self._shape[1]
        return point[:size].reshape(self._shape) * self._unit, point[size:]


def _softmax(logits: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the softmax of each row and its logarithm."""
    shifted: NDArray[np.float32] = logits - logits.max(axis=1, keepdims=True)
    powers: NDArray[np.float32] = np.exp(shifted)
    sums: NDArray[np.float32] = powers.sum(axis=1, keepdims=True, dtype=np.float32)
    softmax: NDArray[np.float32] = powers / sums
    logarithms: NDArray[np.float32] = shifted - np.log(sums)
    return softmax, logarithms

"""The linear head: against a slow solution, on features that are hard to scale, and on those that teach nothing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import approx_fprime, minimize

from models.linear.head import LEAST_SPREAD, Block, UnusableFeatures, _Loss, fit_head, scale_of

KINDS = 3


def drawn(images: int = 120, features: int = 4, *, seed: int = 0) -> Block:
    """Draw images of three categories around three centres."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, KINDS, images)
    labels[:KINDS] = range(KINDS)
    centres = np.random.default_rng(99).normal(size=(KINDS, features))
    return (centres[labels] + random.normal(size=(images, features))).astype(np.float32), labels


def test_the_head_is_the_minimum_of_the_penalised_log_loss() -> None:
    """Against a general optimiser without gradient, over features that are scaled by the definition."""
    features, labels = drawn()
    features *= np.array([1, 3, 0.5, 10], np.float32)
    own = features.std(axis=0)
    standard = (features - features.mean(axis=0)) / np.sqrt(own * np.sqrt((own**2).mean()))
    strength = 2.0

    def loss(point: NDArray[np.float64]) -> float:
        kernel, bias = point[:12].reshape(4, 3), point[12:]
        logits = standard @ kernel + bias
        logits -= logits.max(axis=1, keepdims=True)
        log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return float(-log_softmax[np.arange(len(labels)), labels].sum() + strength / 2 * (kernel**2).sum())

    expected = minimize(loss, np.zeros(15), method="BFGS").x
    logits = standard @ expected[:12].reshape(4, 3) + expected[12:]
    powers = np.exp(logits)
    found = fit_head([(features, labels)], KINDS, strength=strength).probabilities(features)
    np.testing.assert_allclose(found, powers / powers.sum(axis=1, keepdims=True), atol=3e-3)


def test_the_gradient_is_that_of_the_loss() -> None:
    features, labels = drawn(40)
    loss = _Loss([(features, labels)], KINDS, 1.5, scale_of([(features, labels)]))
    point = np.random.default_rng(3).normal(size=15)
    slope = approx_fprime(point, lambda each: loss(each)[0], 1e-3)
    np.testing.assert_allclose(loss(point)[1], slope, atol=2e-3)


def test_features_that_vary_together_as_those_of_a_backbone_do_take_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in the unit of their prior take 41; in that of the features they took 125."""
    random = np.random.default_rng(3)
    labels = random.integers(0, 10, 1000)
    causes = random.normal(size=(1000, 60))
    causes[:, :10] += 2 * np.eye(10)[labels]
    seen = (causes / np.arange(1, 61)) @ random.normal(size=(60, 1000)) + 0.1 * random.normal(size=(1000, 1000))
    steps, loss = [], _Loss.__call__

    def counted(self: _Loss, point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        steps.append(point)
        return loss(self, point)

    monkeypatch.setattr(_Loss, "__call__", counted)
    fit_head([(np.maximum(seen, 0).astype(np.float32), labels)], 10, strength=300.0)
    assert len(steps) < 60


def test_blocks_of_images_give_the_head_of_all_of_them_at_once() -> None:
    features, labels = drawn()
    whole = fit_head([(features, labels)], KINDS, strength=1.0)
    parts = fit_head([(features[:50], labels[:50]), (features[50:], labels[50:])], KINDS, strength=1.0)
    np.testing.assert_allclose(parts.kernel, whole.kernel, atol=2e-3)


def test_neither_the_size_nor_the_offsets_of_features_change_the_answers() -> None:
    """Backbones differ in both by orders of magnitude; the same strength means the same for all of them."""
    features, labels = drawn()
    other = (features * 30 + np.array([0, 50, -50, 200])).astype(np.float32)
    plain = fit_head([(features, labels)], KINDS, strength=5.0).probabilities(features)
    scaled = fit_head([(other, labels)], KINDS, strength=5.0).probabilities(other)
    np.testing.assert_allclose(scaled, plain, atol=5e-3)


def test_an_almost_constant_feature_gets_no_weight_that_float16_cannot_store() -> None:
    features, labels = drawn()
    features[:, 0] = 1 + 1e-6 * features[:, 0]
    head = fit_head([(features, labels)], KINDS, strength=0.01)
    assert np.isfinite(head.kernel.astype(np.float16)).all()
    spread = scale_of([(features, labels)]).spread
    assert spread[0] == pytest.approx(np.sqrt(LEAST_SPREAD * (features.std(axis=0) ** 2).mean()), rel=1e-3)


def test_a_head_can_start_from_another_and_ends_at_the_same_place() -> None:
    features, labels = drawn()
    cold = fit_head([(features, labels)], KINDS, strength=1.0)
    warm = fit_head(
        [(features, labels)], KINDS, strength=1.0, start=fit_head([(features, labels)], KINDS, strength=100.0)
    )
    np.testing.assert_allclose(warm.probabilities(features), cold.probabilities(features), atol=3e-3)


def test_a_strong_penalty_answers_with_the_frequencies_of_the_categories() -> None:
    features, labels = drawn()
    answers = fit_head([(features, labels)], KINDS, strength=1e9).probabilities(features)
    np.testing.assert_allclose(answers[0], np.bincount(labels) / len(labels), atol=1e-3)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_numbers_are_refused(broken: float) -> None:
    features, labels = drawn()
    features[[5, 7], 1] = broken
    with pytest.raises(UnusableFeatures, match=r"^the features of 2 of 120 images are not finite numbers$"):
        fit_head([(features, labels)], KINDS, strength=1.0)


@pytest.mark.parametrize("value", [0.0, 0.1, 1234.5])
def test_features_that_are_equal_for_all_images_are_refused(value: float) -> None:
    features, labels = drawn()
    with pytest.raises(UnusableFeatures, match=r"^the features of all 120 images are equal$"):
        fit_head([(np.full_like(features, value), labels)], KINDS, strength=1.0)


def test_a_category_without_an_image_is_refused() -> None:
    features, labels = drawn()
    with pytest.raises(ValueError, match="category 3 has no image to learn from"):
        fit_head([(features, labels)], KINDS + 1, strength=1.0)

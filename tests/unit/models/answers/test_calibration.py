"""Mixture, temperature, and calibration error: against numbers worked out by hand, and as laws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.answers.calibration import (
    calibration_error,
    combine,
    fit_ensemble,
    rounded,
)
from models.answers.metrics import reliability

Rows = NDArray[np.float32]
temperatures = st.floats(0.05, 20)


def fit_temperature(mixture: Rows, labels: NDArray[np.integer[Any]]) -> float:
    """Return the temperature of one network."""
    return fit_ensemble({"mixture": mixture}, labels)[1]


@st.composite
def softmaxes(draw: st.DrawFn, *, networks: int = 1) -> list[Rows]:
    """Draw the softmaxes of some networks over the same batch and categories, sure ones among them."""
    batch, categories = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    logits = st.lists(st.floats(-60, 60), min_size=categories, max_size=categories)
    result = []
    for _ in range(networks):
        rows = np.array(draw(st.lists(logits, min_size=batch, max_size=batch)), np.float64)
        powers = np.exp(rows - rows.max(axis=1, keepdims=True))
        result.append((powers / powers.sum(axis=1, keepdims=True)).astype(np.float32))
    return result


class TestCombine:
    def test_matches_values_computed_by_hand(self) -> None:
        by_network = {"a": np.array([[0.9, 0.1]], np.float32), "b": np.array([[0.5, 0.5]], np.float32)}
        mean = combine(by_network, weights={"a": 0.75, "b": 0.25}, temperature=1.0)
        assert mean.dtype == np.float32
        np.testing.assert_allclose(mean, [[0.8, 0.2]], rtol=1e-6)

        # softmax(log(p) / T) = p^(1/T), normalised: (0.8^2, 0.2^2) = (0.64, 0.04) and (0.8^.5, 0.2^.5) = (2, 1) / 5^.5
        sharp = combine(by_network, weights={"a": 0.75, "b": 0.25}, temperature=0.5)
        np.testing.assert_allclose(sharp, [[0.64 / 0.68, 0.04 / 0.68]], rtol=1e-6)
        soft = combine(by_network, weights={"a": 0.75, "b": 0.25}, temperature=2.0)
        np.testing.assert_allclose(soft, [[2 / 3, 1 / 3]], rtol=1e-6)

    @given(softmaxes(networks=2), st.floats(0, 1), temperatures)
    def test_rows_sum_to_one(self, parts: list[Rows], share: float, temperature: float) -> None:
        by_network = dict(zip("ab", parts, strict=True))
        combined = combine(by_network, weights={"a": share, "b": 1 - share}, temperature=temperature)
        assert combined.shape == parts[0].shape
        assert (combined >= 0).all()
        np.testing.assert_allclose(combined.sum(axis=1), 1, atol=1e-6)

    @given(softmaxes())
    def test_temperature_one_changes_nothing(self, parts: list[Rows]) -> None:
        combined = combine({"a": parts[0]}, weights={"a": 1.0}, temperature=1.0)
        np.testing.assert_allclose(combined, parts[0], atol=1e-6)

    @given(softmaxes(), temperatures)
    def test_no_temperature_changes_the_winner(self, parts: list[Rows], temperature: float) -> None:
        combined = combine({"a": parts[0]}, weights={"a": 1.0}, temperature=temperature)
        rows = np.arange(len(combined))
        assert (combined[rows, parts[0].argmax(axis=1)] == combined.max(axis=1)).all()

    @given(softmaxes(), temperatures, temperatures)
    def test_a_higher_temperature_never_raises_the_confidence(
        self, parts: list[Rows], one: float, other: float
    ) -> None:
        cool, warm = (
            combine({"a": parts[0]}, weights={"a": 1.0}, temperature=temperature).max(axis=1)
            for temperature in sorted((one, other))
        )
        assert (warm <= cool + 1e-6).all()


class TestFitTemperature:
    @pytest.mark.parametrize("true_temperature", [0.5, 1.0, 2.5])
    def test_recovers_the_temperature_that_the_labels_were_drawn_with(self, true_temperature: float) -> None:
        random = np.random.default_rng(5)
        raw = random.dirichlet(np.full(4, 0.8), size=20_000).astype(np.float32)
        honest = combine({"a": raw}, weights={"a": 1.0}, temperature=true_temperature)
        labels = (honest.cumsum(axis=1) < random.random((len(raw), 1))).sum(axis=1).clip(0, 3)
        assert fit_temperature(raw, labels) == pytest.approx(true_temperature, rel=0.06)

    def test_temperature_stays_in_its_range_however_many_examples(self) -> None:
        always_right = np.array([[0.6, 0.4]] * 100_000, np.float32)
        assert fit_temperature(always_right, np.zeros(100_000, int)) == pytest.approx(0.05, rel=0.7)
        assert fit_temperature(always_right, np.ones(100_000, int)) == pytest.approx(20, rel=0.4)

    def test_ten_lucky_or_unlucky_examples_change_little(self) -> None:
        """Their least log-loss alone would be at T = 0.05 and T = 20."""
        ten = np.array([[0.9, 0.1]] * 10, np.float32)
        assert 0.6 < fit_temperature(ten, np.zeros(10, int)) < 1
        assert 1 < fit_temperature(ten, np.ones(10, int)) < 4

    @pytest.mark.parametrize("networks", [1, 2, 3])
    def test_without_examples_nothing_is_corrected(self, networks: int) -> None:
        parts = {str(number): np.zeros((0, 3), np.float32) for number in range(networks)}
        shares, temperature = fit_ensemble(parts, np.zeros(0, int))
        assert temperature == 1
        assert list(shares.values()) == pytest.approx([1 / networks] * networks, abs=1e-5)


@st.composite
def examples(draw: st.DrawFn) -> tuple[dict[str, Rows], NDArray[np.int64]]:
    """Draw a few examples with the softmaxes of two networks and any labels."""
    batch, categories = draw(st.integers(1, 12)), draw(st.integers(2, 5))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    parts = {name: random.dirichlet(np.full(categories, 0.4), size=batch).astype(np.float32) for name in "ab"}
    return parts, np.array(draw(st.lists(st.integers(0, categories - 1), min_size=batch, max_size=batch)))


class TestFewExamples:
    """Laws of the fit that hold however few examples there are."""

    @settings(deadline=None, max_examples=40)
    @given(examples())
    def test_the_fit_is_never_worse_than_no_correction_on_its_examples(self, drawn: Any) -> None:
        parts, labels = drawn
        rows = np.arange(len(labels))

        def loss(shares: dict[str, float], temperature: float) -> float:
            found = combine(parts, weights=shares, temperature=temperature)
            return float(-np.log(np.maximum(found[rows, labels], 1e-12)).sum())

        assert loss(*fit_ensemble(parts, labels)) <= loss({"a": 0.5, "b": 0.5}, 1.0) + 1e-3

    @settings(deadline=None, max_examples=40)
    @given(examples())
    def test_the_networks_names_and_order_do_not_matter(self, drawn: Any) -> None:
        parts, labels = drawn
        shares, temperature = fit_ensemble(parts, labels)
        others, same = fit_ensemble({"x": parts["b"], "y": parts["a"]}, labels)
        assert (others["y"], others["x"]) == pytest.approx((shares["a"], shares["b"]), abs=0.02)
        assert same == pytest.approx(temperature, rel=0.02)

    @settings(deadline=None, max_examples=40)
    @given(examples())
    def test_one_example_changes_the_fit_little(self, drawn: Any) -> None:
        """One log-loss of at most log(1e12) cannot outweigh what is known beforehand, and usually moves by a tenth."""
        parts, labels = drawn
        one = {name: part[:1] for name, part in parts.items()}
        shares, temperature = fit_ensemble(one, labels[:1])
        assert 0.2 < shares["a"] < 0.8
        assert 0.5 < temperature < 4

    @settings(deadline=None, max_examples=40)
    @given(examples(), st.integers(2, 50))
    def test_more_examples_change_the_fit_more(self, drawn: Any, times: int) -> None:
        parts, labels = drawn
        rows = np.arange(len(labels))

        def loss(count: int) -> float:
            repeated = {name: np.tile(part, (count, 1)) for name, part in parts.items()}
            shares, temperature = fit_ensemble(repeated, np.tile(labels, count))
            found = combine(parts, weights=shares, temperature=temperature)
            return float(-np.log(np.maximum(found[rows, labels], 1e-12)).mean())

        assert loss(times) <= loss(1) + 1e-3


class TestFitEnsemble:
    def drawn(self) -> tuple[dict[str, Rows], NDArray[np.int64]]:
        """Labels drawn from 0.8 of network a and 0.2 of network b, sharpened by a temperature of 0.7."""
        random = np.random.default_rng(3)
        parts = {name: random.dirichlet(np.full(4, 0.7), size=8_000).astype(np.float32) for name in "ab"}
        honest = combine(parts, weights={"a": 0.8, "b": 0.2}, temperature=0.7)
        return parts, (honest.cumsum(axis=1) < random.random((8_000, 1))).sum(axis=1).clip(0, 3)

    def test_recovers_shares_and_temperature_that_the_labels_were_drawn_with(self) -> None:
        parts, labels = self.drawn()
        shares, temperature = fit_ensemble(parts, labels)
        assert shares["a"] == pytest.approx(0.8, abs=0.06)
        assert math.fsum(shares.values()) == pytest.approx(1.0, abs=1e-9)
        assert temperature == pytest.approx(0.7, abs=0.08)

    def test_is_no_worse_than_equal_shares(self) -> None:
        parts, labels = self.drawn()

        def log_loss(shares: dict[str, float], temperature: float) -> float:
            rows = combine(parts, weights=shares, temperature=temperature)
            return float(-np.log(rows[np.arange(len(labels)), labels] + 1e-12).mean())

        equal = {"a": 0.5, "b": 0.5}
        mixture = combine(parts, weights=equal, temperature=1.0)
        assert log_loss(*fit_ensemble(parts, labels)) < log_loss(equal, fit_temperature(mixture, labels)) - 0.01

    def test_one_network_has_the_whole_share(self) -> None:
        parts, labels = self.drawn()
        shares, temperature = fit_ensemble({"a": parts["a"]}, labels)
        assert shares == {"a": 1.0}
        assert temperature == pytest.approx(fit_temperature(parts["a"], labels))


@given(st.lists(st.floats(-8, 8), min_size=1, max_size=6))
def test_rounded_shares_are_shares(free: list[float]) -> None:
    """Of four networks the last one's share once came out as -0.000001, and the release was refused after all."""
    powers = np.exp(np.array(free) - max(free))
    for shares in (powers / powers.sum(), np.array([0.4000006, 0.2999996, 0.2999996, 2e-7])):
        found = rounded(shares.tolist())
        assert min(found) >= 0
        assert math.fsum(found) == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(found, shares, atol=5e-6)


class TestCalibrationError:
    def test_fifteen_bins_unless_told_otherwise(self) -> None:
        """Right and wrong take turns at 0.5: pairs show no error, and bins of any other size do."""
        confidences, hits = np.full(30, 0.5), np.arange(30) % 2 == 0
        assert calibration_error(confidences, hits) == 0
        assert reliability(confidences, hits) == [(0.5, 0.5, 2)] * 15
        assert all(calibration_error(confidences, hits, bins=bins) > 0 for bins in (10, 14, 16, 20))

    def test_matches_values_computed_by_hand(self) -> None:
        # Two bins of two: (0.6, 0.7) with one hit, |0.5 - 0.65| = 0.15; (0.9, 1.0) with two hits, |1 - 0.95| = 0.05.
        confidences = np.array([0.9, 0.6, 1.0, 0.7])
        hits = np.array([True, False, True, True])
        assert calibration_error(confidences, hits, bins=2) == pytest.approx(0.10)
        # One bin: accuracy 0.75, mean confidence 0.8.
        assert calibration_error(confidences, hits, bins=1) == pytest.approx(0.05)
        # Bins of one each: 0.1, 0.6, 0.0, 0.3; more bins than examples changes nothing.
        assert calibration_error(confidences, hits, bins=4) == pytest.approx(0.25)
        assert calibration_error(confidences, hits, bins=40) == pytest.approx(0.25)

    def test_uneven_bins_are_weighted_by_their_examples(self) -> None:
        # Three examples in two bins are split 2 and 1: (2 * |0.5 - 0.5| + 1 * |0 - 0.9|) / 3.
        found = calibration_error(np.array([0.4, 0.6, 0.9]), np.array([True, False, False]), bins=2)
        assert found == pytest.approx(0.3)

    def test_without_examples_the_error_is_zero(self) -> None:
        assert calibration_error(np.array([]), np.array([], bool)) == 0

    @given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60), st.integers(1, 20))
    def test_lies_between_0_and_1(self, examples: list[tuple[float, bool]], bins: int) -> None:
        confidences, hits = (np.array(column) for column in zip(*examples, strict=True))
        assert 0 <= calibration_error(confidences, hits, bins=bins) <= 1

"""Figures of an evaluation against numbers worked out by hand, and as laws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.answers.levels import Level, among_first, build_level, depths, fold, joined, level_names
from models.answers.metrics import mcnemar, quality, reliability, risk_coverage
from models.spec import Probabilities

IDS = ["a.x.one", "a.x.two", "a.y.three", "b"]
ROWS = np.array(
    [
        [0.6, 0.3, 0.1, 0.0],  # right
        [0.5, 0.4, 0.1, 0.0],  # true two is second
        [0.1, 0.2, 0.3, 0.4],  # true one is last
        [0.0, 0.1, 0.2, 0.7],  # right
    ],
    np.float32,
)
LABELS = np.array([0, 1, 0, 3])


def seen(rows: Probabilities, labels: NDArray[np.integer[Any]], ids: Sequence[str], depth: int = 3) -> Level:
    """Look at one network's answers that no temperature changes."""
    return build_level(ids, depth, labels, rows, raw=rows, by_network={"one": rows})


def test_quality_matches_values_computed_by_hand() -> None:
    found = quality(seen(ROWS, LABELS, IDS))
    assert (found["top1"], found["top3"]) == (0.5, 0.75)
    one, two, three, b = found["categories"]
    assert (one["precision"], one["recall"], one["f1"]) == (0.5, 0.5, 0.5)
    assert (two["precision"], two["recall"], two["f1"]) == (None, 0.0, 0.0)
    assert (three["precision"], three["recall"], three["f1"]) == (None, None, None)
    assert (b["precision"], b["recall"], b["f1"]) == (0.5, 1.0, pytest.approx(2 / 3))
    assert found["macro_f1"] == pytest.approx((0.5 + 0 + 2 / 3) / 3)
    assert found["confusion"] == [
        ("a.x.one", "a.x.one", 1),
        ("a.x.one", "b", 1),
        ("a.x.two", "a.x.one", 1),
        ("b", "b", 1),
    ]


def test_ties_are_ranked_in_the_order_that_picks_the_winner() -> None:
    """A true category at 0 beside one at 1.0 was once counted among the first three."""
    certain = np.array([[1.0, 0, 0, 0, 0]] * 5, np.float32)
    assert quality(seen(certain, np.arange(5), list("abcde")))["top3"] == pytest.approx(3 / 5)
    even = np.full((5, 5), 0.2, np.float32)
    found = quality(seen(even, np.arange(5), list("abcde")))
    assert (found["top1"], found["top3"]) == (pytest.approx(1 / 5), pytest.approx(3 / 5))


def test_siblings_count_as_one_category_one_level_up() -> None:
    rows, labels, names = fold(ROWS, LABELS, level_names(IDS, 2))
    assert names == ["a.x", "a.y", "b"]
    np.testing.assert_allclose(rows, [[0.9, 0.1, 0], [0.9, 0.1, 0], [0.3, 0.3, 0.4], [0.1, 0.2, 0.7]], atol=1e-6)
    assert labels.tolist() == [0, 0, 0, 2]
    assert quality(seen(ROWS, LABELS, IDS, 2))["top1"] == 0.75
    assert level_names(IDS, 1) == ["a", "a", "a", "b"]
    assert depths(IDS) == [3, 2, 1]


def test_pairs_are_counted_the_most_frequent_first() -> None:
    rows = np.eye(3, dtype=np.float32)[[2, 2, 0, 1]]
    found = quality(seen(rows, np.array([1, 1, 0, 1]), ["c", "b", "a"]))
    assert found["confusion"] == [("b", "a", 2), ("b", "b", 1), ("c", "c", 1)]


@given(
    st.integers(1, 6).flatmap(
        lambda width: st.lists(
            st.tuples(st.lists(st.sampled_from([0.0, 0.2, 0.5]), min_size=width, max_size=width), st.integers(0, 99)),
            min_size=1,
            max_size=30,
        )
    )
)
def test_the_first_three_are_those_of_a_stable_sort(examples: list[tuple[list[float], int]]) -> None:
    rows = np.array([row for row, _ in examples], np.float32)
    labels = np.array([number % rows.shape[1] for _, number in examples])
    sorted_ones = np.argsort(-rows, axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(among_first(rows, labels), (sorted_ones == labels[:, None]).any(axis=1))


@given(st.integers(1, 7))
def test_metrics_of_parts_add_up_to_those_of_the_whole(cut: int) -> None:
    random = np.random.default_rng(5)
    ids = ["a.x", "a.y", "b.z"]
    rows, raw, other = (random.dirichlet(np.ones(3), 8).astype(np.float32) for _ in range(3))
    labels = random.integers(0, 3, 8)

    def of(own: Any) -> Level:
        return build_level(
            ids, 1, labels[own], rows[own], raw=raw[own], by_network={"one": rows[own], "two": other[own]}
        )

    found, whole = joined([of(slice(0, cut)), of(slice(cut, 8))]), of(slice(0, 8))
    for name in ("labels", "winners", "confidences", "ranked", "raw_winners", "raw_confidences"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name), err_msg=name)
    for name in ("one", "two"):
        np.testing.assert_array_equal(found.by_network[name], whole.by_network[name])


def test_reliability_matches_values_computed_by_hand() -> None:
    found = reliability(np.array([0.9, 0.6, 1.0, 0.7]), np.array([True, False, True, True]), bins=2)
    np.testing.assert_allclose(found, [(0.65, 0.5, 2), (0.95, 1.0, 2)])


def test_risk_coverage_matches_values_computed_by_hand() -> None:
    found = risk_coverage(np.array([0.9, 0.6, 1.0, 0.7]), np.array([True, False, True, False]))
    np.testing.assert_allclose(found, [(1.0, 0.25, 0.0), (0.9, 0.5, 0.0), (0.7, 0.75, 1 / 3), (0.6, 1.0, 0.5)])


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=300))
def test_the_last_point_of_risk_coverage_has_full_coverage(examples: list[tuple[float, bool]]) -> None:
    confidences, hits = (np.array(column) for column in zip(*examples, strict=True))
    curve = risk_coverage(confidences, hits)
    assert len(curve) <= 100
    np.testing.assert_allclose(curve[-1][1:], (1.0, 1 - hits.mean()))
    assert [point[0] for point in curve] == sorted((point[0] for point in curve), reverse=True)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    # 2 * (C(12,0) + C(12,1) + C(12,2)) / 2^12 = 158 / 4096; no difference at all says nothing.
    [(10, 2, 158 / 4096), (2, 10, 158 / 4096), (5, 5, 1.0), (0, 0, 1.0), (6, 0, 2 / 64)],
)
def test_mcnemar_matches_values_computed_by_hand(only_first: int, only_second: int, p_value: float) -> None:
    first = np.array([True] * only_first + [False] * only_second + [True] * 7 + [False] * 3)
    second = np.array([False] * only_first + [True] * only_second + [True] * 7 + [False] * 3)
    found = mcnemar(first, second)
    assert (found.both, found.only_first, found.only_second, found.neither) == (7, only_first, only_second, 3)
    assert found.p_value == pytest.approx(p_value)


def test_the_normal_approximation_of_mcnemar_continues_the_exact_test() -> None:
    def p_value(differing: int) -> float:
        half = differing // 2 + 60
        first = np.arange(differing) < half
        return mcnemar(first, ~first).p_value

    assert p_value(5_000) == pytest.approx(p_value(5_002), rel=2e-3)


@pytest.mark.parametrize(("differing", "exact"), [(4_998, True), (5_000, True), (5_002, False), (40_000, False)])
def test_mcnemar_of_equal_counts_is_at_most_one(differing: int, exact: bool) -> None:
    first = np.arange(differing) < differing // 2
    found = mcnemar(first, ~first)
    assert (found.only_first, found.only_second) == (differing // 2, differing // 2)
    assert (found.p_value, found.exact) == (1.0, exact)

"""Thresholds for a promised precision: the bound against published values, and the threshold by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.answers.thresholds import flawless_needed, lowest_threshold, precision_bound


@pytest.mark.parametrize(
    ("hits", "total", "certainty", "expected"),
    [
        # All n right: the bound is the n-th root of 1 - certainty.
        (10, 10, 0.95, 0.05 ** (1 / 10)),
        (59, 59, 0.95, 0.05 ** (1 / 59)),
        # 8 of 10 at 97.5 %, the lower end of the two-sided 95 % interval that tables print: (0.4439, 0.9748).
        (8, 10, 0.975, 0.4439),
        (0, 10, 0.95, 0.0),
    ],
)
def test_the_bound_is_that_of_clopper_and_pearson(hits: int, total: int, certainty: float, expected: float) -> None:
    assert float(precision_bound(hits, total, certainty=certainty)) == pytest.approx(expected, abs=5e-5)


@given(st.integers(1, 300), st.data())
def test_the_bound_is_below_the_precision_and_grows_with_every_hit(total: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, total))
    bound = float(precision_bound(hits, total))
    assert 0 <= bound < 1
    assert bound <= hits / total
    if hits < total:
        assert bound < float(precision_bound(hits + 1, total))


def test_fewer_than_59_right_answers_give_no_threshold() -> None:
    assert lowest_threshold([0.99] * 10, np.ones(10, bool)) is None
    assert lowest_threshold([0.99] * 58, np.ones(58, bool)) is None
    assert lowest_threshold([0.99] * 59, np.ones(59, bool)) == 0.99


def test_the_threshold_is_the_lowest_confidence_that_keeps_the_precision() -> None:
    # 60 right at 0.9 pass; with ten wrong ones at 0.5 the precision above 0.5 is 60 of 70.
    confidences = [0.9] * 60 + [0.5] * 10
    assert lowest_threshold(confidences, np.array([True] * 60 + [False] * 10)) == 0.9
    assert lowest_threshold(confidences, np.ones(70, bool)) == 0.5


def test_equal_confidences_are_taken_together_or_not_at_all() -> None:
    """59 right ones among equals do not open the gate when 11 wrong ones have the same confidence."""
    assert lowest_threshold([0.9] * 70, np.array([True] * 59 + [False] * 11)) is None


def test_a_threshold_may_have_a_lower_limit() -> None:
    confidences = [0.9] * 60 + [0.5] * 10
    assert lowest_threshold(confidences, np.ones(70, bool), at_least=0.6) == 0.9
    assert lowest_threshold(confidences, np.ones(70, bool), at_least=0.5) == 0.5
    assert lowest_threshold(confidences, np.ones(70, bool), at_least=0.91) is None


def test_without_examples_there_is_no_threshold() -> None:
    assert lowest_threshold([], np.array([], bool)) is None


@given(st.integers(500, 999).map(lambda thousandths: thousandths / 1000))
def test_the_minimum_number_of_right_answers_gives_a_threshold(target: float) -> None:
    needed = flawless_needed(target)
    assert lowest_threshold([0.9] * needed, np.ones(needed, bool), target=target) == 0.9
    assert lowest_threshold([0.9] * (needed - 1), np.ones(needed - 1, bool), target=target) is None

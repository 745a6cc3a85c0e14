"""Thresholds for a promised precision: the bound against published values, the gates by hand and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.answers.decision import Policy, decide
from models.answers.thresholds import fit_thresholds, flawless_needed, lowest_threshold, precision_bound


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


def test_without_examples_there_is_no_threshold() -> None:
    assert lowest_threshold([], np.array([], bool)) is None


def confusable(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Four leaves, two of them below one node: calibrated, and unsure only between those two."""
    random = np.random.default_rng(seed)
    sure = 1 - random.random(count) ** 3 / 2
    rows = np.full((count, 4), 0.004)
    group = random.integers(0, 3, count)
    tops, others = group == 0, group != 0
    first = random.integers(0, 2, count)
    rows[tops, first[tops]], rows[tops, 1 - first[tops]] = sure[tops] * 0.992, (1 - sure[tops]) * 0.992
    rows[others, group[others] + 1] = 0.988
    labels = (rows.cumsum(axis=1) < random.random((count, 1)) * rows.sum(axis=1, keepdims=True)).sum(axis=1)
    return (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32), labels.clip(0, 3)


LEAVES = ("apparel.tops.shirt", "apparel.tops.pullover", "footwear.sneaker", "bag")


def test_an_uncertain_leaf_is_suggested_one_level_up() -> None:
    rows, labels = confusable(3_000, seed=1)
    found = fit_thresholds(rows, labels, LEAVES)
    assert set(found) == {*LEAVES, "apparel.tops", "apparel"}, "a node of one leaf says no more than its leaf"
    assert found["bag"] is not None
    assert found["bag"] < 0.99
    shirt = found["apparel.tops.shirt"]
    assert shirt is not None
    assert 0.7 < shirt < 1
    answer = decide({"apparel.tops.shirt": 0.6, "apparel.tops.pullover": 0.395, "bag": 0.005}, Policy(found))
    assert (answer.category_id, answer.status) == ("apparel.tops", "review")


def test_the_precision_holds_on_products_that_were_not_used_for_the_fit() -> None:
    broken = 0
    for seed in range(20):
        found = fit_thresholds(*confusable(1_000, seed=seed), LEAVES)
        rows, labels = confusable(4_000, seed=1_000 + seed)
        answers = [decide(dict(zip(LEAVES, row.tolist(), strict=True)), Policy(found)) for row in rows]
        for leaf, category_id in enumerate(LEAVES):
            published = [
                label == leaf
                for answer, label in zip(answers, labels, strict=True)
                if answer.status == "auto" and answer.category_id == category_id
            ]
            broken += len(published) > 50 and float(np.mean(published)) < 0.95
    assert broken <= 8, f"{broken} of 80 gates let through less than promised"


def test_a_category_that_is_never_predicted_has_no_threshold() -> None:
    rows = np.array([[0.9, 0.1, 0, 0]] * 100, np.float32)
    found = fit_thresholds(rows, np.zeros(100, int), LEAVES)
    assert found["bag"] is None
    assert decide({"bag": 1.0}, Policy(found)).status == "review"


@given(st.integers(500, 999).map(lambda thousandths: thousandths / 1000))
def test_the_minimum_number_of_right_answers_gives_a_threshold(target: float) -> None:
    needed = flawless_needed(target)
    assert lowest_threshold([0.9] * needed, np.ones(needed, bool), target=target) == 0.9
    assert lowest_threshold([0.9] * (needed - 1), np.ones(needed - 1, bool), target=target) is None

"""What people are asked first: doubtful products, each for many that look like it, and none twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.answers import candidates
from models.answers.candidates import NEAR, Waiting, choose, doubt_of

WIDTH = 4


def waiting(descriptors: list[list[float]], doubts: list[float] | None = None) -> Waiting:
    """Return products by their descriptors; all are in full doubt without other doubts."""
    values = np.array(descriptors, np.float32).reshape(len(descriptors), -1)
    return Waiting(values, np.array(doubts or [1.0] * len(descriptors)))


def test_the_first_choice_covers_the_most_doubt() -> None:
    """Three products in two directions, 60 degrees apart, and one at a right angle to all.

    Doubts count squared: row 0 covers 0.04 + 0.5 x 0.36; row 1 0.5 x 0.04 + 0.36, the most; row 2 covers 0.36.
    """
    half = np.sqrt(0.75)
    shop = waiting([[1, 0, 0], [0.5, half, 0], [0, 0, 1]], [0.2, 0.6, 0.6])
    assert choose(shop, 3).tolist() == [1, 2, 0]
    assert choose(shop, 1).tolist() == [1]


def test_fifty_near_equal_shirts_are_one_question() -> None:
    random = np.random.default_rng(3)
    shirts = np.array([1, 0, 0, 0]) + random.normal(0, 0.02, (50, WIDTH))
    shop = waiting([*shirts.tolist(), [0, 1, 0, 0], [0, 0, 1, 0]])
    chosen = choose(shop, 10).tolist()
    assert chosen[0] < 50
    assert sorted(chosen[1:]) == [50, 51]


def test_what_has_a_label_is_not_asked_again() -> None:
    shop = waiting([[1, 0.01, 0], [0.6, 0.8, 0], [0, 0, 1]])
    assert choose(shop, 3, labelled=np.array([[100, 0, 0]], np.int8)).tolist() == [2, 1]


def test_a_product_like_a_labelled_one_teaches_less() -> None:
    """Of two products at right angles in equal doubt, the one that resembles the labelled one comes last."""
    shop = waiting([[1, 0, 0], [0, 1, 0]])
    assert choose(shop, 2, labelled=np.array([[0.8, 0.0, 0.6]])).tolist() == [1, 0]
    assert choose(shop, 2, labelled=np.array([[0.0, 0.8, 0.6]])).tolist() == [0, 1]


def test_one_product() -> None:
    assert choose(waiting([[3, 4]]), 500).tolist() == [0]


def test_no_product_and_no_question() -> None:
    assert choose(Waiting(np.empty((0, 3)), np.empty(0)), 5).tolist() == []
    assert choose(waiting([[1, 0]]), 0).tolist() == []


def test_products_without_a_descriptor_are_not_chosen() -> None:
    """A person could not be told which of them are alike; an unknown doubt is a full one."""
    shop = waiting([[np.nan, 1], [0, 0], [1, 0], [np.inf, 0], [0, 1]], [1, 1, 0.1, 1, np.nan])
    with np.errstate(all="raise"):
        assert choose(shop, 5).tolist() == [4, 2]


def test_what_is_surely_answered_is_chosen_when_nothing_else_is_left() -> None:
    assert choose(waiting([[1, 0], [0, 1]], [0.0, 0.0]), 2).tolist() == [0, 1]


def test_many_equal_gains_are_chosen_one_by_one() -> None:
    """More products without any gain than are computed at once: with every direction chosen, they gain nothing."""
    shop = waiting([[1.0, 0.0]] * 200)
    assert choose(shop, 150, near=2).tolist() != []
    assert len(set(choose(shop, 150, near=2).tolist())) == 150


def test_one_doubt_for_each_descriptor() -> None:
    with pytest.raises(ValueError, match=r"a doubt of each, received shapes \(2, 2\) and \(1,\)"):
        choose(Waiting(np.eye(2), np.ones(1)), 1)


def test_a_pool_is_bounded_by_what_is_drawn_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is drawn to be covered, all can be chosen, and the same seed chooses the same."""
    monkeypatch.setattr(candidates, "MOST_COVERED", 8)
    random = np.random.default_rng(5)
    shop = Waiting(random.normal(size=(100, 30)), random.random(100))
    first = choose(shop, 100, seed=1)
    assert sorted(first.tolist()) == list(range(100))
    assert first.tolist() == choose(shop, 100, seed=1).tolist()
    assert first.tolist() != choose(shop, 100, seed=2).tolist()


@pytest.mark.parametrize(
    ("confidences", "doubt"), [([0.7, 0.1, 0.2], 0.5), ([0.5, 0.5], 1.0), ([0.25], 0.75), ([], 1.0), ([1.0], 0.0)]
)
def test_the_doubt_is_how_close_the_second_category_is(confidences: list[float], doubt: float) -> None:
    assert doubt_of(confidences) == pytest.approx(doubt)


def similar(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


@settings(deadline=None)
@given(
    descriptors=st.lists(st.lists(st.integers(-127, 127), min_size=WIDTH, max_size=WIDTH), min_size=1, max_size=40),
    labelled=st.lists(st.lists(st.integers(-127, 127), min_size=WIDTH, max_size=WIDTH), max_size=3),
    count=st.integers(0, 50),
    data=st.data(),
)
def test_each_choice_is_new_and_none_is_left_out(
    descriptors: list[list[int]], labelled: list[list[int]], count: int, data: st.DataObject
) -> None:
    size = len(descriptors)
    doubts = np.array(data.draw(st.lists(st.floats(0, 1), min_size=size, max_size=size)))
    values, known = np.array(descriptors, np.int8), np.array(labelled, np.int8).reshape(-1, WIDTH)
    chosen = choose(Waiting(values, doubts), count, labelled=known).tolist()
    assert chosen == choose(Waiting(values, doubts), count, labelled=known).tolist()
    assert chosen == choose(Waiting(values, doubts), 50, labelled=known).tolist()[:count], "more questions, same begin"
    assert len(set(chosen)) == len(chosen) <= count
    exact = values.astype(np.float64)
    asked = [*known.astype(np.float64)[known.any(axis=1)], *exact[chosen]]
    for place, row in enumerate(chosen, start=len(asked) - len(chosen)):
        assert all(similar(exact[row], other) < NEAR + 1e-5 for other in asked[:place])
    if len(chosen) < count:
        for row in set(range(size)) - set(chosen):
            assert not values[row].any() or any(similar(exact[row], other) > NEAR - 1e-5 for other in asked)

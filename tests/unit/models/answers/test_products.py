"""The mean of a product's images: against numbers worked out by hand, and as laws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.answers.decision import Answer, Policy
from models.answers.products import ImageVote, answer_of_images, answer_of_product, combine_images, distributions


def test_a_product_of_several_images_matches_values_computed_by_hand() -> None:
    combined = combine_images([{"shirt": 0.5, "coat": 0.25}, {"coat": 1.0}])
    assert list(combined.items()) == [("coat", 0.625), ("shirt", 0.25)]


def test_ties_are_in_order_of_the_name() -> None:
    assert list(combine_images([{"b": 0.5}, {"a": 0.5}])) == ["a", "b"]


def test_without_images_there_are_no_confidences() -> None:
    assert combine_images([]) == {}


def test_three_images_that_tie_only_without_rounding_errors() -> None:
    """0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 in floating point, and once decided a product's category."""
    images = [{"a": 0.1, "b": 0.3}, {"a": 0.2, "b": 0.2}, {"a": 0.3, "b": 0.1}]
    assert list(combine_images(images)) == ["a", "b"]
    assert list(combine_images(images[::-1])) == ["a", "b"]


@given(
    st.lists(st.dictionaries(st.sampled_from("abcd"), st.floats(0, 1), max_size=4), min_size=1, max_size=6),
    st.data(),
)
def test_the_order_of_the_images_does_not_matter(images: list[dict[str, float]], data: Any) -> None:
    shuffled = data.draw(st.permutations(images))
    combined = combine_images(images)
    assert list(combine_images(shuffled).items()) == list(combined.items())
    assert list(combined.values()) == sorted(combined.values(), reverse=True)
    assert math.fsum(combined.values()) == pytest.approx(
        math.fsum(math.fsum(image.values()) for image in images) / len(images)
    )


POLICY = Policy({"a": 0.6, "b": 0.6}, floor=0.1)
SURE, OTHER = [("a", 0.9), ("b", 0.1)], [("b", 0.9), ("a", 0.1)]


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        # 0.5 each: neither reaches its threshold.
        ([ImageVote(SURE), ImageVote(OTHER)], Answer("a", 0.5, "review", "below_threshold")),
        # A size chart has no say.
        ([ImageVote(SURE), ImageVote(OTHER, "foreign_image")], Answer("a", 0.9, "auto")),
        ([ImageVote(SURE), ImageVote(OTHER, "gate_closed")], Answer("a", 0.9, "auto")),
        # Nor does what holds back an image without a say.
        ([ImageVote(SURE), ImageVote(OTHER, "foreign_image", "shared_picture")], Answer("a", 0.9, "auto")),
        # If all are foreign, all decide, and a person looks.
        ([ImageVote(SURE, "foreign_image")] * 2, Answer("a", 0.9, "review", "foreign_image")),
        (
            [ImageVote(SURE, "foreign_image"), ImageVote(SURE, "gate_closed")],
            Answer("a", 0.9, "review", "gate_closed"),
        ),
        # An unsure image has a say.
        ([ImageVote(SURE), ImageVote(SURE, "below_threshold")], Answer("a", 0.9, "auto")),
        # What holds a deciding image back for the run holds the product back.
        ([ImageVote(SURE), ImageVote(SURE, None, "foreign_group")], Answer("a", 0.9, "review", "foreign_group")),
        (
            [ImageVote(SURE, None, "shared_picture"), ImageVote(SURE, None, "foreign_night")],
            Answer("a", 0.9, "review", "foreign_night"),
        ),
    ],
)
def test_images_that_a_release_does_not_know_have_no_say(votes: list[ImageVote], expected: Answer) -> None:
    assert answer_of_images(votes, POLICY) == expected
    assert answer_of_images(votes[::-1], POLICY) == expected


def test_evaluation_leaves_the_same_images_out() -> None:
    rows = np.array([[0.9, 0.1], [0.1, 0.9], [0.2, 0.8]], np.float32)
    products = np.array([0, 0, 1])
    found = distributions(["a", "b"], rows, products, np.array([True, False, False]))
    np.testing.assert_allclose(found, [[0.9, 0.1], [0.2, 0.8]])
    assert answer_of_product(["a", "b"], rows[:2], POLICY, [None, "foreign_image"]) == Answer("a", 0.9, "auto")
    one = answer_of_product(["a", "b"], rows[:1], POLICY, ["foreign_image"])
    assert one == Answer("a", 0.9, "review", "foreign_image")

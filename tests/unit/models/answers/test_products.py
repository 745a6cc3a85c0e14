"""The mean of a product's images: against numbers worked out by hand, and as laws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.answers.decision import Answer, Policy
from models.answers.products import (
    ImageVote,
    answer_of_images,
    answer_of_product,
    combine_images,
    distributions,
    publishable,
    with_say,
)


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
        # An image that cannot be judged keeps its say, and holds the product back.
        ([ImageVote(SURE), ImageVote(OTHER, "gate_closed")], Answer("a", 0.5, "review", "gate_closed")),
        ([ImageVote(SURE), ImageVote(SURE, "gate_closed")], Answer("a", 0.9, "review", "gate_closed")),
        (
            [ImageVote(SURE), ImageVote(OTHER, "gate_closed"), ImageVote(OTHER, "foreign_image")],
            Answer("a", 0.5, "review", "gate_closed"),
        ),
        # Nor does what holds back an image without a say.
        ([ImageVote(SURE), ImageVote(OTHER, "foreign_image", "shared_picture")], Answer("a", 0.9, "auto")),
        # If all are foreign, all decide, and a person looks.
        ([ImageVote(SURE, "foreign_image")] * 2, Answer("a", 0.9, "review", "foreign_image")),
        (
            [ImageVote(OTHER, "foreign_image"), ImageVote(SURE, "gate_closed")],
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
        # Of a foreign night nothing is published by itself, also where other images decide.
        (
            [ImageVote(SURE), ImageVote(OTHER, "foreign_image", "foreign_night")],
            Answer("a", 0.9, "review", "foreign_night"),
        ),
        ([ImageVote(SURE), ImageVote(OTHER, "foreign_image", "foreign_group")], Answer("a", 0.9, "auto")),
    ],
)
def test_images_that_a_release_does_not_know_have_no_say(votes: list[ImageVote], expected: Answer) -> None:
    assert answer_of_images(votes, POLICY) == expected
    assert answer_of_images(votes[::-1], POLICY) == expected


GATES = st.sampled_from([None, "below_threshold", "taxonomy", "foreign_image", "gate_closed"])
VOTES = st.builds(
    ImageVote,
    st.sampled_from([SURE, OTHER, [("a", 0.5), ("b", 0.5)]]),
    GATES,
    st.sampled_from([None, "foreign_night", "foreign_group", "shared_picture"]),
)


@given(st.lists(VOTES, min_size=1, max_size=5), st.sampled_from([SURE, OTHER]))
def test_an_image_that_cannot_be_judged_never_publishes_its_product(votes: list[ImageVote], top: Any) -> None:
    found = answer_of_images([*votes, ImageVote(top, "gate_closed")], POLICY)
    assert found.review_reason == "gate_closed"
    assert found.status != "auto"


@given(st.lists(VOTES, min_size=1, max_size=5))
def test_no_product_with_an_image_of_a_foreign_night_is_published_by_itself(votes: list[ImageVote]) -> None:
    found = answer_of_images(votes, POLICY)
    if any(vote.held_by == "foreign_night" for vote in votes):
        assert found.status != "auto"
        assert found.review_reason in ("gate_closed", "foreign_night")


def test_evaluation_leaves_the_same_images_out() -> None:
    rows = np.array([[0.9, 0.1], [0.1, 0.9], [0.2, 0.8]], np.float32)
    products = np.array([0, 0, 1])
    found = distributions(["a", "b"], rows, products, with_say([None, "foreign_image", "foreign_image"]))
    np.testing.assert_allclose(found, [[0.9, 0.1], [0.2, 0.8]])
    found = distributions(["a", "b"], rows, products, with_say([None, "gate_closed", "gate_closed"]))
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.2, 0.8]])
    assert answer_of_product(["a", "b"], rows[:2], POLICY, [None, "foreign_image"]) == Answer("a", 0.9, "auto")
    one = answer_of_product(["a", "b"], rows[:1], POLICY, ["foreign_image"])
    assert one == Answer("a", 0.9, "review", "foreign_image")
    closed = answer_of_product(["a", "b"], rows[:2], POLICY, [None, "gate_closed"])
    assert closed == Answer("a", 0.5, "review", "gate_closed")


def test_products_that_can_be_published_have_a_known_image_and_none_that_cannot_be_judged() -> None:
    untrusted = [None, "foreign_image", "foreign_image", None, "gate_closed", "foreign_image", "gate_closed", None]
    found = publishable(untrusted, np.array([0, 0, 1, 2, 2, 3, 3, 4]))
    assert found.tolist() == [True, False, False, False, True]

"""The mean of a product's images: against numbers worked out by hand, and as laws."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.answers.products import combine_images


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

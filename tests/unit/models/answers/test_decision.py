"""What is done with a distribution: published, suggested at a leaf or above it, or left open."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.answers.decision import AUTO_THRESHOLD, Answer, Policy, decide, held_back
from models.answers.reasons import (
    BELOW_THRESHOLD,
    FOREIGN_IMAGE,
    FOREIGN_NIGHT,
    REVIEW_REASONS,
    SHARED_PICTURE,
    TAXONOMY,
    first_of,
)
from sql import records

SHIRT, PULLOVER, TROUSERS, SNEAKER = (
    "apparel.tops.shirt",
    "apparel.tops.pullover",
    "apparel.bottoms.trousers",
    "footwear.closed.sneaker",
)
LEAVES = (SHIRT, PULLOVER, TROUSERS, SNEAKER)
POLICY = Policy({SHIRT: 0.9, PULLOVER: None, "apparel.tops": 0.95, "apparel": 0.97}, floor=0.3)


@pytest.mark.parametrize(
    ("confidences", "expected"),
    [
        ({SHIRT: 0.9, PULLOVER: 0.1}, Answer(SHIRT, 0.9, "auto")),
        # 0.5 + 0.46 = 0.96 passes the tops' 0.95.
        ({SHIRT: 0.5, PULLOVER: 0.46, SNEAKER: 0.04}, Answer("apparel.tops", 0.96, "review", TAXONOMY)),
        # 0.5 + 0.4 fails the tops' 0.95; with the trousers' 0.08 it passes apparel's 0.97.
        ({SHIRT: 0.5, PULLOVER: 0.4, TROUSERS: 0.08, SNEAKER: 0.02}, Answer("apparel", 0.98, "review", TAXONOMY)),
        ({SHIRT: 0.5, PULLOVER: 0.2, SNEAKER: 0.3}, Answer(SHIRT, 0.5, "review", BELOW_THRESHOLD)),
        # A gate that is closed publishes nothing, however sure; what stands above it is still a suggestion.
        ({PULLOVER: 0.99, SNEAKER: 0.01}, Answer("apparel.tops", 0.99, "review", TAXONOMY)),
        # No threshold of its own, and no inner node of its own.
        ({SNEAKER: AUTO_THRESHOLD, SHIRT: 0.2}, Answer(SNEAKER, AUTO_THRESHOLD, "auto")),
        ({SNEAKER: 0.79, SHIRT: 0.21}, Answer(SNEAKER, 0.79, "review", BELOW_THRESHOLD)),
        ({SNEAKER: 0.3, SHIRT: 0.2}, Answer(SNEAKER, 0.3, "review", BELOW_THRESHOLD)),
        ({SNEAKER: 0.2999, SHIRT: 0.2}, Answer(None, None, "unknown", BELOW_THRESHOLD)),
        ({}, Answer(None, None, "unknown", BELOW_THRESHOLD)),
    ],
)
def test_decisions_match_examples_worked_out_by_hand(confidences: dict[str, float], expected: Answer) -> None:
    assert decide(confidences, POLICY) == expected


def test_a_release_without_thresholds_uses_the_default_and_has_no_unknown_products() -> None:
    assert decide({SHIRT: 0.8}, Policy()) == Answer(SHIRT, 0.8, "auto")
    assert decide({SHIRT: 0.01}, Policy()) == Answer(SHIRT, 0.01, "review", BELOW_THRESHOLD)


def test_a_sibling_that_begins_alike_is_not_below_the_node() -> None:
    policy = Policy({"apparel.top": 0.9})
    assert decide({"apparel.top.shirt": 0.5, "apparel.topshoe.boot": 0.5}, policy).category_id == "apparel.top.shirt"


def test_the_rounded_confidence_is_compared_with_the_threshold() -> None:
    """0.89999999 is stored as 0.9, so it has to be published where 0.9 is asked for."""
    assert decide({SHIRT: 0.89999999}, POLICY) == Answer(SHIRT, 0.9, "auto")


@given(
    st.lists(st.floats(0, 1), min_size=4, max_size=4).filter(lambda values: sum(values) > 0.01),
    st.dictionaries(st.sampled_from((*LEAVES, "apparel.tops", "apparel")), st.none() | st.floats(0, 1)),
    st.floats(0, 1),
)
def test_every_decision_obeys_its_thresholds_and_floor(
    values: list[float], thresholds: dict[str, float | None], floor: float
) -> None:
    confidences = {leaf: value / math.fsum(values) for leaf, value in zip(LEAVES, values, strict=True)}
    policy = Policy(thresholds, floor)
    answer = decide(confidences, policy)
    best = max(confidences.values())
    if answer.status == "auto":
        assert answer.category_id in LEAVES
        assert answer.confidence == round(best, 6) >= policy.threshold(answer.category_id)
    elif answer.status == "review":
        assert answer.category_id is not None
        assert answer.confidence is not None
        assert round(best, 6) <= answer.confidence <= 1
        if answer.category_id not in LEAVES:
            needed = policy.thresholds[answer.category_id]
            assert needed is not None
            assert answer.confidence >= needed
    else:
        assert answer == Answer(None, None, "unknown", BELOW_THRESHOLD)
        assert round(best, 6) < floor
    assert (answer.review_reason is None) == (answer.status == "auto")


HELD = Policy({SHIRT: 0.2, "apparel.tops": 0.95}, floor=0.3)


@pytest.mark.parametrize(
    ("confidences", "expected"),
    [
        # Sure enough to be published: the leaf itself is suggested, and not the tops, which are surer.
        ({SHIRT: 0.9, PULLOVER: 0.09}, Answer(SHIRT, 0.9, "review", FOREIGN_IMAGE)),
        # A threshold below the floor: what is held back is unknown there.
        ({SHIRT: 0.25, PULLOVER: 0.2}, Answer(None, None, "unknown", FOREIGN_IMAGE)),
        # Not published anyway: the same answer, with the reason that comes first.
        ({PULLOVER: 0.6, SHIRT: 0.38}, Answer("apparel.tops", 0.98, "review", FOREIGN_IMAGE)),
        ({SNEAKER: 0.2, PULLOVER: 0.1}, Answer(None, None, "unknown", FOREIGN_IMAGE)),
        ({}, Answer(None, None, "unknown", FOREIGN_IMAGE)),
    ],
)
def test_an_answer_that_is_held_back_is_never_published(confidences: dict[str, float], expected: Answer) -> None:
    assert decide(confidences, HELD, held=FOREIGN_IMAGE) == expected
    published = decide(confidences, HELD)
    assert held_back(published, FOREIGN_IMAGE, HELD) == expected, "the run holds back as the image does"


def test_the_first_of_several_reasons_is_kept() -> None:
    assert decide({SHIRT: 0.1}, Policy(), held=SHARED_PICTURE).review_reason == SHARED_PICTURE
    answer = decide({SHIRT: 0.9}, HELD, held=FOREIGN_IMAGE)
    assert held_back(answer, SHARED_PICTURE, HELD) == answer
    assert held_back(answer, FOREIGN_NIGHT, HELD) == replace(answer, review_reason=FOREIGN_NIGHT)
    assert first_of(reversed(REVIEW_REASONS)) == "gate_closed"
    assert first_of([None]) is None


def test_the_reasons_are_those_of_the_database_in_the_same_order() -> None:
    assert list(REVIEW_REASONS) == [*records.REVIEW_REASONS]

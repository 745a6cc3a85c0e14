"""The promise of a category in words and in release.json, of releases with pools and of older ones."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from models.answers.decision import AUTO_THRESHOLD
from models.answers.promises import (
    CURVE,
    CategoryPromise,
    check_promises,
    curve_of,
    described,
    members,
    target_of,
    worded,
)
from models.release import SHIPPED, load_release

PROMISES = {
    "a.x": CategoryPromise("pool", "a", examples=50, above=44, right=43),
    "a.y": CategoryPromise("pool", "a", examples=30, above=30, right=30),
    "a.bad": CategoryPromise("closed", "a", examples=20, above=10, right=6, reason="worse"),
    "b": CategoryPromise("own", examples=1_400, above=1_310, right=1_301),
    "c": CategoryPromise("pool", "", examples=40, above=40, right=40),
    "d.e": CategoryPromise("pool", "", examples=30, above=25, right=24),
    "f": CategoryPromise("closed", "", examples=3, reason="few"),
    "g": CategoryPromise("closed", "", examples=1_200, reason="own"),
    "h": CategoryPromise("closed", "", examples=9, reason="pool"),
}
THRESHOLDS = {"a.x": 0.8, "a.y": 0.8, "a.bad": None, "b": 0.7, "c": 0.9, "d.e": 0.9, "f": None, "g": None, "h": None}


@pytest.mark.parametrize(
    ("category_id", "text"),
    [
        (
            "a.y",
            "0.95 on average over these 2 categories below a, in the shares seen in calibration "
            "(73 of 74 calibrating answers were right)",
        ),
        (
            "c",
            "0.95 on average over these 2 categories, in the shares seen in calibration "
            "(64 of 65 calibrating answers were right)",
        ),
        ("b", "0.95 of its own answers (1,301 of 1,310 calibrating answers were right)"),
        ("a.bad", "none: it left its pool below a, as 6 of 10 calibrating answers were right"),
        ("f", "none: too few calibrating answers to join a pool (3)"),
        ("g", "none: no threshold of its own reaches the target precision (1,200 calibrating answers)"),
        ("h", "none: no threshold of its pool reaches the target precision"),
    ],
)
def test_a_promise_in_words(category_id: str, text: str) -> None:
    assert worded(category_id, THRESHOLDS, PROMISES, target=0.95) == text
    assert described(PROMISES, THRESHOLDS, PROMISES, target=0.95)[category_id]["text"] == text


def test_a_pooled_promise_is_never_worded_as_the_category_s_own() -> None:
    for name, promise in PROMISES.items():
        text = worded(name, THRESHOLDS, PROMISES)
        assert ("own answers" in text) == (promise.kind == "own")
        assert ("on average over" in text) == (promise.kind == "pool")


def test_a_description_has_the_threshold_and_the_number_of_members() -> None:
    rows = described(PROMISES, THRESHOLDS, PROMISES)
    assert rows["a.x"] | {"text": ""} == {
        "threshold": 0.8,
        "kind": "pool",
        "pool": "a",
        "examples": 50,
        "above": 44,
        "right": 43,
        "reason": "",
        "members": 2,
        "text": "",
    }
    assert [rows[name]["members"] for name in PROMISES] == [2, 2, 0, 1, 2, 2, 0, 0, 0]
    assert members(PROMISES, "d.e") == ["c", "d.e"]


def test_every_promise_of_an_older_release_is_its_own() -> None:
    """Releases that were made before there were pools have neither promises nor the shares of other targets."""
    now = load_release(SHIPPED)
    training = {name: value for name, value in now.training.items() if name != CURVE}
    release = replace(now, promises={}, training=training)
    ids = [category.category_id for category in release.categories]
    rows = described(ids, release.thresholds, release.promises, target=target_of(release.training))
    assert rows == {
        name: {
            "threshold": release.thresholds[name],
            "kind": "own",
            "members": 1,
            "text": "0.95 of its own answers",
        }
        for name in ids
    }
    assert curve_of(release.training) == []


def test_an_older_release_of_which_nothing_is_known_promises_nothing() -> None:
    assert worded("shut", {"shut": None}, {}) == "none"
    assert described(["shut"], {"shut": None}, {})["shut"]["kind"] == "closed"
    assert worded("open", {"open": 0.9}, {}) == "the target precision of its own answers"
    assert worded("unknown", {}, {}) == "none, as the release was not calibrated"
    assert described(["unknown"], {}, {})["unknown"]["threshold"] == AUTO_THRESHOLD, "by which it is decided"


def test_promises_that_fit_their_thresholds_are_accepted() -> None:
    check_promises(PROMISES, THRESHOLDS, PROMISES)
    check_promises({}, THRESHOLDS, PROMISES)


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("b", {"kind": "shared"}, "its promise of b is 'shared' where own, pool or closed was expected"),
        ("b", {"kind": ["own"]}, r"its promise of b is \['own'\]"),
        ("b", {"pool": 5}, "its promise of b"),
        ("b", {"right": 1_311}, r"its promise of b has \[1311, 1310, 1400\] right answers"),
        ("b", {"above": 1_401, "right": 0}, "its promise of b has"),
        ("b", {"right": -1}, "its promise of b has"),
        ("b", {"right": 1.5}, "its promise of b has"),
        ("b", {"right": True, "above": 1, "examples": 1}, "its promise of b has"),
        ("b", {"kind": "closed", "reason": "own"}, "its promise of b is 'closed', and its threshold is 0.7"),
        ("b", {"reason": "few"}, "its promise of b is 'own', and its threshold is 0.7"),
        ("f", {"kind": "own", "reason": ""}, "its promise of f is 'own', and its threshold is None"),
        ("f", {"reason": "rain"}, "its promise of f is 'closed'"),
        ("c", {"pool": "a"}, "its threshold of c is not that of its pool 'a'"),
    ],
)
def test_promises_that_cannot_be_those_of_the_thresholds_are_refused(
    name: str, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_promises({**PROMISES, name: replace(PROMISES[name], **changes)}, THRESHOLDS, PROMISES)


def test_a_missing_or_a_foreign_promise_is_refused() -> None:
    for ids in ([*PROMISES, "new"], [name for name in PROMISES if name != "h"]):
        with pytest.raises(ValueError, match=r"its promises are not those of its categories, such as '(new|h)'"):
            check_promises(PROMISES, THRESHOLDS, ids)


ROW = {"target_precision": 0.9, "category": 0.5, "catalog": 1}


@pytest.mark.parametrize(
    "curve",
    [
        None,
        5,
        "long",
        [5],
        [{}],
        [ROW, {**ROW, "catalog": "all"}],
        [{**ROW, "category": 1.1}],
        [{**ROW, "catalog": True}],
    ],
)
def test_a_curve_that_is_none_is_not_read(curve: object) -> None:
    assert curve_of({CURVE: curve}) == []
    assert curve_of({CURVE: [ROW, {**ROW, "more": 1}]}) == [ROW, ROW]


def test_a_target_precision_that_is_none_is_not_read() -> None:
    assert [target_of({"target_precision": value}) for value in (0.9, "0.9", None, math.nan, 2)] == [
        *(0.9, None, None, None, None)
    ]
    assert target_of({}) is None

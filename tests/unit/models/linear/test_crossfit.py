"""Cross-fitting: which folds there are, and that no product is answered by a head that has seen it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.linear import crossfit
from models.linear.crossfit import (
    FOLDS,
    LEAST_GROUPS,
    UNTAUGHT,
    TooFewGroups,
    calibrated_log_loss,
    cross_fit,
    folds_of,
    groups_of,
)
from models.linear.head import UnusableFeatures, fit_head


def names(count: int) -> list[str]:
    return [f"p{number:04d}" for number in range(count)]


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=12, max_size=80), st.integers(0, 5))
def test_each_category_is_spread_evenly_over_the_folds(labels: list[int], seed: int) -> None:
    every = np.array([*range(4), *range(4), *range(4), *labels])
    folds = folds_of(names(len(every)), every, seed=seed)
    for category in range(4):
        sizes = Counter(folds[every == category].tolist())
        of_category = [sizes[fold] for fold in range(FOLDS)]
        assert max(of_category) - min(of_category) <= 1
    counts = np.bincount(folds, minlength=FOLDS)
    assert counts.max() - counts.min() <= 4, "the odd ones of the categories do not all fall into one fold"


def test_a_large_group_of_one_category_does_not_drive_the_others_out_of_its_fold() -> None:
    labels = np.array([0] * 44 + [1] * 10)
    groups = ["large"] * 40 + [f"small-{number}" for number in range(4)] + names(10)
    folds = folds_of(groups, labels, seed=0)
    assert np.bincount(folds[labels == 1], minlength=FOLDS).tolist() == [2] * FOLDS


def test_a_group_is_in_one_fold_and_the_seed_alone_decides_which() -> None:
    labels = np.arange(200) % 4
    groups = [f"g{number // 8}-{number % 4}" for number in range(200)]
    folds = folds_of(groups, labels, seed=1)
    in_folds = {
        group: {int(fold) for other, fold in zip(groups, folds, strict=True) if other == group} for group in groups
    }
    assert all(len(each) == 1 for each in in_folds.values())
    np.testing.assert_array_equal(folds, folds_of(groups, labels, seed=1))
    assert (folds != folds_of(groups, labels, seed=2)).any()
    turned = folds_of(groups[::-1], labels[::-1], seed=1)
    np.testing.assert_array_equal(turned[::-1], folds)


def test_a_category_whose_products_share_pictures_has_too_few_groups() -> None:
    labels = np.array([0] * 20 + [1] * 20)
    groups = [*names(20), *(["same"] * 10), *(["other"] * 10)]
    with pytest.raises(TooFewGroups) as caught:
        folds_of(groups, labels, seed=1)
    assert (caught.value.category, caught.value.groups) == (1, 2)
    assert 2 < LEAST_GROUPS <= FOLDS


def test_products_are_joined_by_pictures_directly_or_through_others() -> None:
    pictures = {"a": ["1"], "b": ["2", "3"], "c": ["3", "4"], "d": ["4"], "e": ["5"], "f": ["1", "6"]}
    assert groups_of(pictures) == {"a": "a", "f": "a", "b": "b", "c": "b", "d": "b", "e": "e"}


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 12).map(str), st.lists(st.integers(0, 12).map(str), max_size=3)))
def test_groups_are_the_connected_products(pictures: dict[str, list[str]]) -> None:
    groups = groups_of(pictures)
    slow = {product: {product} for product in pictures}
    for _ in pictures:
        for one in pictures:
            for other in pictures:
                if set(pictures[one]) & set(pictures[other]) or slow[one] & slow[other]:
                    slow[one] = slow[other] = slow[one] | slow[other]
    assert groups == {product: min(slow[product]) for product in pictures}


def drawn(count: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return (2 * np.eye(3, 6)[labels] + random.normal(size=(count, 6))).astype(np.float32), labels


def test_each_fold_is_answered_by_a_head_that_did_not_learn_from_it() -> None:
    """Other labels and features of a fold change no answer for it, to the last bit."""
    features, labels = drawn()
    folds = folds_of(names(300), labels, seed=0)
    before = cross_fit(features, labels, folds, 3)
    of_fold = folds == 2
    changed = labels.copy()
    changed[of_fold] = (labels[of_fold] + 1) % 3
    other = features.copy()
    other[of_fold] += np.random.default_rng(5).normal(size=(int(of_fold.sum()), 6)).astype(np.float32)
    after = cross_fit(features, changed, folds, 3)
    np.testing.assert_array_equal(after.softmaxes[of_fold], before.softmaxes[of_fold])
    assert after.strengths[2] == before.strengths[2]
    assert (after.softmaxes[~of_fold] != before.softmaxes[~of_fold]).any(axis=1).all()
    moved = cross_fit(other, changed, folds, 3)
    np.testing.assert_allclose(moved.head.probabilities(features[:5]), after.head.probabilities(features[:5]), atol=0.5)
    assert (moved.softmaxes[of_fold] != before.softmaxes[of_fold]).any(), "its own features count, of course"


def test_the_answers_are_in_the_order_of_the_images() -> None:
    features, labels = drawn()
    folds = folds_of(names(300), labels, seed=0)
    order = np.argsort(folds, kind="stable")
    plain, in_folds = cross_fit(features, labels, folds, 3), cross_fit(features[order], labels[order], folds[order], 3)
    np.testing.assert_array_equal(plain.softmaxes[order], in_folds.softmaxes)
    assert (plain.softmaxes.argmax(axis=1) == labels).mean() > 0.75


def test_the_strength_is_where_held_out_images_have_the_least_log_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Downhill from the usual strength it comes to the minimum over all strengths, from either side."""
    random = np.random.default_rng(1)
    labels = np.arange(400) % 3
    features = np.hstack([drawn(400)[0], random.normal(size=(400, 60))]).astype(np.float32)
    blocks, held_out = [(features[:300], labels[:300])], (features[300:], labels[300:])
    losses = [
        calibrated_log_loss(fit_head(blocks, 3, strength=each).probabilities(held_out[0]), held_out[1])
        for each in crossfit.STRENGTHS
    ]
    best = crossfit.STRENGTHS[int(np.argmin(losses))]
    for begin in (0.1, 300.0, 30_000.0):
        monkeypatch.setattr(crossfit, "USUAL_STRENGTH", begin)
        assert crossfit._chosen(blocks, held_out, 3)[0] == best
    assert crossfit.STRENGTHS[1] < best < crossfit.STRENGTHS[-2]


def test_the_loss_of_answers_does_not_count_how_sure_they_are_in_all() -> None:
    """By hand: three of four answers right, so that the best confidence is 0.75, whatever it was before."""
    for sure in (0.6, 0.75, 0.99):
        answers = np.array([[sure, 1 - sure]] * 4, np.float32)
        expected = -(3 * np.log(0.75) + np.log(0.25)) / 4
        assert calibrated_log_loss(answers, np.array([0, 0, 0, 1])) == pytest.approx(expected, abs=1e-4)


def test_the_published_head_learns_from_all_images() -> None:
    features, labels = drawn()
    found = cross_fit(features, labels, folds_of(names(300), labels, seed=0), 3)
    assert found.strength == pytest.approx(float(np.exp(np.log(found.strengths).mean())))
    same = fit_head([(features, labels)], 3, strength=found.strength)
    np.testing.assert_allclose(found.head.probabilities(features), same.probabilities(features), atol=2e-3)


def test_images_that_teach_nothing_are_answered_and_change_no_fold_and_no_head() -> None:
    random = np.random.default_rng(3)
    labels = np.arange(60) % 3
    features = (np.eye(3, 8)[labels] * 3 + random.normal(size=(60, 8))).astype(np.float32)
    others = random.normal(size=(20, 8)).astype(np.float32)
    groups, more = names(60), [*names(10), *(f"q{number}" for number in range(10))]
    alone = folds_of(groups, labels, seed=2)
    every = np.concatenate([labels, np.full(20, UNTAUGHT)])
    folds = folds_of([*groups, *more], every, seed=2)
    np.testing.assert_array_equal(folds[:60], alone)
    np.testing.assert_array_equal(folds[60:70], alone[:10], "they are in the fold of their group")
    assert len(set(folds[70:].tolist())) == FOLDS, "groups that teach nothing are spread too"
    one, both = cross_fit(features, labels, alone, 3), cross_fit(np.vstack([features, others]), every, folds, 3)
    assert one.strengths == both.strengths
    np.testing.assert_allclose(both.head.kernel, one.head.kernel, atol=1e-5)
    np.testing.assert_allclose(both.softmaxes[:60], one.softmaxes, atol=1e-5)
    np.testing.assert_allclose(both.softmaxes.sum(axis=1), 1, atol=1e-5)
    others[5] = np.nan
    with pytest.raises(UnusableFeatures, match="1 of 80 images are not finite"):
        cross_fit(np.vstack([features, others]), every, folds, 3)

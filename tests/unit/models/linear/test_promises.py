"""Whether thresholds from cross-fitted answers keep their promise for the head that is published: a simulation.

Heads are fitted to normally distributed categories, some of whose labels are wrong, as a first release fits them. Each
threshold that opens is measured on fresh draws. At most 5 % of them may miss the promised precision, beside chance.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.answers.calibration import combine, fit_ensemble
from models.answers.decision import DIGITS
from models.answers.pools import fit_promises
from models.answers.promises import PROMISES
from models.linear.crossfit import cross_fit, folds_of
from tests.extent import extent

FRESH = 100_000
TARGET = 0.95
SEED = 20_261
OPENED = extent(10, of_all=2_000)
"""Thresholds that are measured: enough for promises that are mostly broken to be seen, and for 5 % in all."""

LARGEST = extent(800, of_all=3_000)
"""Most products of a shop."""


@dataclass(frozen=True)
class Shop:
    """A shop whose products are drawn: categories of different sizes around centres.

    Attributes:
        centres: Centre of each category, (categories, features).
        shares: Share of each category in the products, (categories,).
        wrong: Share of the products whose label is wrong.
    """

    centres: NDArray[np.float64]
    shares: NDArray[np.float64]
    wrong: float

    def drawn(self, count: int, random: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Draw products with the labels that the shop gives them; fresh ones get labels in the same way."""
        kinds = random.choice(len(self.shares), count, p=self.shares)
        noise = random.standard_normal((count, self.centres.shape[1]), dtype=np.float32)
        features = noise + self.centres[kinds].astype(np.float32)
        mistaken = random.random(count) < self.wrong
        labels = np.where(mistaken, random.choice(len(self.shares), count, p=self.shares), kinds)
        return features, labels.astype(np.int64)


def shop_of(random: np.random.Generator) -> tuple[Shop, int]:
    """Draw a shop and its number of products: 5 to 50 categories, 200 to 3,000 products, up to 3 % wrong labels.

    Most features say nothing of the categories, as those of a backbone do: a head is much surer of what it has seen.
    """
    categories = int(random.integers(5, 51))
    products = max(int(np.exp(random.uniform(np.log(200), np.log(LARGEST)))), 8 * categories)
    width = int(random.integers(8, 33))
    distance = random.uniform(1.2, 3.0)
    shares = random.dirichlet(np.full(categories, 2.0)) * 0.8 + 0.2 / categories
    centres = np.zeros((categories, width + int(random.integers(50, 250))))
    centres[:, :width] = random.normal(size=(categories, width)) * distance / math.sqrt(width / 8)
    return Shop(centres, shares / shares.sum(), random.uniform(0, 0.03)), products


def broken_promises(random: np.random.Generator) -> tuple[int, int]:
    """Make a first release of a drawn shop; return how many thresholds opened, own and pooled, and how many miss it."""
    shop, products = shop_of(random)
    features, labels = shop.drawn(products, random)
    known = np.flatnonzero(np.bincount(labels, minlength=len(shop.shares)) >= 5)  # smaller ones are not learned
    column = np.full(len(shop.shares), -1)
    column[known] = range(len(known))
    kept = column[labels] >= 0
    features, labels = features[kept], column[labels[kept]]
    folds = folds_of([f"p{number}" for number in range(len(labels))], labels, seed=1)
    found = cross_fit(features, labels, folds, len(known))
    shares, temperature = fit_ensemble({"head": found.softmaxes}, labels)
    ids = [f"c{number}" for number in range(len(known))]
    confidences = combine({"head": found.softmaxes}, weights=shares, temperature=temperature)
    by = PROMISES[int(random.integers(len(PROMISES)))]
    fitted = fit_promises(confidences, labels, ids, by=by, target=TARGET)
    fresh, truth = shop.drawn(FRESH, random)
    fresh, truth = fresh[column[truth] >= 0], column[truth[column[truth] >= 0]]
    answers = combine({"head": found.head.probabilities(fresh)}, weights=shares, temperature=temperature)
    winners, best = answers.argmax(axis=1), np.round(answers.max(axis=1).astype(np.float64), DIGITS)
    thresholds = np.array([2.0 if fitted.thresholds[name] is None else fitted.thresholds[name] for name in ids])
    published = best >= thresholds[winners]
    sharing: defaultdict[str, list[int]] = defaultdict(list)  # a pool is one threshold; its promise is on average
    for number, name in enumerate(ids):
        if fitted.promises[name].kind != "closed":
            sharing["pool" if fitted.promises[name].kind == "pool" else name].append(number)
    opened = missed = 0
    for members in sharing.values():
        rows = published & np.isin(winners, members)
        if rows.sum() >= 100:
            opened += 1
            missed += bool((truth[rows] == winners[rows]).mean() < TARGET)
    return opened, missed


def test_thresholds_of_cross_fitted_answers_keep_their_promise() -> None:
    """At most 5 % plus two standard errors of the thresholds that opened miss it."""
    random = np.random.default_rng(SEED)
    opened = missed = 0
    while opened < OPENED:
        more, broken = broken_promises(random)
        opened, missed = opened + more, missed + broken
    most = 0.05 + 2 * math.sqrt(0.05 * 0.95 / opened)
    assert missed / opened <= most, f"{missed} of {opened} thresholds miss their promise"

"""Labels of chosen products against labels of random ones: how good a release of `finetune --quick` is with either.

    python -m tests.benchmarks.bench_candidates --photos clothing/train clothing/validation \\
        --weights xception_imagenet_notop.weights.h5

Each split of all photographs has a pool to label and a part that measures, a third of them. Per split and seed, both
sides begin with the same random labels. One side gets more random ones; the other gets those that
`models.answers.candidates` chooses, in rounds: after each, a head is fitted on all labels so far, as a shop fine-tunes
again. The heads that are compared are those of `finetune --quick`, by its own cross-fitting.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.answers.candidates import Waiting, choose, doubt_of
from models.known.score import DIMENSIONS, directions
from models.linear.crossfit import LEAST_GROUPS, cross_fit, folds_of
from models.linear.head import Head, Scale, fit_head, scale_of
from tests.benchmarks.candidate_features import features_of_photographs

DRAWS = 10_000
STRENGTH = 60.0
"""Strength of the heads between the rounds, about what cross-fitting chooses for some hundred photographs."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Photographs:
    """Labelled photographs with their features.

    Attributes:
        features: What the head receives, float32 (photographs, features).
        last_width: Number of features of the last feature map, which come first; photographs are compared by them.
        labels: Index of the category of each, (photographs,).
        categories: Number of categories.
    """

    features: NDArray[np.float32]
    last_width: int
    labels: NDArray[np.int64]
    categories: int

    def enough(self, rows: Rows) -> tuple[Rows, Rows]:
        """Return the rows of categories with enough labels for `finetune --quick`, and these categories."""
        counts = np.bincount(self.labels[rows], minlength=self.categories)
        known = np.flatnonzero(counts >= LEAST_GROUPS)
        return rows[np.isin(self.labels[rows], known)], known


def main() -> int:
    """Measure both sides for each split and seed, and print the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--weights", required=True, help="what --start-from takes")
    parser.add_argument("--network", default="xception")
    parser.add_argument("--input-px", type=int, default=299)
    parser.add_argument("--features", type=Path, help="file that keeps the features, .npz")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--start", type=int, default=50, help="random labels that both sides begin with")
    parser.add_argument("--chosen", type=int, default=300, help="labels in all, of the side that chooses")
    parser.add_argument("--random", type=int, default=350, help="labels in all, of the random side")
    parser.add_argument("--rounds", type=int, nargs="+", default=[5], help="rounds in which they are chosen")
    parser.add_argument("--descriptors", choices=("reduced", "full"), nargs="+", default=["reduced"])
    parser.add_argument("--processes", type=int, help="one for each core without")
    options = parser.parse_args()
    from tests.benchmarks.photos import stamp

    with tempfile.TemporaryDirectory() as scratch:
        read = features_of_photographs(
            options.photos,
            weights=options.weights,
            network=options.network,
            input_px=options.input_px,
            kept=options.features or Path(scratch, "features.npz"),
        )
    photographs = Photographs(read[0], read[1], read[2], len(read[3]))
    pairs = f"{options.splits} splits x {options.seeds} seeds"
    print(
        f"# {stamp()}, {len(photographs.labels)} photographs, {options.network} at {options.input_px} px, {pairs}",
        flush=True,
    )

    places = [(number, seed) for number in range(options.splits) for seed in range(options.seeds)]

    def each(side: Side) -> NDArray[np.float64]:
        found = list(workers.map(side, places))
        return np.array(found).reshape(options.splits, options.seeds)

    with ProcessPoolExecutor(options.processes) as workers:
        random = each(Side(photographs, options.start, options.random))
        print(
            f"{options.random} random labels: {random.mean():.4f}, by split {texts(random.mean(1), '.4f')}", flush=True
        )
        for kind in options.descriptors:
            for rounds in options.rounds:
                chosen = each(Side(photographs, options.start, options.chosen, rounds, kind == "full"))
                report(f"{options.chosen} labels, {rounds} rounds, {kind}", chosen, chosen - random)
    return 0


@dataclass(frozen=True)
class Side:
    """One side of the comparison.

    Attributes:
        photographs: All photographs.
        start: Random labels that it begins with.
        total: Labels in all.
        rounds: Rounds in which the others are chosen; 0 draws them too.
        full: Whether all features are compared, not what a release keeps of them.
    """

    photographs: Photographs
    start: int
    total: int
    rounds: int = 0
    full: bool = False

    def __call__(self, place: tuple[int, int]) -> float:
        """Return the accuracy for a number of a split and a seed."""
        number, seed = place
        pool, tested = split(len(self.photographs.labels), number)
        order = np.random.default_rng(seed).permutation(pool)
        if not self.rounds:
            return accuracy(self.photographs, order[: self.total], tested)
        steps = np.linspace(self.start, self.total, self.rounds + 1).round().astype(int)
        return accuracy(self.photographs, in_rounds(self.photographs, order, steps, full=self.full, seed=seed), tested)


def report(name: str, chosen: NDArray[np.float64], more: NDArray[np.float64]) -> None:
    """Print one side's accuracy and how much better than the random side it is, (splits, seeds)."""
    low, high = interval(more)
    print(f"{name}: {chosen.mean():.4f}, by split {texts(chosen.mean(1), '.4f')}")
    print(
        f"  better than random by {more.mean():+.4f} (95 % {low:+.4f} to {high:+.4f}), by split "
        f"{texts(more.mean(1), '+.4f')}; {(more > 0).mean():.0%} of the pairs better, {(more < 0).mean():.0%} worse",
        flush=True,
    )


def texts(values: NDArray[np.float64], form: str) -> str:
    """Return numbers as text."""
    return ", ".join(format(value, form) for value in values)


def interval(more: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of the mean difference, over draws of the seeds within each split."""
    random = np.random.default_rng(7)
    seeds = random.integers(0, more.shape[1], (DRAWS, *more.shape))
    means = np.take_along_axis(np.broadcast_to(more, seeds.shape), seeds, axis=2).mean(axis=(1, 2))
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def split(count: int, number: int) -> tuple[Rows, Rows]:
    """Return the rows of a split's pool and of the third that measures."""
    order = np.random.default_rng(1000 + number).permutation(count)
    return order[count // 3 :], order[: count // 3]


def accuracy(photographs: Photographs, labelled: Rows, tested: Rows) -> float:
    """Return the share of the tested photographs that the head of `finetune --quick` gets right."""
    rows, known = photographs.enough(labelled)
    labels = np.searchsorted(known, photographs.labels[rows])
    folds = folds_of([str(row) for row in rows], labels, seed=7)
    head = cross_fit(photographs.features[rows], labels, folds, len(known)).head
    answers = known[head.probabilities(photographs.features[tested]).argmax(axis=1)]
    return float((answers == photographs.labels[tested]).mean())


def in_rounds(photographs: Photographs, pool: Rows, steps: NDArray[np.int64], *, full: bool, seed: int) -> Rows:
    """Return the labelled rows after all rounds; the first ones of the pool are labelled before.

    Args:
        photographs: All photographs.
        pool: Rows that can be labelled, in random order.
        steps: Number of labels before the first round, and after each.
        full: Whether all features are compared, or what a release keeps of them: in eight bits, reduced to the
            directions in which the labelled ones differ.
        seed: Seed of the choice.
    """
    labelled = pool[: steps[0]]
    for count in steps[1:]:
        waiting = np.setdiff1d(pool, labelled)
        head, _ = between(photographs, labelled)
        answers = head.probabilities(photographs.features[waiting])
        doubts = np.array([doubt_of(row) for row in answers.tolist()])
        learned, found = described(photographs, labelled, waiting, full=full)
        rows = choose(Waiting(found, doubts), int(count) - len(labelled), labelled=learned, seed=seed)
        labelled = np.concatenate([labelled, waiting[rows]])
    return labelled


def described(
    photographs: Photographs, labelled: Rows, waiting: Rows, *, full: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what is compared of the labelled and of the waiting photographs.

    The directions are those of `models.known.score.network_images`, found by another way, which is faster for few
    photographs.
    """
    features = photographs.features[:, : photographs.last_width]
    mean = features[labelled].mean(axis=0, dtype=np.float64).astype(np.float32)
    learned, found = directions(features[labelled], mean), directions(features[waiting], mean)
    if full:
        return learned, found
    axes = np.linalg.svd(learned, full_matrices=False)[2][:DIMENSIONS].T.astype(np.float16).astype(np.float32)
    scale = np.maximum(np.abs(learned @ axes).max(axis=0) / 127, 1e-6)
    learned, found = (np.clip(np.rint(each @ axes / scale), -127, 127) * scale for each in (learned, found))
    return np.asarray(learned, np.float32), np.asarray(found, np.float32)


def between(photographs: Photographs, labelled: Rows) -> tuple[Head, Rows]:
    """Fit a head between two rounds, in the directions of the labelled photographs: that is exact, and faster."""
    rows, known = photographs.enough(labelled)
    features, labels = photographs.features[rows], np.searchsorted(known, photographs.labels[rows])
    scale = scale_of([(features, labels)])
    scaled = (features - scale.mean) / scale.spread
    axes = np.linalg.svd(scaled, full_matrices=False)[2]
    small = np.asarray(scaled @ axes.T, np.float32)
    flat = Scale(np.zeros(len(axes)), np.ones(len(axes)))
    head = fit_head([(small, labels)], len(known), strength=STRENGTH, scale=flat)
    kernel = (axes.T / scale.spread[:, None]) @ head.kernel
    return Head(kernel.astype(np.float32), (head.bias - scale.mean @ kernel).astype(np.float32)), known


if __name__ == "__main__":
    sys.exit(main())

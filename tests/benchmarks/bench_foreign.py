"""What a release does with images that it has never seen, and what its gates cost in published answers.

    python -m tests.benchmarks.bench_foreign articles --photos clothing/validation
    python -m tests.benchmarks.bench_foreign kinds --photos clothing/train --held-out clothing/validation \\
        --weights xception_imagenet_notop.weights.h5

`articles` shows photographs, and changed articles, to the shipped release, which knows articles on black. `kinds` makes
a release from photographs with a folder for each category, then leaves each pair of categories out in turn: how many
of their held-out photographs are published with the gates, and how many by confidence alone if its thresholds were so
high that as many photographs of the known categories are published. Both directories hold no product of the other.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from models.answers.calibration import combine
from models.answers.decision import Policy, held_back
from models.answers.groups import ImageCount, foreign_groups, foreign_whole
from models.answers.products import answer_of_image
from models.answers.reasons import FOREIGN_GROUP, FOREIGN_NIGHT
from models.calibrated import calibrated
from models.known.fit import Examples, fit_known
from models.known.gate import ImageGate, Judgement, load_gate, untrusted_by
from models.linear.crossfit import cross_fit, folds_of
from models.networks.pixels import PIXELS, pixel_statistics
from models.release import SHIPPED, Release, load_release
from models.spec import Category, Images, Predictions, Probabilities
from tests.benchmarks.photos import photographs, shards_of, stamp

if TYPE_CHECKING:
    from jobs.evaluation.config import EvaluateConfig

NETWORK = "xception"


@dataclass(frozen=True)
class Night:
    """Answers for the images of one night.

    Attributes:
        leaves: Index of the category with the highest confidence of each image, (images,).
        by_confidence: Whether confidence alone publishes it, bool (images,).
        by_image: Whether it is published if only the gate of images is shut, bool (images,).
        published: Whether it is published with all gates, bool (images,).
        judgements: What the gate found of each.
        foreign_night: Whether the whole night is held back.
    """

    leaves: NDArray[np.int64]
    by_confidence: NDArray[np.bool_]
    by_image: NDArray[np.bool_]
    published: NDArray[np.bool_]
    judgements: Sequence[Judgement]
    foreign_night: bool

    @property
    def scores(self) -> NDArray[np.float64]:
        """Score of each image, (images,)."""
        return np.array([np.nan if each.score is None else each.score for each in self.judgements])

    @property
    def beyond(self) -> float:
        """Share of the images beyond the limit."""
        return float((self.scores > 1).mean())


def night_of(release: Release, confidences: Probabilities, judgements: Sequence[Judgement]) -> Night:
    """Answer the images of one night, each of a product of its own, as predict and publish do."""
    ids, policy = [category.category_id for category in release.categories], release.policy
    leaves = confidences.argmax(axis=1)
    counts: dict[str, ImageCount] = {}
    for leaf, judgement in zip(leaves, judgements, strict=True):
        beyond = judgement.score is not None and judgement.score > 1
        counts[ids[leaf]] = counts.get(ids[leaf], ImageCount()) + ImageCount(1, int(beyond))
    whole = foreign_whole(counts)
    groups = set(foreign_groups(counts))
    rows: dict[str, list[bool]] = {"plain": [], "image": [], "all": []}
    for leaf, row, judgement in zip(leaves, confidences, judgements, strict=True):
        answer = answer_of_image(ids, row, policy, untrusted=judgement.untrusted)
        rows["plain"].append(answer_of_image(ids, row, policy).status == "auto")
        rows["image"].append(answer.status == "auto")
        if whole or ids[leaf] in groups:
            answer = held_back(answer, FOREIGN_NIGHT if whole else FOREIGN_GROUP, policy)
        rows["all"].append(answer.status == "auto")
    plain, image, published = (np.array(row, bool) for row in rows.values())
    return Night(leaves, plain, image, published, judgements, whole)


def articles(photos: Path) -> None:
    """Show articles, changed articles and photographs to the shipped release, and print what it publishes."""
    from models import fashion_mnist
    from models.serving.environment import prepare_environment

    prepare_environment()
    from models.finished_fashion_mnist import answers_of
    from models.serving.predictor import EnsemblePredictor

    release = load_release(SHIPPED)
    predictor, gate = EnsemblePredictor(release, SHIPPED), load_gate(release, SHIPPED)
    tested, labels, _ = fashion_mnist.squares("t10k", cache_dir=Path.home() / ".cache" / "shelfwise")

    def night(predictions: Predictions) -> Night:
        return night_of(
            release, predictions.confidences, gate.judge(predictions.features, len(predictions.confidences))
        )

    known = night(answers_of(predictor, tested))
    right = known.leaves == labels
    print(f"# {stamp()}, {release.release_id}")
    for name, published in (("confidence alone", known.by_confidence), ("all gates", known.published)):
        share, precision = published.mean(), right[published].mean()
        print(f"10,000 test articles, {name}: published {share:.4f}, right of these {precision:.4f}")
    some = tested[:2000]
    on_white = np.where(some.max(axis=3, keepdims=True) < 12, 255, some).astype(np.uint8)
    changed = {"inverted": 255 - some, "on white": on_white, "turned": np.rot90(some, 1, axes=(1, 2)).copy()}
    for name, squares in changed.items():
        found = night(answers_of(predictor, squares))
        print(f"2,000 articles {name}: beyond the limit {found.beyond:.4f}, published {found.published.mean():.4f}")
    shown = night(_predicted(predictor, photos))
    print(
        f"{len(shown.leaves)} photographs: AUROC {_auroc(shown.scores, known.scores):.4f}, within the limit "
        f"{1 - shown.beyond:.4f} where {known.beyond:.4f} of the articles are beyond it"
    )
    print(
        f"published by confidence alone {shown.by_confidence.mean():.4f}, with the gate of images "
        f"{shown.by_image.mean():.4f}, with all gates {shown.published.mean():.4f}; night foreign: "
        f"{shown.foreign_night}"
    )


def _predicted(predictor: Any, photos: Path) -> Predictions:
    """Return the predictions for all photographs of a directory, as ingest stores them."""
    from jobs.dataset.reading import read_shard
    from jobs.storage.places import Places

    with tempfile.TemporaryDirectory() as name:
        paths = photographs(photos, Path(name, "made-up"), len(list(photos.rglob("*.jpg"))))
        squares: list[Images] = []
        for shard in shards_of(paths, Places(Path(name, "home"))):
            reader = read_shard(shard, side_px=predictor.decode_px, batch_size=64, workers=2)
            squares += [batch.images[batch.errors == ""] for batch in reader]
        parts = [predictor.predict(each) for each in squares if len(each)]
    return Predictions(
        np.concatenate([part.confidences for part in parts]),
        {},
        {key: np.concatenate([part.features[key] for part in parts]) for key in parts[0].features},
    )


@dataclass(frozen=True)
class Photographs:
    """Labelled photographs with their features.

    Attributes:
        received: What the head receives: features of all its feature maps, float32 (images, features).
        features: Features of the network and statistics of the pixels, as `Predictions.features`.
        products: Product of each.
        contents: image_sha256 of each.
        labels: Index of the category of each, (images,).
    """

    received: NDArray[np.float32]
    features: Mapping[str, NDArray[np.float32]]
    products: Sequence[str]
    contents: Sequence[str]
    labels: NDArray[np.int64]

    def of(self, rows: NDArray[np.bool_], renamed: NDArray[np.int64]) -> Photographs:
        """Return some photographs, with their labels as indices of fewer categories."""
        kept = np.flatnonzero(rows).tolist()
        return Photographs(
            self.received[kept],
            {name: values[kept] for name, values in self.features.items()},
            [self.products[row] for row in kept],
            [self.contents[row] for row in kept],
            renamed[self.labels[kept]],
        )

    @property
    def examples(self) -> Examples:
        """The photographs as a description of known images takes them."""
        return Examples(self.features, self.products, self.contents)


def kinds(photos: Path, held_out: Path, weights: str, input_px: int, home: Path) -> None:
    """Leave each pair of categories out in turn, and print how many of its photographs are published."""
    from tests.benchmarks.bench_first_release import run

    day = ["--run-date", "2026-11-01"]
    release_dir = home / "shop" / "releases" / "all"
    if not release_dir.is_dir():
        run(home / "shop", "ingest", "--catalog", str(photos), *day)
        run(home / "held-out", "ingest", "--catalog", str(held_out), *day)
        network = ["--network", NETWORK, "--input-px", str(input_px), "--start-from", weights]
        run(home / "shop", "finetune", "--quick", "--release-id", "all", *network)
    ids, learned, tested = _features(release_dir, home, weights, input_px)
    print(f"# {stamp()}, {NETWORK} at {input_px} px; published of {len(tested.labels)} held-out photographs")
    names = np.arange(len(ids))
    release, gate, head = _made(release_dir, ids, learned)
    own = _answered(release, gate, head, tested)
    for name, published in (("confidence alone", own.by_confidence), ("all gates", own.published)):
        right = (own.leaves == tested.labels)[published]
        print(f"all categories known, {name}: published {published.mean():.4f}, right of these {right.mean():.4f}")
    heads = ("left out", "photographs", "beyond the limit", "known published", "published", "by confidence", "held")
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    totals = []
    for pair in combinations(range(len(ids)), 2):
        left_out = np.isin(names, pair)
        renamed = np.cumsum(~left_out) - 1
        release, gate, head = _made(
            release_dir, [name for name, out in zip(ids, left_out, strict=True) if not out],
            learned.of(~left_out[learned.labels], renamed),
        )  # fmt: skip
        new = left_out[tested.labels]
        night = _answered(release, gate, head, tested)
        plain = _by_confidence(release, head, tested, share=float(night.published[~new].mean()), known=~new)
        held = int((night.by_image & ~night.published).sum())
        row = (night.published[new].mean(), plain[new].mean())
        totals.append((int(new.sum()), *row))
        beyond = (night.scores[new] > 1).mean()
        print(
            f"| {ids[pair[0]]}, {ids[pair[1]]} | {new.sum()} | {beyond:.3f} | {night.published[~new].mean():.3f} "
            f"| {row[0]:.3f} | {row[1]:.3f} | {held} |",
            flush=True,
        )
    counts, gated, plain_shares = (np.array(column, float) for column in zip(*totals, strict=True))
    print(
        f"mean over pairs: published {gated.mean():.4f}, by confidence alone {plain_shares.mean():.4f}, ratio "
        f"{gated.mean() / plain_shares.mean():.3f}; over photographs {(counts @ gated) / (counts @ plain_shares):.3f}"
    )


def _features(release_dir: Path, home: Path, weights: str, input_px: int) -> tuple[list[str], Photographs, Photographs]:
    """Return the categories, and the photographs to learn from and to test on with their features; kept in files."""
    from jobs.evaluation.config import EvaluateConfig
    from jobs.storage.places import Places

    ids = sorted(category.category_id for category in load_release(release_dir).categories)
    both = []
    for part in ("shop", "held-out"):
        reading = EvaluateConfig(Places(home / part))
        file = home / f"{part}-features.npz"
        if not file.is_file():
            np.savez(file, **_computed(reading, weights, input_px))
        with np.load(file) as kept:
            stored = dict(kept)
        contents = stored["contents"].tolist()
        images = {image.image_sha256: image for image in reading.images()}
        labels = np.array([ids.index(images[content].category_id) for content in contents], np.int64)
        features = {NETWORK: stored["received"][:, : int(stored["last_width"])], PIXELS: stored["pixels"]}
        both.append(Photographs(stored["received"], features, stored["products"].tolist(), contents, labels))
    return ids, both[0], both[1]


def _computed(reading: EvaluateConfig, weights: str, input_px: int) -> dict[str, Any]:
    """Compute the features of a home's photographs as `finetune --quick` does."""
    from models.serving.environment import prepare_environment

    prepare_environment()
    from jobs.evaluation.image_predictions import decoded_batches
    from models.serving.features import FeatureExtractor, feature_engine
    from models.training.frozen import load_frozen

    frozen = load_frozen(NETWORK, input_px, weights, categories=2)
    extractor = FeatureExtractor(frozen.backbone, frozen.network, side_px=input_px, engine=feature_engine())
    images, received, pixels = [], [], []
    for decoded, squares, _ in decoded_batches(reading.images(), reading, side_px=input_px):
        if decoded:
            images += decoded
            received.append(extractor(squares))
            pixels.append(pixel_statistics(squares))
    return {
        "received": np.concatenate(received),
        "last_width": frozen.last_width,
        "pixels": np.concatenate(pixels),
        "products": [image.product_id for image in images],
        "contents": [image.image_sha256 for image in images],
    }


def _made(release_dir: Path, ids: Sequence[str], learned: Photographs) -> tuple[Release, ImageGate, Any]:
    """Fit, calibrate and describe a release of some categories on their photographs, as `finetune --quick` does."""
    folds = folds_of(learned.products, learned.labels, seed=7)
    order = np.argsort(folds, kind="stable")
    found = cross_fit(learned.received[order], learned.labels[order], folds[order], len(ids))
    softmaxes = np.empty_like(found.softmaxes)
    softmaxes[order] = found.softmaxes
    known = fit_known(learned.examples, learned.examples)
    template = load_release(release_dir)
    draft = replace(template, categories=tuple(Category(name, name) for name in ids), known=known.spec)
    untrusted = [untrusted_by(score) for score in known.scores.tolist()]
    release = calibrated(draft, {NETWORK: softmaxes}, learned.labels, untrusted=untrusted)
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, known.spec.file).write_bytes(known.content)
        return release, load_gate(release, Path(scratch)), found.head


def _confidences(release: Release, head: Any, photographs: Photographs) -> Probabilities:
    return combine(
        {NETWORK: head.probabilities(photographs.received)},
        weights={NETWORK: 1.0},
        temperature=release.temperature,
    )


def _answered(release: Release, gate: ImageGate, head: Any, tested: Photographs) -> Night:
    judgements = gate.judge(tested.features, len(tested.labels))
    return night_of(release, _confidences(release, head, tested), judgements)


def _by_confidence(
    release: Release, head: Any, tested: Photographs, *, share: float, known: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return what confidence alone publishes, with all thresholds raised until it publishes this share of the known."""
    confidences = _confidences(release, head, tested)
    policy: Policy = release.policy
    ids = [category.category_id for category in release.categories]
    thresholds = np.array([policy.threshold(name) for name in ids])
    margin = confidences.max(axis=1) - thresholds[confidences.argmax(axis=1)]
    ranked = np.sort(margin[known])[::-1]
    lowest = ranked[max(round(share * len(ranked)) - 1, 0)]
    return np.asarray(margin >= lowest if share else np.zeros(len(margin), bool))


def _auroc(foreign: NDArray[np.float64], known: NDArray[np.float64]) -> float:
    """Return the probability that a foreign image has a higher score than a known one."""
    ranks = rankdata(np.concatenate([foreign, known]))[: len(foreign)]
    return float((ranks.sum() - len(foreign) * (len(foreign) + 1) / 2) / (len(foreign) * len(known)))


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["articles", "kinds"])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--held-out", type=Path)
    parser.add_argument("--weights", help="what --start-from takes")
    parser.add_argument("--input-px", type=int, default=299)
    parser.add_argument("--home", type=Path, help="directory that keeps homes and features for the next call")
    options = parser.parse_args()
    if options.what == "articles":
        articles(options.photos)
        return
    if not (options.held_out and options.weights):
        parser.error("kinds needs --held-out and --weights")
    with tempfile.TemporaryDirectory() as name:
        kinds(options.photos, options.held_out, options.weights, options.input_px, options.home or Path(name))


if __name__ == "__main__":
    main()

"""What a release says of labelled products: with the reader, networks and decision of predict and publish."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.config import Places, RunFailed, UsageError
from jobs.labels import LabelledImage, check_labels, labelled_images
from models.calibration import combine
from models.decision import Answer
from models.products import answer_of_product, by_product, distribution_of_product
from models.release import Release
from models.spec import Predictor, Probabilities


@dataclass(frozen=True)
class EvaluateConfig:
    """What is measured.

    Attributes:
        places: Where state lives.
        first: First ingest date.
        last: Last ingest date, included.
        leave_out: Categories that are not looked at, with what is below them.
        part: `train`, `validation` or `test`; None is every product.
        part_reason: Why it is this part, where nobody asked for it.
        batch_size: Images a call of the networks.
        decode_workers: Threads that decode while the networks compute.
    """

    places: Places
    first: date = date.min
    last: date = date.max
    leave_out: tuple[str, ...] = ()
    part: str | None = None
    part_reason: str = ""
    batch_size: int = 32
    decode_workers: int = 2

    def told(self) -> dict[str, Any]:
        """Return which products are looked at, for whoever reads a figure; a date that was not given is None."""
        return {
            "part": self.part or "all",
            "part_reason": self.part_reason,
            "leave_out": list(self.leave_out),
            "first": self.first.isoformat() if self.first != date.min else None,
            "last": self.last.isoformat() if self.last != date.max else None,
        }

    def images(self) -> list[LabelledImage]:
        """List what is measured on."""
        images = labelled_images(
            self.places, first=self.first, last=self.last, part=self.part, leave_out=self.leave_out
        )
        if not images:
            raise UsageError(f"no labelled product is in the part {self.part!r}; measure another part, or --part all")
        return images


@dataclass(frozen=True)
class Measured:
    """What a release says of labelled products, in order of product_id, and of their images, in the same order.

    Attributes:
        product_ids: The products.
        labels: Index of each product's true category.
        first_images: Each product's first image, for showing it.
        products: Of each image the index of its product, ascending.
        image_by_network: Each network's softmax, (images, categories).
        image_confidences: The calibrated ensemble, (images, categories).
        by_network: Each network's softmax, averaged over the product's images, (products, categories).
        confidences: What the product's answer is decided by, (products, categories).
        raw: The same without the temperature, (products, categories).
        failed: How many images could not be decoded, and are left out.
    """

    product_ids: tuple[str, ...]
    labels: NDArray[np.int64]
    first_images: tuple[LabelledImage, ...]
    products: NDArray[np.int64]
    image_by_network: Mapping[str, Probabilities]
    image_confidences: Probabilities
    by_network: Mapping[str, Probabilities]
    confidences: Probabilities
    raw: Probabilities
    failed: int

    @property
    def images(self) -> int:
        """How many images were predicted."""
        return len(self.products)

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Whether the surest leaf is the true one."""
        return np.asarray(self.confidences.argmax(axis=1) == self.labels)

    def answers(self, release: Release) -> list[Answer]:
        """Return what a release publishes, suggests or leaves open for each product."""
        ids = [category.category_id for category in release.categories]
        return [
            answer_of_product(ids, rows, release.policy) for rows in by_product(self.image_confidences, self.products)
        ]


def measure(
    predictor: Predictor, release: Release, images: Sequence[LabelledImage], config: EvaluateConfig
) -> Measured:
    """Predict labelled images and put them together by product, as publish does.

    Args:
        predictor: Of the release.
        release: Whose categories the labels must be.
        images: From `jobs.labels.labelled_images`.
        config: Batch size and decoding threads.

    Returns:
        One row a product.

    Raises:
        UsageError: If a label is not a category of the release.
        RunFailed: If no image could be decoded.
    """
    from jobs.dataset import read_shard

    ids = [category.category_id for category in release.categories]
    check_labels(images, ids, taxonomy=f"release {release.release_id} (taxonomy {release.taxonomy_version})")
    wanted = {image.key: image for image in images}
    found: list[LabelledImage] = []
    parts: dict[str, list[Probabilities]] = defaultdict(list)
    failed = 0
    by_shard: dict[Path, set[tuple[str, int, str]]] = defaultdict(set)
    for image in images:
        by_shard[image.shard].add(image.key)
    for shard, keys_there in sorted(by_shard.items()):  # an older file may hold a content that came back
        reader = read_shard(
            shard,
            side_px=predictor.decode_px,
            batch_size=config.batch_size,
            workers=config.decode_workers,
            wanted=keys_there,
        )
        for batch in reader:
            keys = _keys(batch.columns)
            chosen = [place for place, error in enumerate(batch.errors) if not error]
            failed += len(keys) - len(chosen)
            if not chosen:
                continue
            found += [wanted[keys[place]] for place in chosen]
            answers = predictor.predict(batch.images[chosen])
            for name, rows in {**answers.by_network, "": answers.confidences}.items():
                parts[name].append(rows)
    if not found:
        raise RunFailed(f"none of the {len(images)} labelled images could be decoded; ingest the catalog again")
    return _measured(release, found, {name: np.concatenate(rows) for name, rows in parts.items()}, failed)


def _keys(columns: Mapping[str, NDArray[Any]]) -> list[tuple[str, int, str]]:
    names = ("product_id", "image_no", "image_sha256")
    return [(str(p), int(n), str(s)) for p, n, s in zip(*(columns[name] for name in names), strict=True)]


def _measured(
    release: Release, found: Sequence[LabelledImage], parts: Mapping[str, Probabilities], failed: int
) -> Measured:
    """Sort images by product, and give each product its row."""
    order = sorted(range(len(found)), key=lambda place: (found[place].product_id, found[place].image_no))
    images = [found[place] for place in order]
    rows = {name: part[order] for name, part in parts.items()}
    confidences = rows.pop("")
    product_ids, firsts, products = np.unique(
        [image.product_id for image in images], return_index=True, return_inverse=True
    )
    ids = [category.category_id for category in release.categories]
    by_network = {
        name: np.asarray([own.mean(axis=0) for own in by_product(part, products)], np.float32)
        for name, part in rows.items()
    }
    weights = {network.architecture: network.ensemble_weight for network in release.networks}
    raw = combine(rows, weights=weights, temperature=1.0)
    decided = [distribution_of_product(ids, own) for own in by_product(confidences, products)]
    return Measured(
        product_ids=tuple(map(str, product_ids)),
        labels=np.array([ids.index(images[first].category_id) for first in firsts]),
        first_images=tuple(images[first] for first in firsts),
        products=np.asarray(products, np.int64),
        image_by_network=rows,
        image_confidences=confidences,
        by_network=by_network,
        raw=np.asarray([distribution_of_product(ids, own) for own in by_product(raw, products)], np.float32),
        confidences=np.asarray(decided, np.float32),
        failed=failed,
    )

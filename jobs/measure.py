"""What a release says of labelled products: the same reader, networks and average as in predict and publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.config import Places, RunFailed, UsageError
from jobs.labels import LabelledImage, check_labels, labelled_images
from models.calibration import combine
from models.release import Release
from models.spec import Predictor, Probabilities


@dataclass(frozen=True)
class EvaluateConfig:
    """What is measured.

    Attributes:
        places: Where state lives.
        first: First ingest date.
        last: Last ingest date, included.
        part: `train`, `validation` or `test`; None is every product.
        batch_size: Images a call of the networks.
        decode_workers: Threads that decode while the networks compute.
    """

    places: Places
    first: date = date.min
    last: date = date.max
    part: str | None = None
    batch_size: int = 32
    decode_workers: int = 2

    def images(self) -> list[LabelledImage]:
        """List what is measured on."""
        images = labelled_images(self.places, first=self.first, last=self.last, part=self.part)
        if not images:
            raise UsageError(f"no labelled product is in the part {self.part!r}; measure another part, or all of them")
        return images


@dataclass(frozen=True)
class Measured:
    """What a release says of labelled products, in order of product_id.

    Attributes:
        product_ids: Of the rows.
        labels: Index of each product's true category.
        by_network: Each network's softmax, averaged over the product's images, (products, categories).
        raw: The weighted mean of the networks, before the temperature.
        confidences: The calibrated ensemble.
        first_images: Each product's first image, for showing it.
        images: How many images were predicted.
        failed: How many could not be decoded, and are left out.
    """

    product_ids: tuple[str, ...]
    labels: NDArray[np.int64]
    by_network: Mapping[str, Probabilities]
    raw: Probabilities
    confidences: Probabilities
    first_images: tuple[LabelledImage, ...]
    images: int
    failed: int

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Whether the surest leaf is the true one."""
        return np.asarray(self.confidences.argmax(axis=1) == self.labels)


def measure(
    predictor: Predictor, release: Release, images: Sequence[LabelledImage], config: EvaluateConfig
) -> Measured:
    """Predict labelled images and average them by product.

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
    sums: dict[str, dict[str, NDArray[np.float64]]] = {}
    counts: dict[str, int] = {}
    firsts: dict[str, LabelledImage] = {}
    failed = 0
    for shard in sorted({image.shard for image in images}):
        reader = read_shard(
            shard, side_px=predictor.decode_px, batch_size=config.batch_size, workers=config.decode_workers
        )
        for batch in reader:
            found = [wanted.get(key) for key in _keys(batch.columns)]
            chosen = [i for i, image in enumerate(found) if image is not None and not batch.errors[i]]
            failed += sum(image is not None for image in found) - len(chosen)
            if not chosen:
                continue
            answers = predictor.predict(batch.images[chosen])
            parts = {**answers.by_network, "": answers.confidences}
            for row, i in enumerate(chosen):
                image = found[i]
                assert image is not None  # noqa: S101 - chosen above
                _add(sums.setdefault(image.product_id, {}), parts, row)
                counts[image.product_id] = counts.get(image.product_id, 0) + 1
                firsts[image.product_id] = min(
                    (firsts.get(image.product_id, image), image), key=lambda one: one.image_no
                )
    if not counts:
        raise RunFailed(f"none of the {len(images)} labelled images could be decoded; ingest the catalog again")
    return _measured(release, sums, counts, firsts, failed)


def _keys(columns: Mapping[str, NDArray[Any]]) -> list[tuple[str, int, str]]:
    names = ("product_id", "image_no", "image_sha256")
    return [(str(p), int(n), str(s)) for p, n, s in zip(*(columns[name] for name in names), strict=True)]


def _add(sums: dict[str, NDArray[np.float64]], parts: Mapping[str, Probabilities], row: int) -> None:
    for name, rows in parts.items():
        sums[name] = sums.get(name, 0.0) + np.asarray(rows[row], np.float64)


def _measured(
    release: Release,
    sums: Mapping[str, Mapping[str, NDArray[np.float64]]],
    counts: Mapping[str, int],
    firsts: Mapping[str, LabelledImage],
    failed: int,
) -> Measured:
    place = {category.category_id: index for index, category in enumerate(release.categories)}
    ids = tuple(sorted(counts))
    names = [network.architecture for network in release.networks]

    def mean(name: str) -> Probabilities:
        return np.asarray([sums[product_id][name] / counts[product_id] for product_id in ids], np.float32)

    by_network = {name: mean(name) for name in names}
    weights = {network.architecture: network.ensemble_weight for network in release.networks}
    return Measured(
        product_ids=ids,
        labels=np.array([place[firsts[product_id].category_id] for product_id in ids]),
        by_network=by_network,
        raw=combine(by_network, weights=weights, temperature=1.0),
        confidences=mean(""),
        first_images=tuple(firsts[product_id] for product_id in ids),
        images=sum(counts.values()),
        failed=failed,
    )

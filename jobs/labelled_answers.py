"""What networks answer of labelled images, read and decoded as predict does: by product, and by image."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from jobs.config import RunFailed
from jobs.labels import LabelledImage
from models.spec import Predictor, Probabilities

Key = tuple[str, int, str]
Row = tuple[LabelledImage, dict[str, NDArray[np.float32]]]

CONFIDENCES = ""
"""Name of the calibrated ensemble's rows, beside those of each network."""

TOGETHER = 256
"""Images whose products are handed on at once, with a whole distribution of each."""


class Reading(Protocol):
    """How images are read."""

    @property
    def batch_size(self) -> int:
        """Images a call of the networks."""

    @property
    def decode_workers(self) -> int:
        """Threads that decode while the networks compute."""


@dataclass(frozen=True)
class Answered:
    """Some images and what was answered of them, in the same order.

    Attributes:
        images: Those that could be decoded.
        rows: By network, and under `CONFIDENCES`, float32 (images, categories).
        failed: Those that could not.
    """

    images: Sequence[LabelledImage]
    rows: Mapping[str, Probabilities]
    failed: Sequence[LabelledImage] = ()


@dataclass(frozen=True)
class ByImage:
    """What calibration is fitted to, in order of product_id and image_no.

    Attributes:
        labels: Index of each image's true category.
        products: Of each image the index of its product, ascending.
        by_network: Each network's softmax, float32 (images, categories).
    """

    labels: NDArray[np.int64]
    products: NDArray[np.int64]
    by_network: Mapping[str, Probabilities]


def batches(predictor: Predictor, images: Sequence[LabelledImage], reading: Reading) -> Iterator[Answered]:
    """Answer images, each once, in the order of the dataset's files."""
    from jobs.dataset import read_shard

    wanted = {image.key: image for image in images}
    by_shard: dict[Path, set[Key]] = defaultdict(set)  # an older file may hold a content that came back
    for image in images:
        by_shard[image.shard].add(image.key)
    for shard, keys_there in sorted(by_shard.items()):
        reader = read_shard(
            shard,
            side_px=predictor.decode_px,
            batch_size=reading.batch_size,
            workers=reading.decode_workers,
            wanted=keys_there,
        )
        for batch in reader:
            found = [wanted[key] for key in _keys(batch.columns)]
            chosen = [place for place, error in enumerate(batch.errors) if not error]
            failed = [found[place] for place, error in enumerate(batch.errors) if error]
            if not chosen:
                yield Answered([], {}, failed)
                continue
            answers = predictor.predict(batch.images[chosen])
            rows = {**answers.by_network, CONFIDENCES: answers.confidences}
            yield Answered([found[place] for place in chosen], rows, failed)


def products(predictor: Predictor, images: Sequence[LabelledImage], reading: Reading) -> Iterator[Answered]:
    """Answer images, and hand on products of which every image is answered, with their images in order.

    Distributions over thousands of categories are held only while a product waits for its other images.

    Yields:
        Products of `TOGETHER` images or little more at a time, at last fewer, and the images that failed until then.
    """
    missing = Counter(image.product_id for image in images)
    held: dict[str, list[Row]] = defaultdict(list)
    whole: list[str] = []
    failed: list[LabelledImage] = []
    for batch in batches(predictor, images, reading):
        for place, image in enumerate(batch.images):  # copied, as one row would keep its whole batch in memory
            held[image.product_id].append((image, {name: rows[place].copy() for name, rows in batch.rows.items()}))
        failed += batch.failed
        for image in [*batch.images, *batch.failed]:
            missing[image.product_id] -= 1
            if not missing[image.product_id] and image.product_id in held:
                whole.append(image.product_id)
        if sum(len(held[product_id]) for product_id in whole) >= TOGETHER:
            yield _joined([held.pop(product_id) for product_id in whole], failed)
            whole, failed = [], []
    if held or failed:
        yield _joined(list(held.values()), failed)


def by_image(
    predictor: Predictor, images: Sequence[LabelledImage], category_ids: Sequence[str], reading: Reading
) -> ByImage:
    """Answer images and keep each network's whole distribution of each.

    Args:
        predictor: Of the networks.
        images: Labelled with some of the categories.
        category_ids: Of the columns.
        reading: How images are read.

    Raises:
        RunFailed: If no image could be decoded.
    """
    order = sorted(images, key=lambda image: (image.product_id, image.image_no))
    place = {image.key: index for index, image in enumerate(order)}
    answered = np.zeros(len(order), bool)
    by_network: dict[str, Probabilities] = {}
    for batch in batches(predictor, images, reading):
        places = [place[image.key] for image in batch.images]
        answered[places] = True
        for name in batch.rows.keys() - {CONFIDENCES}:
            if name not in by_network:
                by_network[name] = np.zeros((len(order), len(category_ids)), np.float32)
            by_network[name][places] = batch.rows[name]
    refuse_none(int(answered.sum()), images)
    if not answered.all():
        by_network = {name: rows[answered] for name, rows in by_network.items()}
        order = [image for image, is_there in zip(order, answered, strict=True) if is_there]
    index = {category_id: column for column, category_id in enumerate(category_ids)}
    return ByImage(
        labels=np.array([index[image.category_id] for image in order], np.int64),
        products=np.unique([image.product_id for image in order], return_inverse=True)[1].astype(np.int64),
        by_network=by_network,
    )


def refuse_none(answered: int, images: Sequence[LabelledImage]) -> None:
    """Raise RunFailed if no image could be decoded."""
    if not answered:
        raise RunFailed(f"none of the {len(images)} labelled images could be decoded; ingest the catalog again")


def _keys(columns: Mapping[str, NDArray[Any]]) -> list[Key]:
    names = ("product_id", "image_no", "image_sha256")
    return [(str(p), int(n), str(s)) for p, n, s in zip(*(columns[name] for name in names), strict=True)]


def _joined(products: Sequence[Sequence[Row]], failed: Sequence[LabelledImage]) -> Answered:
    every = [row for product in products for row in sorted(product, key=lambda row: row[0].image_no)]
    names = every[0][1] if every else {}
    rows = {name: np.stack([own[name] for _, own in every]) for name in names}
    return Answered([image for image, _ in every], rows, failed)

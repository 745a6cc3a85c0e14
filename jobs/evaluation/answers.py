"""What networks answer of labelled images, read and decoded as predict does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from jobs.dataset.labels import LabelledImage
from jobs.dataset.local_copies import kept_copy
from jobs.errors import RunFailed
from jobs.storage.places import Place, Places
from models.serving.faults import fault_of
from models.spec import Images, Predictions, Predictor, Probabilities

Key = tuple[str, int, str]

CONFIDENCES = ""
"""Name of the calibrated ensemble's rows, beside those of each network."""

HELD_BYTES = 2**30
"""Of whole distributions, at most, while the images of their products are put together."""


class Reading(Protocol):
    """How images are read."""

    @property
    def places(self) -> Places:
        """Where state lives."""

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
        failed: How many could not.
    """

    images: Sequence[LabelledImage]
    rows: Mapping[str, Probabilities]
    failed: int = 0

    @property
    def products(self) -> NDArray[np.int64]:
        """Of each image the index of its product, ascending from 0, where the images of a product are neighbours."""
        names = [image.product_id for image in self.images]
        return np.cumsum([0, *(one != other for one, other in pairwise(names))], dtype=np.int64)[: len(names)]

    def labels(self, category_ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the index of each image's true category."""
        column = {category_id: index for index, category_id in enumerate(category_ids)}
        return np.array([column[image.category_id] for image in self.images], np.int64)

    def part(self, start: int, stop: int) -> Answered:
        """Return some of it; none of them failed."""
        return Answered(self.images[start:stop], {name: rows[start:stop] for name, rows in self.rows.items()})


def batches(predictor: Predictor, images: Sequence[LabelledImage], reading: Reading) -> Iterator[Answered]:
    """Answer images, each once, in the order of the dataset's files."""
    from jobs.dataset.reading import read_shard

    wanted = {image.key: image for image in images}
    by_shard: dict[Place, set[Key]] = defaultdict(set)  # an older file may hold a content that came back
    for image in images:
        by_shard[image.shard].add(image.key)
    for shard, keys_there in sorted(by_shard.items(), key=lambda item: str(item[0])):
        reader = read_shard(
            kept_copy(shard, reading.places),
            side_px=predictor.decode_px,
            batch_size=reading.batch_size,
            workers=reading.decode_workers,
            wanted=keys_there,
            original=shard,
        )
        for batch in reader:
            found = [wanted[key] for key in _keys(batch.columns)]
            chosen = [place for place, error in enumerate(batch.errors) if not error]
            failed = len(found) - len(chosen)
            if not chosen:
                yield Answered([], {}, failed)
                continue
            answers = _predicted(predictor, batch.images[chosen])
            rows = {**answers.by_network, CONFIDENCES: answers.confidences}
            yield Answered([found[place] for place in chosen], rows, failed)


def _predicted(predictor: Predictor, squares: Images) -> Predictions:
    try:
        return predictor.predict(squares)
    except Exception as error:
        if fault_of(error) != "memory":
            raise
        raise RunFailed(
            f"{len(squares)} images at once do not fit the memory; run the same command with a smaller --batch-size"
        ) from error


def answered(
    predictor: Predictor, images: Sequence[LabelledImage], reading: Reading, *, without: Set[str] = frozenset()
) -> Answered:
    """Answer images, in order of product_id and image_no.

    Args:
        predictor: Of the networks.
        images: Any.
        reading: How they are read.
        without: Rows that are not kept, a network's or `CONFIDENCES`.

    Returns:
        The answers of all that could be decoded.
    """
    order = sorted(images, key=lambda image: (image.product_id, image.image_no))
    place = {image.key: index for index, image in enumerate(order)}
    there = np.zeros(len(order), bool)
    rows: dict[str, Probabilities] = {}
    for batch in batches(predictor, images, reading):
        places = [place[image.key] for image in batch.images]
        there[places] = True
        for name, some in batch.rows.items():
            if name in without:
                continue
            if name not in rows:
                rows[name] = np.empty((len(order), some.shape[1]), np.float32)
            rows[name][places] = some
    if not there.all():
        for name in rows:  # one by one, so that no more than one of them is there twice
            rows[name] = rows[name][there]
        order = [image for image, is_there in zip(order, there, strict=True) if is_there]
    return Answered(order, rows, len(images) - len(order))


def whole_products(
    predictor: Predictor, images: Sequence[LabelledImage], reading: Reading, *, row_bytes: int
) -> Iterator[Answered]:
    """Answer images in parts that have all images of their products, in order of product_id.

    The images of a product lie in any of the dataset's files: for each part those that have some of it are read again,
    which costs little beside the networks. A part is as large as `HELD_BYTES` allow, but has at least one product.

    Args:
        predictor: Of the networks.
        images: Any.
        reading: How they are read.
        row_bytes: Of everything that is answered of one image.
    """
    by_product: dict[str, list[LabelledImage]] = defaultdict(list)
    for image in images:
        by_product[image.product_id].append(image)
    part: list[LabelledImage] = []
    for product_id in sorted(by_product):
        if part and (len(part) + len(by_product[product_id])) * row_bytes > HELD_BYTES:
            yield answered(predictor, part, reading)
            part = []
        part += by_product[product_id]
    if part:
        yield answered(predictor, part, reading)


def refuse_none(count: int, images: Sequence[LabelledImage]) -> None:
    """Raise RunFailed if of all images none could be decoded."""
    if not count:
        raise RunFailed(f"none of the {len(images)} labelled images could be decoded; ingest the catalog again")


def _keys(columns: Mapping[str, NDArray[Any]]) -> list[Key]:
    names = ("product_id", "image_no", "image_sha256")
    return [(str(p), int(n), str(s)) for p, n, s in zip(*(columns[name] for name in names), strict=True)]

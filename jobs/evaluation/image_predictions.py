"""Predictions of the networks for labelled images, one by one: read, decoded and predicted as in predict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from jobs.dataset.labels import LabelledImage
from jobs.dataset.local_copies import kept_copy
from jobs.dataset.schema import ImageKey, image_keys
from jobs.errors import RunFailed
from jobs.evaluation.config import Reading
from jobs.storage.places import Place
from models.serving.faults import fault_of
from models.spec import Images, Predictor, Probabilities

CONFIDENCES = ""
"""Key of the calibrated ensemble's rows, beside the keys of the networks."""

HELD_BYTES = 2**30
"""Most bytes of predictions that `whole_products` keeps in memory, while it collects all images of some products."""


@dataclass(frozen=True)
class Answered:
    """Some labelled images and the predictions for each, in the same order.

    Attributes:
        images: Images that could be decoded.
        rows: Maps each network, and `CONFIDENCES` for the calibrated ensemble, to float32 (images, categories).
        failed: Number of images that could not be decoded.
    """

    images: Sequence[LabelledImage]
    rows: Mapping[str, Probabilities]
    failed: int = 0

    @property
    def products(self) -> NDArray[np.int64]:
        """Product index of each image, ascending from 0; the images of a product must be adjacent."""
        names = [image.product_id for image in self.images]
        return np.cumsum([0, *(one != other for one, other in pairwise(names))], dtype=np.int64)[: len(names)]

    def labels(self, category_ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the index of each image's label in `category_ids`, int64 (images,)."""
        column = {category_id: index for index, category_id in enumerate(category_ids)}
        return np.array([column[image.category_id] for image in self.images], np.int64)

    def part(self, start: int, stop: int) -> Answered:
        """Return the images from `start` to before `stop` with their predictions; `failed` is 0."""
        return Answered(self.images[start:stop], {name: rows[start:stop] for name, rows in self.rows.items()})


def batches(predictor: Predictor, images: Sequence[LabelledImage], reading: Reading) -> Iterator[Answered]:
    """Predict labelled images batch by batch, each image once, in the order of the dataset's files.

    Args:
        predictor: Predictor of the release.
        images: Images to predict.
        reading: Settings for reading images.

    Yields:
        The images of each batch with their predictions.

    Raises:
        RunFailed: If a batch does not fit in memory; use a smaller `--batch-size`.
    """
    for in_batch, squares, failed in decoded_batches(images, reading, side_px=predictor.decode_px):
        if not in_batch:
            yield Answered([], {}, failed)
            continue
        with memory_fault_explained(len(squares)):
            predictions = predictor.predict(squares)
        rows = {**predictions.by_network, CONFIDENCES: predictions.confidences}
        yield Answered(in_batch, rows, failed)


def decoded_batches(
    images: Sequence[LabelledImage], reading: Reading, *, side_px: int
) -> Iterator[tuple[list[LabelledImage], Images, int]]:
    """Read and decode labelled images batch by batch, each once, in the order of the dataset's files.

    Args:
        images: Images to read.
        reading: Settings for reading images.
        side_px: Side of the squares to which they are decoded, in pixels.

    Yields:
        The images of each batch that decode, their squares, and how many of the batch do not decode.
    """
    from jobs.dataset.reading import read_shard

    wanted = {image.key: image for image in images}
    # An older file may contain the same key: the image changed and later changed back.
    by_shard: dict[Place, set[ImageKey]] = defaultdict(set)
    for image in images:
        by_shard[image.shard].add(image.key)
    for shard, keys in sorted(by_shard.items(), key=lambda item: str(item[0])):
        reader = read_shard(
            kept_copy(shard, reading.places),
            side_px=side_px,
            batch_size=reading.batch_size,
            workers=reading.decode_workers,
            wanted=keys,
            original=shard,
        )
        for batch in reader:
            in_batch = [wanted[key] for key in image_keys(batch.columns)]
            decoded = [index for index, error in enumerate(batch.errors) if not error]
            squares = batch.images if len(decoded) == len(in_batch) else batch.images[decoded]
            yield [in_batch[index] for index in decoded], squares, len(in_batch) - len(decoded)


@contextmanager
def memory_fault_explained(count: int, *, kept: str = "") -> Iterator[None]:
    """Turn a lack of memory inside the block into RunFailed with its remedy.

    Args:
        count: Number of images that are computed at once.
        kept: What is not lost, for the end of the message.
    """
    try:
        yield
    except Exception as error:
        if fault_of(error) != "memory":
            raise
        raise RunFailed(
            f"{count} images at once do not fit the memory; run the same command with a smaller --batch-size{kept}"
        ) from error


def answered(
    predictor: Predictor, images: Sequence[LabelledImage], reading: Reading, *, without: Set[str] = frozenset()
) -> Answered:
    """Predict labelled images, and return them in order of product_id and image_no.

    Args:
        predictor: Predictor of the release.
        images: Images to predict, in any order.
        reading: Settings for reading images.
        without: Keys of rows to discard: names of networks or `CONFIDENCES`.

    Returns:
        All images that could be decoded, with their predictions.
    """
    order = sorted(images, key=lambda image: (image.product_id, image.image_no))
    position = {image.key: index for index, image in enumerate(order)}
    decoded = np.zeros(len(order), bool)
    rows: dict[str, Probabilities] = {}
    for batch in batches(predictor, images, reading):
        positions = [position[image.key] for image in batch.images]
        decoded[positions] = True
        for name, batch_rows in batch.rows.items():
            if name in without:
                continue
            if name not in rows:
                rows[name] = np.empty((len(order), batch_rows.shape[1]), np.float32)
            rows[name][positions] = batch_rows
    if not decoded.all():
        for name in rows:  # one after the other: at most one array is in memory twice
            rows[name] = rows[name][decoded]
        order = [image for image, is_decoded in zip(order, decoded, strict=True) if is_decoded]
    return Answered(order, rows, len(images) - len(order))


def whole_products(
    predictor: Predictor, images: Sequence[LabelledImage], reading: Reading, *, row_bytes: int
) -> Iterator[Answered]:
    """Predict labelled images part by part; a part contains all images of its products, in order of product_id.

    The images of a product can be in several dataset files. For each part, the files with its images are read again,
    which takes little time compared with the networks. A part is as large as `HELD_BYTES` allows, and has at least one
    product.

    Args:
        predictor: Predictor of the release.
        images: Images to predict, in any order.
        reading: Settings for reading images.
        row_bytes: Size in bytes of all predictions for one image.

    Yields:
        The images of each part with their predictions.
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
    """Raise RunFailed if none of the labelled images to predict could be decoded.

    Args:
        count: Number of decoded images.
        images: All images.
    """
    if not count:
        raise RunFailed(f"none of the {len(images)} labelled images could be decoded; ingest the catalog again")

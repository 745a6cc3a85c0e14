"""Predictions of the networks for labelled images, one by one: read, decoded, predicted and judged as in predict.

The networks' features are judged batch by batch, and only `features_of` keeps them: they take far more memory than the
predictions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress, pairwise

import numpy as np
from numpy.typing import NDArray

from jobs.dataset.labels import LabelledImage
from jobs.dataset.local_copies import kept_copy
from jobs.dataset.schema import ImageKey, image_keys
from jobs.errors import RunFailed
from jobs.evaluation.config import Reading
from jobs.storage.places import Place
from models.answers.products import with_say
from models.known.fit import Examples
from models.known.gate import ImageGate
from models.serving.faults import fault_of
from models.spec import Features, Images, Predictions, Predictor, Probabilities

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
        untrusted: Why the release cannot judge each image, one of `models.answers.reasons.UNTRUSTED`, or None where it
            can; None if no gate looked at them, which trusts all of them.
        scores: How unlike the images that the release knows each one is, above 1 if it is foreign, float64 (images,);
            not a number where there is no score. None if no gate looked at them.
    """

    images: Sequence[LabelledImage]
    rows: Mapping[str, Probabilities]
    failed: int = 0
    untrusted: Sequence[str | None] | None = None
    scores: NDArray[np.float64] | None = None

    @property
    def say(self) -> NDArray[np.bool_] | None:
        """Whether each image has a say in its product's answer beside others, bool (images,); None if all have."""
        return None if self.untrusted is None else with_say(self.untrusted)

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
        return Answered(
            self.images[start:stop],
            {name: rows[start:stop] for name, rows in self.rows.items()},
            untrusted=None if self.untrusted is None else self.untrusted[start:stop],
            scores=None if self.scores is None else self.scores[start:stop],
        )


def batches(
    predictor: Predictor, images: Sequence[LabelledImage], reading: Reading, gate: ImageGate | None = None
) -> Iterator[Answered]:
    """Predict labelled images batch by batch, each image once, in the order of the dataset's files.

    Args:
        predictor: Predictor of the release.
        images: Images to predict.
        reading: Settings for reading images.
        gate: Decides which images the release knows; None trusts all of them.

    Yields:
        The images of each batch with their predictions.

    Raises:
        RunFailed: If a batch does not fit in memory; use a smaller `--batch-size`.
    """
    for in_batch, predictions, failed in _predicted(predictor, images, reading):
        if predictions is None:
            yield Answered([], {}, failed)
            continue
        rows = {**predictions.by_network, CONFIDENCES: predictions.confidences}
        if gate is None:
            yield Answered(in_batch, rows, failed)
            continue
        judgements = gate.judge(predictions.features, len(in_batch))
        scores = [np.nan if judgement.score is None else judgement.score for judgement in judgements]
        untrusted = [judgement.untrusted for judgement in judgements]
        yield Answered(in_batch, rows, failed, untrusted, np.array(scores, np.float64))


def _predicted(
    predictor: Predictor, images: Sequence[LabelledImage], reading: Reading
) -> Iterator[tuple[list[LabelledImage], Predictions | None, int]]:
    """Yield the images of each batch that decode, their predictions (None without any), and how many do not decode."""
    for in_batch, squares, failed in decoded_batches(images, reading, side_px=predictor.decode_px):
        if not in_batch:
            yield [], None, failed
            continue
        with memory_fault_explained(len(squares)):
            predictions = predictor.predict(squares)
        yield in_batch, predictions, failed


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
    predictor: Predictor,
    images: Sequence[LabelledImage],
    reading: Reading,
    *,
    without: Set[str] = frozenset(),
    gate: ImageGate | None = None,
) -> Answered:
    """Predict labelled images, and return them in order of product_id and image_no.

    Args:
        predictor: Predictor of the release.
        images: Images to predict, in any order.
        reading: Settings for reading images.
        without: Keys of rows to discard: names of networks or `CONFIDENCES`.
        gate: Decides which images the release knows; None trusts all of them.

    Returns:
        All images that could be decoded, with their predictions.
    """
    order = _in_order(images)
    position = {image.key: index for index, image in enumerate(order)}
    decoded = np.zeros(len(order), bool)
    rows: dict[str, Probabilities] = {}
    untrusted: list[str | None] = [None] * len(order)
    scores = np.full(len(order), np.nan)
    for batch in batches(predictor, images, reading, gate):
        positions = [position[image.key] for image in batch.images]
        decoded[positions] = True
        if batch.scores is not None:
            scores[positions] = batch.scores
        for index, reason in zip(positions, batch.untrusted or (), strict=False):
            untrusted[index] = reason
        for name, batch_rows in batch.rows.items():
            if name in without:
                continue
            if name not in rows:
                rows[name] = np.empty((len(order), batch_rows.shape[1]), np.float32)
            rows[name][positions] = batch_rows
    if not decoded.all():
        for name in rows:  # one after the other: at most one array is in memory twice
            rows[name] = rows[name][decoded]
        order, untrusted, scores = list(compress(order, decoded)), list(compress(untrusted, decoded)), scores[decoded]
    failed = len(images) - len(order)
    return Answered(order, rows, failed) if gate is None else Answered(order, rows, failed, untrusted, scores)


def features_of(predictor: Predictor, images: Sequence[LabelledImage], reading: Reading) -> Examples:
    """Predict some labelled images for the features of their networks alone, all of which are kept in memory.

    Args:
        predictor: Predictor of the release.
        images: Images to predict, in any order; ten thousand of them take about 130 MB.
        reading: Settings for reading images.

    Returns:
        The images that could be decoded, in order of product_id and image_no.
    """
    order = _in_order(images)
    position = {image.key: index for index, image in enumerate(order)}
    decoded = np.zeros(len(order), bool)
    features: dict[str, Features] = {}
    for in_batch, predictions, _ in _predicted(predictor, images, reading):
        positions = [position[image.key] for image in in_batch]
        decoded[positions] = True
        for name, values in predictions.features.items() if predictions else ():
            if name not in features:
                features[name] = np.empty((len(order), values.shape[1]), np.float32)
            features[name][positions] = values
    kept = list(compress(order, decoded))
    if not decoded.all():
        for name in features:  # one after the other: at most one array is in memory twice
            features[name] = features[name][decoded]
    return Examples(features, [image.product_id for image in kept], [image.image_sha256 for image in kept])


def _in_order(images: Sequence[LabelledImage]) -> list[LabelledImage]:
    return sorted(images, key=lambda image: (image.product_id, image.image_no))


def whole_products(
    predictor: Predictor,
    images: Sequence[LabelledImage],
    reading: Reading,
    *,
    row_bytes: int,
    gate: ImageGate | None = None,
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
        gate: Decides which images the release knows; None trusts all of them.

    Yields:
        The images of each part with their predictions.
    """
    by_product: dict[str, list[LabelledImage]] = defaultdict(list)
    for image in images:
        by_product[image.product_id].append(image)
    part: list[LabelledImage] = []
    for product_id in sorted(by_product):
        if part and (len(part) + len(by_product[product_id])) * row_bytes > HELD_BYTES:
            yield answered(predictor, part, reading, gate=gate)
            part = []
        part += by_product[product_id]
    if part:
        yield answered(predictor, part, reading, gate=gate)


def refuse_none(count: int, images: Sequence[LabelledImage]) -> None:
    """Raise RunFailed if none of the labelled images to predict could be decoded.

    Args:
        count: Number of decoded images.
        images: All images.
    """
    if not count:
        raise RunFailed(f"none of the {len(images)} labelled images could be decoded; ingest the catalog again")

"""Trial of bfloat16: compute some images of each shard in it, beside float32, and count where the answers differ."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from jobs.dataset.batches import ImageBatch
from jobs.errors import RunFailed
from jobs.predict.inference import Inference
from jobs.predict.rows import rows_of
from models.known.gate import ImageGate
from models.release import Release

log = logging.getLogger(__name__)

ENOUGH_IMAGES = 2000
"""Fewest images on which a release must pass."""

MOST = (0.001, 0.002, 0.001)
"""Largest shares of images whose first choice, whose status, and whose confidence (by more than `FAR`) differs."""

FAR = 0.02
"""Difference of the confidence of an image's first choice beyond which it counts."""

SHARE = 8
"""At most one in so many images of a large shard is compared, so that a run takes hardly longer."""

FEWEST = 100
"""Images that are compared of any shard, or all if it has fewer: they take seconds, and small nights become enough."""

_TOGETHER = 32


@dataclass(frozen=True)
class Compared:
    """How many images were computed in both precisions, and on how many of them they differ.

    Attributes:
        images: Images compared.
        first_choices: Of these, images whose category with the highest confidence differs.
        statuses: Of these, images whose status, after all gates, differs.
        confidences: Of these, images whose highest confidence differs by more than `FAR`.
    """

    images: int = 0
    first_choices: int = 0
    statuses: int = 0
    confidences: int = 0

    def __add__(self, other: Compared) -> Compared:
        return Compared(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))

    @property
    def decided(self) -> bool:
        """Whether enough images were compared."""
        return self.images >= ENOUGH_IMAGES

    @property
    def passed(self) -> bool:
        """Whether bfloat16 may replace float32."""
        counts = (self.first_choices, self.statuses, self.confidences)
        return self.decided and all(count <= most * self.images for count, most in zip(counts, MOST, strict=True))


class Trial:
    """Computes some images of each shard in bfloat16, too, and compares."""

    def __init__(self, inference: Inference, *, images: int) -> None:
        """Make a trial.

        Args:
            inference: The release in bfloat16.
            images: Most images of each shard that are compared.
        """
        self._inference, self._images = inference, images

    def wanted(self, images: int) -> int:
        """Return how many images of a shard are compared, by the number of its images."""
        return min(self._images, images, max(FEWEST, -(-images // SHARE)))

    def of_shard(self, images: int, release: Release, gate: ImageGate | None) -> ShardTrial:
        """Begin the trial of a shard.

        Args:
            images: Number of its images.
            release: Release whose categories and thresholds apply.
            gate: Decides which images the release knows.
        """
        return ShardTrial(self._inference, (self.wanted(images), images), release, gate)


class ShardTrial:
    """Compares images that are spread evenly over a shard: neighbours in a catalog are often of one category."""

    def __init__(self, inference: Inference, spread: tuple[int, int], release: Release, gate: ImageGate | None) -> None:
        """Begin with no image compared; `Trial.of_shard` calls this.

        Args:
            inference: The release in bfloat16.
            spread: Number of images to compare, and number of images of the shard.
            release: Release whose categories and thresholds apply.
            gate: Decides which images the release knows.
        """
        self._inference, self._spread, self._release, self._gate = inference, spread, release, gate
        self._seen, self._compared = 0, Compared()
        self._waiting = list[tuple[ImageBatch, list[Mapping[str, Any]]]]()

    def add(self, batch: ImageBatch, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take the next batch of the shard; compare what was chosen so far once it fills a batch of its own.

        Args:
            batch: Decoded images; those that are chosen are copied.
            rows: Their rows in float32, from `jobs.predict.rows.rows_of`.
        """
        wanted, images = self._spread
        positions = np.arange(self._seen, self._seen + len(batch))
        chosen = np.flatnonzero(positions * wanted % max(1, images) < wanted)
        self._seen += len(batch)
        if len(chosen):
            columns = {name: values[chosen] for name, values in batch.columns.items()}
            part = ImageBatch(batch.images[chosen], columns, batch.errors[chosen])
            self._waiting.append((part, [rows[number] for number in chosen.tolist()]))
        if sum(len(part) for part, _ in self._waiting) >= _TOGETHER:
            self._compare()

    def finish(self) -> Compared:
        """Compare what is left, and return the counts of the shard."""
        if self._waiting:
            self._compare()
        return self._compared

    def _compare(self) -> None:
        parts, rows = [part for part, _ in self._waiting], [row for _, each in self._waiting for row in each]
        self._waiting.clear()
        names = parts[0].columns
        batch = ImageBatch(
            np.concatenate([part.images for part in parts]),
            {name: np.concatenate([part.columns[name] for part in parts]) for name in names},
            np.concatenate([part.errors for part in parts]),
        )
        self._compared += self._counts(batch, rows)

    def _counts(self, batch: ImageBatch, rows: Sequence[Mapping[str, Any]]) -> Compared:
        try:
            answer = self._inference.answer(batch.images).judged(self._gate)
        except (RunFailed, RuntimeError) as error:  # float32 has answered, so the run goes on
            log.warning("bfloat16 cannot be compared: %s", error)
            count = len(batch)
            return Compared(count, count, count, count)
        others = rows_of(batch, answer, self._release)
        pairs = [
            (_answer_in(row), _answer_in(other))
            for row, other in zip(rows, others, strict=True)
            if row["reason"] is None
        ]
        return Compared(
            len(pairs),
            sum(one[0] != two[0] for one, two in pairs),
            sum(one[1] != two[1] for one, two in pairs),
            sum(abs(one[2] - two[2]) > FAR for one, two in pairs),
        )


def _answer_in(row: Mapping[str, Any]) -> tuple[str, str, float]:
    """Return first choice, status and confidence of a row; those of an image without an answer are like no others."""
    if row["reason"] is not None:
        return "", "", -1.0
    category_id, confidence = json.loads(row["top_k"])[0]
    return category_id, row["status"], float(confidence)

"""Configuration of an evaluation: which labelled products it measures, and how it reads their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

from jobs.dataset.label_map import LabelMap
from jobs.dataset.labels import LabelledImage, by_part, labelled_images
from jobs.errors import UsageError
from jobs.storage.places import Places


class Reading(Protocol):
    """Interface of a configuration with the settings for reading labelled images."""

    @property
    def places(self) -> Places:
        """Directories and stores of the home."""

    @property
    def batch_size(self) -> int:
        """Images per call of the networks."""

    @property
    def decode_workers(self) -> int:
        """Threads that decode images while the networks compute."""


@dataclass(frozen=True)
class EvaluateConfig:
    """Configuration of an evaluation: the products to measure on, and settings for reading their images.

    Attributes:
        places: Directories and stores of the home.
        first: First ingest date.
        last: Last ingest date, included.
        leave_out: Categories to exclude, with everything below them.
        part: `train`, `validation` or `test`; None means all products.
        part_reason: Reason for the part if it was selected by default; empty if the user gave it.
        known_only: Whether to exclude products whose category the release does not know; if False, they are refused.
        batch_size: Images per call of the networks.
        decode_workers: Threads that decode images while the networks compute.
        labels: The shop's label map; None applies the rule of `jobs.dataset.category_texts`.
        category_ids: Category_ids of the releases; a text that is one of them is this category.
    """

    places: Places
    first: date = date.min
    last: date = date.max
    leave_out: tuple[str, ...] = ()
    part: str | None = None
    part_reason: str = ""
    known_only: bool = False
    batch_size: int = 32
    decode_workers: int = 2
    labels: LabelMap | None = None
    category_ids: tuple[str, ...] = ()

    def selection(self) -> dict[str, Any]:
        """Return the selection of products as a JSON document; a date that was not given is None."""
        return {
            "part": self.part or "all",
            "part_reason": self.part_reason,
            "leave_out": list(self.leave_out),
            "first": self.first.isoformat() if self.first != date.min else None,
            "last": self.last.isoformat() if self.last != date.max else None,
            **({"labels": self.labels.name} if self.labels else {}),
        }

    def images_of_all_parts(self) -> list[LabelledImage]:
        """List the labelled images of all parts."""
        return labelled_images(
            self.places,
            first=self.first,
            last=self.last,
            leave_out=self.leave_out,
            labels=self.labels,
            category_ids=self.category_ids,
        )

    def images(self, every: Sequence[LabelledImage] | None = None) -> list[LabelledImage]:
        """List the labelled images to measure on.

        Args:
            every: Labelled images of all parts, if they have been read; None reads them.

        Raises:
            UsageError: If there is none; measure another part, or use `--part all`.
        """
        images = list(self.images_of_all_parts() if every is None else every)
        if self.part is not None:
            images = by_part(images, [self.part])[self.part]
        if not images:
            raise UsageError(f"no labelled product is in the part {self.part!r}; measure another part, or --part all")
        return images

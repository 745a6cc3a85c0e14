"""The labelled products of the dataset: what finetune learns from and evaluate measures against.

The label is the catalog's `category`, a leaf's category_id: what was said last of an image, be it when the image was
stored (`images/`) or since (`catalog_rows/`), so that a label is corrected in the catalog and its image stays as it is.
Of an image that was ingested several times the newest content counts. Which part a product belongs to follows from its
product_id alone, so that no image of a product is ever learned from while another one measures, today and with next
year's catalog.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jobs.config import Places, UsageError
from jobs.shard_copies import kept_copy
from jobs.shards import ingest_date_of, partition_dates, shards, sound, whole_table
from models.decision import ancestors

PARTS = ("train", "validation", "test")
_TENTHS = {0: "test", 1: "validation"}
_SAID = ["product_id", "image_no", "category", "seen_at_utc"]
_COLUMNS = [*_SAID, "image_sha256"]

Newest = dict[tuple[str, int], tuple[Any, Any]]
"""By product_id and image_no: when it was, as (ingest date, seen_at_utc), and what."""


@dataclass(frozen=True)
class LabelledImage:
    """An image whose product has a category in the catalog.

    Attributes:
        product_id: The product.
        image_no: Place of the image in it.
        image_sha256: Its content.
        category_id: The label.
        shard: The dataset file that holds it.
    """

    product_id: str
    image_no: int
    image_sha256: str
    category_id: str
    shard: Path

    @property
    def key(self) -> tuple[str, int, str]:
        """What a reader's row must have to be this image."""
        return self.product_id, self.image_no, self.image_sha256


def part_of(product_id: str) -> str:
    """Return a product's part by a hash of its id: a tenth is `test`, a tenth `validation`, the rest `train`."""
    digest = hashlib.sha256(product_id.encode()).digest()
    return _TENTHS.get(int.from_bytes(digest[:8], "big") % 10, "train")


def labelled_images(
    places: Places, *, first: date = date.min, last: date = date.max, part: str | None = None
) -> list[LabelledImage]:
    """List the labelled images of the dataset.

    Args:
        places: Where state lives.
        first: First ingest date.
        last: Last ingest date, included; labels are those known by then.
        part: One of `PARTS`; None is all.

    Returns:
        In order of product and image.

    Raises:
        UsageError: If there is no image, or none has a label, or a product has two; says which and what to do.
    """
    contents: Newest = {}
    said: Newest = {}
    count = 0
    for stored in shards(places.images, partition_dates(places.images, first, last)):
        day, shard = ingest_date_of(stored), kept_copy(stored, places)
        with sound(stored):
            columns = pq.read_table(shard, columns=_COLUMNS).to_pydict()
        for product_id, image_no, category, seen, content in zip(*(columns[name] for name in _COLUMNS), strict=True):
            count += 1
            _keep_newest(contents, (product_id, image_no), (day, seen), (content, shard))
            _keep_newest(said, (product_id, image_no), (day, seen), category)
    if not count:
        raise UsageError(
            f"no ingested images in {places.images}; run `shelfwise ingest` with the labelled catalog first"
        )
    _hear(said, places, first, last)
    images = [
        LabelledImage(*key, content, label, shard)
        for key, (_, (content, shard)) in contents.items()
        if (label := (said[key][1] or "").strip())
    ]
    if not images:
        raise UsageError(
            f"none of {count} ingested images has a category; fill the catalog's column `category`, or give a "
            "directory with a folder a category, and ingest it again"
        )
    _refuse_two_labels(images)
    kept = [image for image in images if part in (None, part_of(image.product_id))]
    return sorted(kept, key=lambda image: (image.product_id, image.image_no))


def check_labels(images: Iterable[LabelledImage], category_ids: Sequence[str], *, taxonomy: str) -> None:
    """Refuse labels that are no leaf of a taxonomy.

    Args:
        images: Labelled.
        category_ids: The taxonomy's leaves.
        taxonomy: What to call it, as in `release shop-1`.

    Raises:
        UsageError: With the label, how many images bear it, and what would be right.
    """
    leaves, counts = set(category_ids), Counter(image.category_id for image in images)
    parents = {node for category_id in category_ids for node in ancestors(category_id)}
    for label in sorted(set(counts) - leaves):
        if label in parents:
            below = ", ".join(sorted(leaf for leaf in leaves if leaf.startswith(f"{label}."))[:4])
            raise UsageError(
                f"{counts[label]} images are labelled {label!r}, which is not a leaf of {taxonomy}; label them "
                f"with one of the categories below it, such as {below}"
            )
        raise UsageError(
            f"{counts[label]} images are labelled {label!r}, which {taxonomy} does not know; expected one of its "
            f"{len(leaves)} categories, such as {', '.join(sorted(leaves)[:4])}"
        )


def data_sha256(images: Iterable[LabelledImage]) -> str:
    """Return the fingerprint of labelled images: of their keys and labels, in order."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(repr((*image.key, image.category_id)).encode())
    return digest.hexdigest()


def _hear(said: Newest, places: Places, first: date, last: date) -> None:
    """Put what the catalog has said of stored images since before what it said when they were stored."""

    def read(file: Any) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = pq.read_table(file, columns=_SAID).to_pydict()
        return columns

    for heard in shards(places.catalog_rows, partition_dates(places.catalog_rows, first, last)):
        day = ingest_date_of(heard)
        with sound(heard):
            columns = whole_table(heard, read)
        for product_id, image_no, category, seen in zip(*(columns[name] for name in _SAID), strict=True):
            _keep_newest(said, (product_id, image_no), (day, seen), category)


def _keep_newest(found: Newest, key: tuple[str, int], when: Any, what: Any) -> None:
    if key not in found or when > found[key][0]:
        found[key] = (when, what)


def _refuse_two_labels(images: Iterable[LabelledImage]) -> None:
    labels: dict[str, str] = {}
    for image in images:
        first = labels.setdefault(image.product_id, image.category_id)
        if first != image.category_id:
            raise UsageError(
                f"product {image.product_id!r} has two categories, {first!r} and {image.category_id!r}; give all its "
                "images the same one in the catalog"
            )

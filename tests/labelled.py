"""Write a labelled dataset of plain colours without Spark, and predict its colours without networks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from jobs.dataset.schema import CATALOG_ROWS, IMAGES, SEEN
from jobs.dataset.shards import ShardWriter
from jobs.evaluation.config import EvaluateConfig
from jobs.storage.places import Places
from models.release import Release
from models.spec import Category, Images, NetworkSpec, Predictions
from tests.dataset_rows import image_row

DAY = date(2026, 11, 1)
RED, GREEN, BLUE = "warm.red", "cold.green", "cold.blue"
LEAVES = (RED, GREEN, BLUE)
COLOURS = Release(
    "colours-1",
    "colours",
    (Category(RED, "Warm > Red"), Category(GREEN, "Cold > Green"), Category(BLUE, "Cold > Blue")),
    (NetworkSpec("efficientnetb0", 32, "w", "", 0.5), NetworkSpec("xception", 71, "x", "", 0.5)),
    temperature=1.0,
)

PRODUCTS: Sequence[tuple[str, str | None, list[int]]] = [
    ("p1", RED, [0]),
    ("p2", GREEN, [1]),
    ("p3", BLUE, [1]),  # answered green: wrong leaf, right parent
    ("p4", BLUE, [0]),  # answered red: wrong everywhere
    ("p5", RED, [0, 0, 2]),  # two images outvote the third
    ("p6", None, [2]),  # not labelled
]


def jpeg_of(channel: int, *, shade: int = 255) -> bytes:
    """Return a JPEG in plain red (0), green (1) or blue (2)."""
    pixels = np.zeros((24, 30, 3), np.uint8)
    pixels[..., 2 - channel] = shade  # OpenCV writes blue first
    return bytes(cv2.imencode(".jpg", pixels)[1].tobytes())


def write_labelled(
    places: Places,
    products: Iterable[tuple[str, str | None, list[int]]],
    *,
    day: date = DAY,
    version: int = 0,
    content: str = "",
    group_id: str | None = None,
    catalog_name: str = "shop",
) -> None:
    """Write products with images as one shard.

    Args:
        places: Directories of the dataset.
        products: Products as (product_id, category, colours of the images: 0 to 2, or -1 for a broken image).
        day: The ingest date.
        version: Number of the ingest that stored the images; part of their image_sha256.
        content: One image_sha256 for all images; empty gives each image its own.
        group_id: Group of all these products.
        catalog_name: Catalog that named the images.
    """
    writer = ShardWriter(places.partition(places.images, day), IMAGES, shard_bytes=10**9)
    for product_id, category, channels in products:
        for image_no, channel in enumerate(channels):
            row = image_row(
                product_id,
                image_no=image_no,
                category=category,
                image_sha256=content or f"{product_id}-{image_no}-{version}",
                ingest_no=version,
                group_id=group_id,
                catalog_name=catalog_name,
                jpeg=jpeg_of(channel) if channel >= 0 else b"no longer a picture",
            )
            writer.add(row)
    writer.flush()


def write_seen(places: Places, day: date, *rows: dict[str, Any]) -> None:
    """Write rows of `tests.dataset_rows.seen_row` as one file of an ingest date."""
    writer = ShardWriter(places.partition(places.seen, day), SEEN, shard_bytes=10**9)
    for row in rows:
        writer.add(row)
    writer.flush()


def relabel(
    places: Places,
    labels: dict[str, str | None],
    *,
    day: date = DAY,
    ingest_no: int = 12,
    image_no: int = 0,
    group_id: str | None = None,
) -> None:
    """Write catalog rows with new categories, as ingest does for unchanged images.

    Args:
        places: Directories of the dataset.
        labels: New category by product_id; None removes it.
        day: The ingest date.
        ingest_no: Number of the ingest.
        image_no: Number of the image of each product.
        group_id: Group of all these products.
    """
    writer = ShardWriter(places.partition(places.catalog_rows, day), CATALOG_ROWS, shard_bytes=10**9)
    for product_id, category in labels.items():
        row = image_row(product_id, image_no=image_no, category=category, ingest_no=ingest_no, group_id=group_id)
        writer.add(row)
    writer.flush()


class ColourPredictor:
    """Predictor that gives the brightest channel a confidence of 0.9; its second network mistakes green for blue.

    A channel's feature is 2.55 at its brightest; the second network has the channels in another order.
    """

    decode_px = 71

    def predict(self, images: Images) -> Predictions:
        """Classify each image by its mean colour."""
        brightness = images.mean(axis=(1, 2), dtype=np.float32) / 100
        channels = brightness.argmax(axis=1)
        first, second = self._sure(channels), self._sure(np.where(channels == 1, 2, channels))
        features = {"efficientnetb0": brightness, "xception": brightness[:, ::-1]}
        return Predictions(first, {"efficientnetb0": first, "xception": second}, features)

    def _sure(self, channels: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray:
        rows = np.full((len(channels), 3), 0.05, np.float32)
        rows[np.arange(len(channels)), channels] = 0.9
        return rows


def measuring(home: Path, products: Iterable[tuple[str, str | None, list[int]]] = PRODUCTS) -> EvaluateConfig:
    """Write products into a home, and return the configuration of an evaluation on them."""
    write_labelled(Places(home), products)
    return EvaluateConfig(Places(home), batch_size=4)

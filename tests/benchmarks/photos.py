"""Photographs to measure with: a directory of real ones, or smooth made-up ones of the same size."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np

from jobs.dataset.shards import shards
from jobs.storage.places import Places
from models.serving.environment import usable_cores
from models.spec import Category

DAY = date(2026, 1, 1)
CATEGORIES = tuple(Category(f"kind.{number}", f"Kind > {number}") for number in range(10))


def photographs(source: Path | None, scratch: Path, count: int) -> list[Path]:
    """Return so many JPEG paths: those under `source`, repeated if they are fewer, or made-up ones of 400 x 533 px."""
    found = sorted(source.rglob("*.jpg")) if source else []
    if not found:
        scratch.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(3)
        for number in range(min(count, 400)):
            coarse = random.integers(0, 256, (40, 30, 3), np.uint8)
            picture = cv2.resize(coarse, (400, 533), interpolation=cv2.INTER_CUBIC)
            found.append(scratch / f"made-up-{number:04d}.jpg")
            cv2.imwrite(str(found[-1]), picture)
    return list(islice(cycle(found), count))


def catalog_of(paths: list[Path], directory: Path) -> Path:
    """Link the photographs into a directory and write a catalog of them."""
    (directory / "images").mkdir(parents=True)
    lines = ["product_id,image_uri"]
    for number, path in enumerate(paths):
        target = directory / "images" / f"{number:06d}.jpg"
        target.symlink_to(path.absolute())
        lines.append(f"p{number:06d},images/{target.name}")
    (directory / "catalog.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return directory / "catalog.csv"


def shards_of(paths: list[Path], places: Places, *, day: date = DAY, shard_bytes: int = 64 << 20) -> list[Path]:
    """Ingest photographs without Spark and return the dataset files."""
    from jobs.ingest.config import IngestConfig  # here, because a GPU machine may lack what ingest needs
    from jobs.ingest.task import read_and_store

    rows: Iterator[dict[str, object]] = (
        {
            "product_id": f"{day}-{number:06d}",
            "image_no": 0,
            "image_uri": str(path.absolute()),
            "title": None,
            "category": None,
            "updated_at": None,
            "group_id": None,
            "known_sha256": None,
            "known_ingest_date": None,
            "to_read": True,
            "catalog_row_changed": False,
        }
        for number, path in enumerate(paths)
    )
    config = IngestConfig("", day, places, shard_bytes)
    read_and_store(rows, config, base=Path("/"))
    return [Path(str(shard)) for shard in shards(places.images, [day])]


def stamp() -> str:
    """Name the moment and the machine of a figure."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {usable_cores()} cores"

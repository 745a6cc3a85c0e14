"""Thumbnails that predict keeps of the images whose answers wait for a person, and where the stored images lie.

The shard's stored images are read once more, but only the row groups with such an image. A thumbnail that cannot be
made is missing, and a page makes it again of the stored image; nothing else depends on it. Where the stored image lies
is noted for every answer, because publish may hold back what predict would have published.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.dataset.schema import IMAGE_KEY, ImageKey, image_keys
from jobs.dataset.shards import ingest_date_of
from jobs.dataset.stored_images import cells, positions
from jobs.dataset.thumbnails import PictureAt, make_thumbnail, thumbnail_file, write_thumbnails
from jobs.predict.config import PredictConfig
from jobs.storage.places import Place

log = logging.getLogger(__name__)

_WAITING = ("review", "unknown")
_STORED = ("width_px", "height_px", "jpeg")


_Places = dict[ImageKey, tuple[int, int]]
"""Row group of the stored image, and row within it, by image."""


def keep_thumbnails(
    rows: Sequence[dict[str, Any]], shard: Place, path: Path, config: PredictConfig, *, reduced: bool = True
) -> tuple[int, float]:
    """Write the thumbnails of a shard's waiting answers, and note in all answers where their pictures lie.

    Args:
        rows: Rows of the prediction file; those with an answer get `picture_at`.
        shard: File of the dataset.
        path: The same file, or its copy, on this machine.
        config: Configuration with the run's directory and decoding threads.
        reduced: Whether the decoder may leave out what a thumbnail does not show. Without it, images are decoded as
            for the networks: what has decoded there ends no process here.

    Returns:
        Number of thumbnails, and the seconds that this took.

    Raises:
        StoreError: If a disk is full or a store cannot be written.
    """
    started = time.perf_counter()
    answered = {_key_of(row): row for row in rows if row["reason"] is None}
    if not answered:
        return 0, 0.0
    places: _Places = {}
    made: dict[ImageKey, bytes] = {}
    try:
        with pq.ParquetFile(path) as file:
            keys = image_keys(file.read(columns=list(IMAGE_KEY)).to_pydict())
            places.update((key, at) for at, key in zip(positions(file), keys, strict=True) if key in answered)
            waiting = {key: at for key, at in places.items() if answered[key]["status"] in _WAITING}
            made.update(_made(file, waiting, config.decode_workers, reduced=reduced))
    except (OSError, pa.ArrowException) as error:
        log.warning("%s keeps no further thumbnails, because its images cannot be read again (%s)", shard, error)
    # A page shows one category in order of confidence: what it shows together lies together.
    ordered = sorted(
        made, key=lambda key: (answered[key]["category_id"] or "", -(answered[key]["confidence"] or 0), key)
    )
    if ordered:
        kept = [_thumbnail_row(answered[key], made[key]) for key in ordered]
        write_thumbnails(thumbnail_file(config.places, config.run_id, ingest_date_of(shard), shard.name), kept)
    numbers = {key: number for number, key in enumerate(ordered)}
    for key, at in places.items():
        answered[key]["picture_at"] = str(PictureAt(shard.name, *at, numbers.get(key)))
    return len(ordered), time.perf_counter() - started


def _key_of(row: Mapping[str, Any]) -> ImageKey:
    return row["product_id"], row["image_no"], row["image_sha256"]


def _thumbnail_row(row: Mapping[str, Any], thumbnail: bytes) -> dict[str, Any]:
    return {**{name: row[name] for name in (*IMAGE_KEY, "descriptor")}, "thumbnail": thumbnail}


def _made(file: pq.ParquetFile, wanted: _Places, workers: int, *, reduced: bool) -> Iterator[tuple[ImageKey, bytes]]:
    """Yield the thumbnail of each wanted image that decodes, one row group after the other."""
    by_group: defaultdict[int, dict[ImageKey, int]] = defaultdict(dict)
    for key, (group, row) in wanted.items():
        by_group[group][key] = row
    with ThreadPoolExecutor(workers, "thumbnails") as pool:
        for group, rows in by_group.items():
            stored = cells(file, group, list(rows.values()), _STORED)
            sides = [max(width_px, height_px) if reduced else 0 for width_px, height_px, _ in stored]
            small = pool.map(
                lambda jpeg, side: make_thumbnail(jpeg, longest_px=side), [row[2] for row in stored], sides
            )
            for key, thumbnail in zip(rows, small, strict=True):
                if thumbnail is not None:
                    yield key, thumbnail

"""Thumbnails that predict keeps of the images whose answers wait for a person.

The shard's stored images are read once more, but only the row groups with such an image. A thumbnail that cannot be
made is missing, and a page makes it again of the stored image; nothing else depends on it.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Made:
    """A thumbnail, and row group and row of the stored image that it shows."""

    group: int
    row: int
    thumbnail: bytes


def keep_thumbnails(
    rows: Sequence[dict[str, Any]], shard: Place, path: Path, config: PredictConfig, *, reduced: bool = True
) -> float:
    """Write the thumbnails of a shard's waiting answers, and note in these rows where their pictures lie.

    Args:
        rows: Rows of the prediction file; those that wait and have a thumbnail get `picture_at`.
        shard: File of the dataset.
        path: The same file, or its copy, on this machine.
        config: Configuration with the run's directory and decoding threads.
        reduced: Whether the decoder may leave out what a thumbnail does not show. Without it, images are decoded as
            for the networks: what has decoded there ends no process here.

    Returns:
        Seconds that this took.

    Raises:
        StoreError: If a disk is full or a store cannot be written.
    """
    started = time.perf_counter()
    waiting = {_key_of(row): row for row in rows if row["reason"] is None and row["status"] in _WAITING}
    if not waiting:
        return 0.0
    made: dict[ImageKey, _Made] = {}
    try:
        made.update(_made(path, waiting.keys(), config.decode_workers, reduced=reduced))
    except (OSError, pa.ArrowException) as error:
        log.warning("%s keeps no further thumbnails, because its images cannot be read again (%s)", shard, error)
    # A page shows one category in order of confidence: what it shows together lies together.
    ordered = sorted(made, key=lambda key: (waiting[key]["category_id"] or "", -(waiting[key]["confidence"] or 0), key))
    if ordered:
        kept = [_thumbnail_row(waiting[key], made[key]) for key in ordered]
        write_thumbnails(thumbnail_file(config.places, config.run_id, ingest_date_of(shard), shard.name), kept)
    for place, key in enumerate(ordered):
        waiting[key]["picture_at"] = str(PictureAt(shard.name, made[key].group, made[key].row, place))
    return time.perf_counter() - started


def _key_of(row: Mapping[str, Any]) -> ImageKey:
    return row["product_id"], row["image_no"], row["image_sha256"]


def _thumbnail_row(row: Mapping[str, Any], made: _Made) -> dict[str, Any]:
    return {**{name: row[name] for name in (*IMAGE_KEY, "descriptor")}, "thumbnail": made.thumbnail}


def _made(path: Path, wanted: Set[ImageKey], workers: int, *, reduced: bool) -> Iterator[tuple[ImageKey, _Made]]:
    """Yield the thumbnail of each wanted image that decodes, one row group after the other."""
    with pq.ParquetFile(path) as file, ThreadPoolExecutor(workers, "thumbnails") as pool:
        by_group: defaultdict[int, dict[ImageKey, int]] = defaultdict(dict)
        keys = image_keys(file.read(columns=list(IMAGE_KEY)).to_pydict())
        for (group, row), key in zip(positions(file), keys, strict=True):
            if key in wanted:
                by_group[group][key] = row
        for group, rows in by_group.items():
            stored = cells(file, group, list(rows.values()), _STORED)
            sides = [max(width_px, height_px) if reduced else 0 for width_px, height_px, _ in stored]
            small = pool.map(
                lambda jpeg, side: make_thumbnail(jpeg, longest_px=side), [row[2] for row in stored], sides
            )
            for (key, row), thumbnail in zip(rows.items(), small, strict=True):
                if thumbnail is not None:
                    yield key, _Made(group, row, thumbnail)

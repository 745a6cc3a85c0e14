"""Thumbnails of images whose answers wait for a person: made, written, and found by the column `picture_at`.

Predict writes one file of thumbnails for a shard, under thumbnails/run_id=R/ingest_date=YYYY-MM-DD/ and by the shard's
name. `picture_at` of a prediction has the name of the shard, where the stored image lies in it, and, if there is one,
where the thumbnail lies in the file of thumbnails. It has no directory: these follow from the run and the date of the
prediction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from jobs.dataset.schema import THUMBNAILS
from jobs.dataset.shards import ROW_GROUP_ROWS, whole_file
from jobs.storage.places import Place, Places

LONGEST_PX = 160
"""Longer side of a thumbnail, in pixels; a smaller image is not enlarged."""

ROWS = ROW_GROUP_ROWS
"""Rows of each row group of a file of thumbnails but the last."""

_QUALITY = 80
_REDUCED = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))
_NUMBER = "(0|[1-9][0-9]{0,8})"
_PICTURE_AT = re.compile(rf"(part-[0-9A-Za-z_.-]{{1,200}}\.parquet)#{_NUMBER}#{_NUMBER}(?:#{_NUMBER})?")


@dataclass(frozen=True)
class PictureAt:
    """Value of the column `picture_at`, written as `SHARD#GROUP#ROW` or `SHARD#GROUP#ROW#THUMBNAIL_ROW`, from 0.

    Attributes:
        shard: File name of the shard, without a directory.
        group: Row group of the stored image in the shard.
        row: Row of the stored image within its row group.
        thumbnail_row: Row of the thumbnail in the file of thumbnails; None if no thumbnail was kept.
    """

    shard: str
    group: int
    row: int
    thumbnail_row: int | None = None

    def __str__(self) -> str:
        """Return the text of the column."""
        large = f"{self.shard}#{self.group}#{self.row}"
        return large if self.thumbnail_row is None else f"{large}#{self.thumbnail_row}"

    @property
    def thumbnail_place(self) -> tuple[int, int] | None:
        """Row group of the thumbnail in its file, and row within it; None if no thumbnail was kept."""
        return None if self.thumbnail_row is None else divmod(self.thumbnail_row, ROWS)


def parse_picture_at(text: str) -> PictureAt:
    """Read a value of the column `picture_at`.

    Raises:
        ValueError: If it is not the name of a shard and two or three numbers, as predict writes it.
    """
    match = _PICTURE_AT.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text[:100]!r} does not say where a picture lies: expected part-NAME.parquet#GROUP#ROW, with or without "
            "#THUMBNAIL_ROW, as predict writes it"
        )
    return PictureAt(match[1], int(match[2]), int(match[3]), None if match[4] is None else int(match[4]))


def thumbnail_file(places: Places, run_id: str, ingest_date: date, shard_name: str) -> Place:
    """Return the path of the thumbnails that a run keeps of a shard."""
    return places.partition(places.thumbnails(run_id), ingest_date) / shard_name


def make_thumbnail(jpeg: bytes, *, longest_px: int = 0) -> bytes | None:
    """Make the thumbnail of a stored image.

    Args:
        jpeg: JPEG bytes of the dataset.
        longest_px: Longer side of the image in pixels, by which the decoder may leave out what a thumbnail does not
            show; 0 decodes all of it.

    Returns:
        JPEG bytes; None if the image does not decode.
    """
    flag = next((flag for factor, flag in _REDUCED if longest_px >= factor * LONGEST_PX), cv2.IMREAD_COLOR)
    try:
        pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), flag) if jpeg else None
        if pixels is None:
            return None
        scale = LONGEST_PX / max(pixels.shape[:2])
        if scale < 1:
            size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes())
    except cv2.error:  # the header declares more pixels than OpenCV accepts
        return None


def decodes(jpeg: bytes) -> bool:
    """Return whether the bytes of a file are an image that can be shown."""
    try:
        return bool(jpeg) and cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_REDUCED_COLOR_8) is not None
    except cv2.error:
        return False


def write_thumbnails(target: Place, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a file of thumbnails, which appears whole.

    Args:
        target: Path of `thumbnail_file`.
        rows: Rows of `jobs.dataset.schema.THUMBNAILS`, in the order to which `PictureAt.thumbnail_row` refers.

    Raises:
        StoreError: If a disk is full or a store cannot be written.
    """
    plain = {field.name: "none" if pa.types.is_binary(field.type) else "zstd" for field in THUMBNAILS}
    keys = [name for name, codec in plain.items() if codec != "none"]
    # Least and largest thumbnails in the footer would be most of it, and a reader fetches the footer first.
    with whole_file(target, THUMBNAILS, compression=plain, statistics=keys) as writer:
        for start in range(0, len(rows), ROWS):
            writer.write_table(pa.Table.from_pylist(list(rows[start : start + ROWS]), schema=THUMBNAILS))

"""Batches of decoded images with their key columns, and the conversion of a shard's rows to a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.dataset.schema import KEY_COLUMNS, KEY_NULLABLE
from models.networks.inputs import decode_square
from models.spec import Images


@dataclass(frozen=True)
class ImageBatch:
    """A batch of decoded images of a shard, with their key columns.

    Attributes:
        images: uint8 (batch, side_px, side_px, 3), RGB, 0-255; black where `errors` has a text.
        columns: Values of `KEY_COLUMNS`, each as long as the batch; a missing optional text is an empty string.
        errors: One text per image: why it could not be decoded, or an empty string.
    """

    images: Images
    columns: dict[str, NDArray[Any]]
    errors: NDArray[Any]

    def __len__(self) -> int:
        return len(self.errors)


def decode_frame(frame: Any, images: Images) -> None:
    """Decode the JPEGs of a batch's data frame; `error` replaces `jpeg`, and what does not decode becomes black.

    Args:
        frame: pandas DataFrame of a shard's rows with `KEY_COLUMNS`; an optional text that is null, or that the shard
            lacks, becomes an empty string.
        images: Receives the squares, uint8 (rows, side_px, side_px, 3), RGB, 0-255; what does not decode is black.
    """
    jpegs, errors, side_px = frame.pop("jpeg"), [], images.shape[1]
    for square, jpeg in zip(images, jpegs, strict=True):
        try:
            decode_square(jpeg, side_px, out=square)
            errors.append("")
        except (ValueError, cv2.error) as error:
            square[:] = 0
            errors.append(str(error)[:300])
    _fill(frame)
    frame["error"] = errors


def key_columns_of(file: pq.ParquetFile, group: int) -> dict[str, NDArray[Any]]:
    """Read only the key columns of a batch's row group, as arrays, and no image."""
    frame = file.read_row_group(group, columns=list(KEY_COLUMNS)).to_pandas()
    _fill(frame)
    return {name: frame[name].to_numpy() for name in KEY_COLUMNS}


def batch_of(file: pq.ParquetFile, group: int, rows: Sequence[int], side_px: int) -> ImageBatch:
    """Read a few rows of a shard as a batch of decoded images, in the calling thread.

    Args:
        file: Open shard.
        group: Number of the row group, from 0.
        rows: Row numbers within the row group, from 0.
        side_px: Side of the square images, in pixels.
    """
    frame = file.read_row_group(group, columns=[*KEY_COLUMNS, "jpeg"]).take(list(rows)).to_pandas()
    images = np.empty((len(frame), side_px, side_px, 3), np.uint8)
    decode_frame(frame, images)
    return ImageBatch(images, {name: frame[name].to_numpy() for name in KEY_COLUMNS}, frame["error"].to_numpy())


def _fill(frame: Any) -> None:
    for name in KEY_NULLABLE:  # Petastorm would turn a null into the text "None"
        frame[name] = frame[name].fillna("") if name in frame else ""

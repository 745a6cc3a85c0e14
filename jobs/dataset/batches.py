"""Batches of decoded images with the columns that name them, and how the rows of a shard become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.dataset.schema import KEY_COLUMNS
from models.networks.inputs import decode_square
from models.spec import Images

OPTIONAL_COLUMNS = ("title", "category", "updated_at")


@dataclass(frozen=True)
class ImageBatch:
    """Some images of a shard, decoded.

    Attributes:
        images: uint8 (batch, side_px, side_px, 3), RGB, 0-255; black where `errors` has a text.
        columns: The values of `KEY_COLUMNS`, each as long as the batch; an optional text that is missing is empty.
        errors: Why an image could not be decoded, or an empty string.
    """

    images: Images
    columns: dict[str, NDArray[Any]]
    errors: NDArray[Any]

    def __len__(self) -> int:
        return len(self.errors)


def decode_frame(frame: Any, side_px: int) -> None:
    """Put `image` and `error` in place of a data frame's `jpeg`; what does not decode is black.

    Args:
        frame: Rows of a shard, with `KEY_COLUMNS`; an optional text that is missing becomes empty.
        side_px: Side of the squares, in pixels.
    """
    images, errors = [], []
    for jpeg in frame.pop("jpeg"):
        try:
            images.append(decode_square(jpeg, side_px))
            errors.append("")
        except (ValueError, cv2.error) as error:
            images.append(np.zeros((side_px, side_px, 3), np.uint8))
            errors.append(str(error)[:300])
    _fill(frame)
    frame["image"], frame["error"] = images, errors


def names_of(file: pq.ParquetFile, group: int) -> dict[str, NDArray[Any]]:
    """Return the `KEY_COLUMNS` of a shard's row group; no image is read."""
    frame = file.read_row_group(group, columns=list(KEY_COLUMNS)).to_pandas()
    _fill(frame)
    return {name: frame[name].to_numpy() for name in KEY_COLUMNS}


def batch_of(file: pq.ParquetFile, group: int, rows: Sequence[int], side_px: int) -> ImageBatch:
    """Read and decode a few rows of a shard in this very thread.

    Args:
        file: The shard.
        group: Number of the row group.
        rows: Places within it, from 0.
        side_px: Side of the squares, in pixels.
    """
    frame = file.read_row_group(group, columns=[*KEY_COLUMNS, "jpeg"]).take(list(rows)).to_pandas()
    decode_frame(frame, side_px)
    columns = {name: frame[name].to_numpy() for name in KEY_COLUMNS}
    return ImageBatch(np.stack(frame["image"].to_list()), columns, frame["error"].to_numpy())


def _fill(frame: Any) -> None:
    for name in OPTIONAL_COLUMNS:  # Petastorm would turn a null into the text "None"
        frame[name] = frame[name].fillna("")

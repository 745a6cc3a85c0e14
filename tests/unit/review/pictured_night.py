"""A night of coloured images with thumbnails, for the tests of the pages' pictures."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.dataset.shards import shards
from jobs.dataset.thumbnails import thumbnail_file
from jobs.predict.config import PredictConfig
from jobs.predict.job import predict_shard, prediction_file
from jobs.storage.places import Places
from sql.review.records import Pictured
from tests.unit.predict.test_predict_loop import DAY, RELEASE, ColourPredictor, write_images

RUN_ID = "night"
SURE = replace(RELEASE, thresholds=dict.fromkeys(("colour.red", "colour.green", "colour.blue"), 0.95))
"""No image is published by itself."""


def night(places: Places, count: int = 150) -> list[Pictured]:
    """Predict a shard of colours, red, green and blue in turn; return its pictures in order of their products."""
    shard = write_images(places, count)
    config = PredictConfig(RUN_ID, (DAY,), places, Path("release"), batch_size=32)
    predict_shard(shard, ColourPredictor(), SURE, config)
    rows = pq.read_table(prediction_file(config, shard)).to_pylist()
    return [
        Pictured(row["product_id"], row["image_no"], row["image_sha256"], DAY, RUN_ID, row["picture_at"])
        for row in rows
    ]


def shard_of(places: Places) -> Path:
    """Return the only file of images of the night."""
    [shard] = shards(places.images, [DAY])
    return Path(str(shard))


def kept_of(places: Places) -> Path:
    """Return its file of thumbnails."""
    return Path(str(thumbnail_file(places, RUN_ID, DAY, shard_of(places).name)))


def key(picture: Pictured) -> tuple[str, str]:
    """Return what a picture is found by."""
    return picture.product_id, picture.image_sha256


def colour(content: bytes | None) -> int:
    """Return which channel of an image is brightest: 0 red, 1 green, 2 blue."""
    assert content is not None
    pixels = np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))
    return 2 - int(pixels.mean(axis=(0, 1)).argmax())


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings in the log."""
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]

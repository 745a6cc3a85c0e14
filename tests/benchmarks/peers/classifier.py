"""What the peers share: decode a photograph, classify a batch by Keras on TensorFlow, write rows into SQLite."""

from __future__ import annotations

import io
import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # off by default on AMD, where it doubles the speed
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE_PX = 224
CATEGORIES = 10
BATCH = 32
NIGHT = "CREATE TABLE product_categories (product_id TEXT PRIMARY KEY, category INTEGER NOT NULL, confidence REAL)"


def photographs(listing: str) -> dict[str, str]:
    """Read the list of photographs: maps product_id to the path."""
    lines = Path(listing).read_text(encoding="utf-8").splitlines()
    return {product_id: path for product_id, _, path in (line.partition(",") for line in lines[1:])}


def decode(jpeg: bytes) -> NDArray[np.uint8]:
    """Decode a photograph to uint8 (SIDE_PX, SIDE_PX, 3), RGB."""
    with Image.open(io.BytesIO(jpeg)) as image:
        image.draft("RGB", (SIDE_PX, SIDE_PX))
        return np.asarray(image.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR))


class Classifier:
    """EfficientNetB0 with a new head, as one compiled function."""

    def __init__(self) -> None:
        """Build the network, whose weights are random: their values do not change the time."""
        import keras
        import tensorflow as tf

        keras.utils.set_random_seed(11)
        base = keras.applications.EfficientNetB0(
            include_top=False, weights=None, input_shape=(SIDE_PX, SIDE_PX, 3), pooling="avg"
        )
        network = keras.Sequential([base, keras.layers.Dense(CATEGORIES, activation="softmax")])
        network.build((None, SIDE_PX, SIDE_PX, 3))
        self._compiled = tf.function(lambda images: network(images, training=False), reduce_retracing=True)

    def __call__(self, images: NDArray[Any]) -> tuple[list[int], list[float]]:
        """Classify uint8 (batch, SIDE_PX, SIDE_PX, 3); return the category of each image and its probability."""
        import tensorflow as tf

        scores = self._compiled(tf.cast(images, tf.float32)).numpy()
        return scores.argmax(axis=1).tolist(), scores.max(axis=1).tolist()


def write(database: str, rows: Iterable[tuple[str, int, float]]) -> None:
    """Write the rows of a night into a new SQLite database, in one transaction."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(NIGHT)
        connection.executemany("INSERT INTO product_categories VALUES (?, ?, ?)", rows)

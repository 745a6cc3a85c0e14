"""Export the labelled products as decoded arrays, to train on a machine without Spark and without this dataset.

    shelfwise export-arrays --output shop.npz --side-px 299

Reads images/ingest_date=*/ and their labels. Writes one .npz file for `models.train_arrays`, and beside it a CSV file
with the classes in the order of a network's outputs, for `shelfwise release import`.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.errors import RunFailed, UsageError
from jobs.training.batches import DatasetBatches
from jobs.training.selection import Selection, training_set
from models.spec import Images
from models.training.recipe import Batch
from models.whole_files import in_place_of


@dataclass(frozen=True)
class ArraysConfig:
    """Configuration of an export of labelled products as arrays.

    Attributes:
        selection: Labelled products to export.
        output: Path of the .npz file; the file of classes is written to the same directory.
        side_px: Side of the square images, in pixels.
        batch_size: Images per batch.
        decode_workers: Number of decoding threads.
    """

    selection: Selection
    output: Path
    side_px: int
    batch_size: int = 32
    decode_workers: int = 2


def run(config: ArraysConfig) -> dict[str, Any]:
    """Export the parts `train` and `validation` as arrays, split as in finetune; `test` is not exported.

    Returns:
        Paths of the files, the taxonomy version, who gave the labels, and the numbers of categories and images.

    Raises:
        UsageError: If the labelled products cannot be used; then nothing is written.
        RunFailed: If the files cannot be written; then no file remains. Free some space.
    """
    if config.output.suffix != ".npz":
        raise UsageError(f"--output {config.output} does not end in .npz; name a file for numpy's arrays")
    learned_from = training_set(config.selection)
    sides, ids = learned_from.sides, learned_from.category_ids
    at_once, places = (config.batch_size, config.decode_workers), config.selection.places
    data = DatasetBatches(sides["train"], sides["validation"], ids, config.side_px, *at_once, places=places)
    classes = config.output.with_suffix(".classes.csv")
    try:
        config.output.parent.mkdir(parents=True, exist_ok=True)
        # The .npz file appears last, so that its classes exist as soon as it does.
        with (
            tempfile.TemporaryDirectory(dir=config.output.parent, prefix=".") as name,
            in_place_of(config.output) as arrays,
            in_place_of(classes) as listed,
        ):
            scratch = Path(name)
            learned = _decoded(scratch / "train", data.plain(), config.side_px)
            held_out = _decoded(scratch / "held-out", data.held_out(), config.side_px)
            with arrays.open("wb") as file:
                np.savez(
                    file,
                    squares=learned[0],
                    labels=learned[1],
                    held_out_squares=held_out[0],
                    held_out_labels=held_out[1],
                    category_ids=np.array(ids),
                    taxonomy_version=np.array(learned_from.taxonomy_version),
                    data_sha256=np.array(learned_from.data_sha256),
                )
            with listed.open("w", newline="", encoding="utf-8") as text:
                csv.writer(text).writerows([each.category_id, each.category_path] for each in learned_from.categories)
    except OSError as error:
        raise RunFailed(f"{config.output} cannot be written ({error.strerror or error}); free some space") from error
    return {
        "arrays": str(config.output),
        "classes": str(classes),
        "taxonomy_version": learned_from.taxonomy_version,
        **learned_from.labels_told(),
        "categories": len(ids),
        "images": len(learned[1]),
        "held_out_images": len(held_out[1]),
    }


def _decoded(path: Path, batches: Iterator[Batch], side_px: int) -> tuple[Images, NDArray[np.int64]]:
    """Decode images into a file, because a catalog may not fit in memory; images that do not decode are skipped.

    The file is first written and then memory-mapped: on a full disk, a failed write raises OSError, but a failed write
    through a memory map would kill the process.

    Returns:
        Memory-mapped images, uint8 (images, side_px, side_px, 3), RGB, 0-255, and labels, int64 (images,).
    """
    labels: list[NDArray[np.int64]] = []
    with path.open("wb") as file:
        for images, batch_labels in batches:
            file.write(np.ascontiguousarray(images, np.uint8).data)
            labels.append(np.asarray(batch_labels, np.int64))
    if not any(map(len, labels)):
        raise RunFailed("none of the labelled images could be decoded; ingest the catalog again")
    every = np.concatenate(labels)
    return np.memmap(path, np.uint8, "r", shape=(len(every), side_px, side_px, 3)), every

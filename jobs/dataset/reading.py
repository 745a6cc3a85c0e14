"""Readers of decoded images from dataset files, through Petastorm: its threads decode while the caller computes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence, Set
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.dataset.batches import ImageBatch, decode_frame
from jobs.dataset.petastorm_adapter import ReaderClock, open_reader, transform_of
from jobs.dataset.schema import KEY_COLUMNS
from jobs.dataset.shards import check_columns, sound
from jobs.storage.places import Place
from models.networks.inputs import decode_square
from models.spec import Images

_LABEL_KEYS = ("product_id", "image_no", "image_sha256")
_NONE_WANTED = "none of the row group is wanted"
"""Error of the placeholder row for a row group without wanted rows: Petastorm cannot return an empty row group."""


def read_shard(
    shard: Path,
    *,
    side_px: int,
    batch_size: int,
    workers: int,
    clock: ReaderClock | None = None,
    wanted: Set[tuple[str, int, str]] | None = None,
    original: Place | None = None,
) -> Generator[ImageBatch, None, None]:
    """Read a shard in batches of images, decoded by a reader's worker threads.

    Args:
        shard: Local Parquet file with the columns of `jobs.dataset.schema.IMAGES`.
        side_px: Side of the square images, in pixels.
        batch_size: Images per batch; row groups are split or joined to this size, only the last batches may be smaller.
        workers: Number of decoding threads.
        clock: Counts the seconds spent reading and decoding.
        wanted: (product_id, image_no, image_sha256) of the images to decode and yield; None yields all.
        original: File that the shard is a copy of, for error messages.

    Yields:
        Batches in no particular order.

    Raises:
        RunFailed: If the file is damaged, or was written by another version; the message names the remedy.
    """
    timer = clock or ReaderClock()
    held: list[ImageBatch] = []
    transform, named = _decoding(side_px, timer, wanted), original or shard
    with sound(named), closing(_row_groups(shard, transform, workers, timer, named)) as groups:
        for group in groups:
            if wanted is not None and group.error[0] == _NONE_WANTED:
                continue
            columns = {name: getattr(group, name) for name in KEY_COLUMNS}
            held.append(ImageBatch(group.image, columns, group.error))
            if sum(map(len, held)) < batch_size:
                continue
            joined = _joined(held)
            whole = len(joined) if batch_size <= len(group.error) else len(joined) - len(joined) % batch_size
            yield from (_part(joined, start, start + batch_size) for start in range(0, whole, batch_size))
            held = [_part(joined, whole, len(joined))] if whole < len(joined) else []
        if held:
            yield _joined(held)


def _row_groups(
    shard: Path, transform: Any, workers: int, clock: ReaderClock, named: Place
) -> Generator[Any, None, None]:
    check_columns(named, pq.read_schema(shard).names)
    reader = open_reader([shard], transform, workers, clock=clock)
    try:
        yield from reader
    finally:  # Petastorm's own context manager prints to stdout on exit
        reader.stop()
        reader.join()


def _part(batch: ImageBatch, start: int, end: int) -> ImageBatch:
    columns = {name: values[start:end] for name, values in batch.columns.items()}
    return ImageBatch(batch.images[start:end], columns, batch.errors[start:end])


def _joined(parts: Sequence[ImageBatch]) -> ImageBatch:
    if len(parts) == 1:
        return parts[0]
    return ImageBatch(
        images=np.concatenate([part.images for part in parts]),
        columns={name: np.concatenate([part.columns[name] for part in parts]) for name in KEY_COLUMNS},
        errors=np.concatenate([part.errors for part in parts]),
    )


def _decoding(side_px: int, clock: ReaderClock, wanted: Set[tuple[str, int, str]] | None = None) -> Any:
    """Return the transform that replaces the column `jpeg` by `image` and `error`, in the worker's thread."""
    cv2.setNumThreads(1)

    def decode(frame: Any) -> Any:
        started = time.perf_counter()
        if wanted is not None:
            keys = zip(frame["product_id"], frame["image_no"], frame["image_sha256"], strict=True)
            chosen = [key in wanted for key in keys]
            if not any(chosen):
                black = [np.zeros((side_px, side_px, 3), np.uint8)]
                return frame[:1].drop(columns="jpeg").fillna("").assign(image=black, error=_NONE_WANTED)
            frame = frame[chosen].copy()
        decode_frame(frame, side_px)
        clock.decode(time.perf_counter() - started)
        return frame

    return transform_of(
        decode,
        adds=[("image", np.uint8, (side_px, side_px, 3), False), ("error", np.str_, (), False)],
        drops=["jpeg"],
    )


def read_labelled(
    files: Mapping[Path, Place],
    labels: Mapping[tuple[str, int, str], int],
    *,
    side_px: int,
    workers: int,
    change: Callable[[tuple[str, int, str], Images], Images] | None = None,
    shuffle_seed: int | None = None,
) -> Generator[tuple[Images, NDArray[np.int64]], None, None]:
    """Read the labelled images of some dataset files, decoded and augmented by a reader's worker threads.

    Args:
        files: Maps each local Parquet file with the columns of `jobs.dataset.schema.IMAGES` to the file that it is a
            copy of, for error messages.
        labels: Maps (product_id, image_no, image_sha256) of the images to read to the index of their category.
        side_px: Side of the square images, in pixels.
        workers: Number of decoding threads.
        change: Augments one image; receives its key and uint8 (side_px, side_px, 3), and returns the same shape.
        shuffle_seed: Seed of the order of files and row groups; None does not shuffle them.

    Yields:
        Per row group, images uint8 (count, side_px, side_px, 3), RGB, 0-255, and labels int64 (count,). Images that do
        not decode are skipped. An image that two files contain is yielded once; that happens when an image changed and
        later changed back.

    Raises:
        RunFailed: If a file is damaged; the message names the file and the remedy.
    """
    order = list(files)
    if shuffle_seed is not None:
        np.random.default_rng(shuffle_seed).shuffle(order)  # type: ignore[arg-type]
    columns = [*_LABEL_KEYS, "jpeg"]
    transform = _labelling(labels, side_px, change)
    try:
        reader = open_reader(order, transform, workers, columns=columns, shuffle_seed=shuffle_seed)
        try:
            for group in reader:
                labelled = group.label >= 0
                if labelled.any():
                    yield group.image[labelled], group.label[labelled]
        finally:
            reader.stop()
            reader.join()
    except MemoryError:  # pyarrow's own MemoryError is also an ArrowException
        raise
    except (pa.ArrowException, OSError):
        _name_the_damaged(files, columns)
        raise


def _name_the_damaged(files: Mapping[Path, Place], columns: Sequence[str]) -> None:
    """Read the files again, one by one, to raise an error that names the damaged one: Petastorm's error does not."""
    for path, original in files.items():
        with sound(original), pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                file.read_row_group(group, columns=list(columns))


def _labelling(labels: Mapping[tuple[str, int, str], int], side_px: int, change: Any) -> Any:
    """Return the transform that decodes only labelled rows; a group without any returns one black image, label -1."""
    cv2.setNumThreads(1)
    yielded: set[tuple[str, int, str]] = set()
    lock = threading.Lock()

    def first(key: tuple[str, int, str]) -> bool:
        with lock:
            new = key not in yielded
            yielded.add(key)
            return new

    def decode(frame: Any) -> Any:
        keys = zip(*(frame[name] for name in _LABEL_KEYS), strict=True)
        squares, indices = [], []
        for key, jpeg in zip([(str(p), int(n), str(s)) for p, n, s in keys], frame["jpeg"], strict=True):
            label = labels.get(key)
            if label is None or not first(key):
                continue
            try:
                square = decode_square(jpeg, side_px)
            except (ValueError, cv2.error):
                continue
            squares.append(change(key, square) if change else square)
            indices.append(label)
        if not indices:
            squares, indices = [np.zeros((side_px, side_px, 3), np.uint8)], [-1]
        kept = frame.iloc[: len(indices)].drop(columns=[*_LABEL_KEYS, "jpeg"])
        kept["image"], kept["label"] = squares, indices
        return kept

    fields = [("image", np.uint8, (side_px, side_px, 3), False), ("label", np.int64, (), False)]
    return transform_of(decode, adds=fields, drops=[*_LABEL_KEYS, "jpeg"])

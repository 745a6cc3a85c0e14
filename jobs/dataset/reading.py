"""Readers of decoded images from dataset files, through Petastorm: its threads decode while the caller computes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.dataset.batches import ImageBatch, decode_frame
from jobs.dataset.buffers import Buffers
from jobs.dataset.petastorm_adapter import Blocks, ReaderClock, open_reader, transform_of
from jobs.dataset.schema import IMAGE_KEY, KEY_COLUMNS, KEY_NULLABLE, ImageKey, image_keys
from jobs.dataset.shards import check_columns, read_errors_explained
from jobs.storage.places import Place
from models.networks.inputs import decode_square
from models.spec import Images


def read_shard(
    shard: Path,
    *,
    side_px: int,
    batch_size: int,
    workers: int,
    clock: ReaderClock | None = None,
    wanted: Set[ImageKey] | None = None,
    original: Place | None = None,
) -> Generator[ImageBatch, None, None]:
    """Read a shard in batches of images, decoded by a reader's worker threads.

    Args:
        shard: Local Parquet file with the columns of `jobs.dataset.schema.IMAGES`.
        side_px: Side of the square images, in pixels.
        batch_size: Images per batch; only the last batch may be smaller.
        workers: Number of decoding threads.
        clock: Counts the seconds spent reading and decoding.
        wanted: Keys of the images to decode and yield; None yields all.
        original: File that the shard is a copy of, for error messages.

    Yields:
        Batches in no particular order.

    Raises:
        RunFailed: If the file is damaged, or was written by another version; the message names the remedy.
    """
    groups = read_groups(shard, side_px=side_px, workers=workers, clock=clock, wanted=wanted, original=original)
    with closing(groups):
        yield from in_batches(groups, batch_size)


def read_groups(
    shard: Path,
    *,
    side_px: int,
    workers: int,
    clock: ReaderClock | None = None,
    wanted: Set[ImageKey] | None = None,
    original: Place | None = None,
    part: tuple[int, int] = (0, 1),
    buffers: Buffers | None = None,
) -> Generator[ImageBatch, None, None]:
    """Read the row groups of one dataset file, decoded by worker threads.

    Args:
        shard: Local Parquet file with the columns of `jobs.dataset.schema.IMAGES`.
        side_px: Side of the square images, in pixels.
        workers: Number of decoding threads.
        clock: Counts the seconds spent reading and decoding.
        wanted: Keys of the images to decode and yield; None yields all.
        original: File that the shard is a copy of, for error messages.
        part: Which of how many equal parts of the row groups to read: (1, 4) is the second of four.
        buffers: Memory for the images; None takes memory of its own.

    Yields:
        One batch for each row group with wanted images, in no particular order.

    Raises:
        RunFailed: If the file is damaged, or was written by another version; the message names the remedy.
    """
    timer, blocks, named = clock or ReaderClock(), Blocks(), original or shard
    with ExitStack() as at_end, read_errors_explained(named):
        if buffers is None:
            buffers = Buffers()
            at_end.callback(buffers.forget)  # Petastorm's objects refer to one another, and are freed late
        names = pq.read_schema(shard).names
        check_columns(named, names)
        absent = set(KEY_NULLABLE).difference(names)
        transform = _decoding(side_px, timer, blocks, wanted, buffers, absent=absent)
        columns = [name for name in (*KEY_COLUMNS, "jpeg") if name in names]
        with closing(_row_groups(shard, transform, workers, columns, timer, part)) as groups:
            for group in groups:
                images = blocks.take(group)
                if len(images):
                    yield ImageBatch(images, {name: getattr(group, name) for name in KEY_COLUMNS}, group.error)


def in_batches(
    groups: Iterable[ImageBatch], batch_size: int, *, buffers: Buffers | None = None
) -> Iterator[ImageBatch]:
    """Copy decoded row groups into batches of one size.

    Args:
        groups: Row groups; the images of one may be overwritten when the next one is asked for.
        batch_size: Images per batch; only the last batch may be smaller.
        buffers: Memory for the images; None takes memory of its own.
    """
    memory = buffers or Buffers()
    images, held, filled = None, list[tuple[ImageBatch, slice]](), 0
    for group in groups:
        start = 0
        while start < len(group):
            if images is None:
                images = memory.take(batch_size, group.images.shape[1])
            count = min(batch_size - filled, len(group) - start)
            images[filled : filled + count] = group.images[start : start + count]
            held.append((group, slice(start, start + count)))
            filled, start = filled + count, start + count
            if filled == batch_size:
                yield _batch(images, held)
                images, held, filled = None, [], 0
    if images is not None:
        yield _batch(images[:filled], held)


def _batch(images: Images, parts: Sequence[tuple[ImageBatch, slice]]) -> ImageBatch:
    """Make a batch of its images, and of the columns and errors of the row groups that they come from."""
    columns = {name: np.concatenate([group.columns[name][rows] for group, rows in parts]) for name in KEY_COLUMNS}
    return ImageBatch(images, columns, np.concatenate([group.errors[rows] for group, rows in parts]))


def _row_groups(
    shard: Path, transform: Any, workers: int, columns: Sequence[str], clock: ReaderClock, part: tuple[int, int]
) -> Generator[Any, None, None]:
    reader = open_reader([shard], transform, workers, columns=columns, clock=clock, part=part)
    try:
        yield from reader
    finally:  # Petastorm's own context manager prints to stdout on exit
        reader.stop()
        reader.join()


def _decoding(
    side_px: int,
    clock: ReaderClock,
    blocks: Blocks,
    wanted: Set[ImageKey] | None,
    buffers: Buffers,
    *,
    absent: Set[str],
) -> Any:
    """Return the transform that replaces the column `jpeg` by the decoded block and `error`, in the worker's thread.

    It adds the columns `absent`, which the shard lacks, as empty texts.
    """
    cv2.setNumThreads(1)

    def decode(frame: Any) -> Any:
        started = time.perf_counter()
        if wanted is not None:
            chosen = [key in wanted for key in image_keys(frame)]
            if not any(chosen):  # Petastorm cannot return an empty row group, so one row stands for an empty block
                none = blocks.put(np.zeros((0, side_px, side_px, 3), np.uint8))
                blank = {**dict.fromkeys(absent, ""), "error": "", Blocks.COLUMN: none}
                return frame[:1].drop(columns="jpeg").fillna("").assign(**blank)
            frame = frame[chosen].copy()
        images = buffers.take(len(frame), side_px)
        decode_frame(frame, images)
        frame[Blocks.COLUMN] = blocks.put(images)
        clock.decode(time.perf_counter() - started)
        return frame

    texts = [(name, np.str_, (), False) for name in (*absent, "error")]
    return transform_of(decode, adds=[Blocks.FIELD, *texts], drops=["jpeg"])


def read_labelled(
    files: Mapping[Path, Place],
    labels: Mapping[ImageKey, int],
    *,
    side_px: int,
    workers: int,
    change: Callable[[ImageKey, Images], Images] | None = None,
    shuffle_seed: int | None = None,
) -> Generator[tuple[Images, NDArray[np.int64]], None, None]:
    """Read the labelled images of some dataset files, decoded and augmented by a reader's worker threads.

    Args:
        files: Maps each local Parquet file with the columns of `jobs.dataset.schema.IMAGES` to the file that it is a
            copy of, for error messages.
        labels: Maps the key of each image to read to the index of its category.
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
        np.random.default_rng(shuffle_seed).shuffle(order)
    columns, blocks = [*IMAGE_KEY, "jpeg"], Blocks()
    transform = _labelling(labels, side_px, change, blocks)
    try:
        reader = open_reader(order, transform, workers, columns=columns, shuffle_seed=shuffle_seed)
        try:
            for group in reader:
                images = blocks.take(group)
                if len(images):
                    yield images, group.label
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
        with read_errors_explained(original), pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                file.read_row_group(group, columns=list(columns))


def _labelling(labels: Mapping[ImageKey, int], side_px: int, change: Any, blocks: Blocks) -> Any:
    """Return the transform that decodes only labelled rows; a group without any returns one row, of an empty block."""
    cv2.setNumThreads(1)
    yielded: set[ImageKey] = set()
    lock = threading.Lock()

    def first(key: ImageKey) -> bool:
        with lock:
            new = key not in yielded
            yielded.add(key)
            return new

    def decode(frame: Any) -> Any:
        squares, indices = [], []
        for key, jpeg in zip(image_keys(frame), frame["jpeg"], strict=True):
            label = labels.get(key)
            if label is None or not first(key):
                continue
            try:
                square = decode_square(jpeg, side_px)
            except (ValueError, cv2.error):
                continue
            squares.append(change(key, square) if change else square)
            indices.append(label)
        images = np.stack(squares) if squares else np.zeros((0, side_px, side_px, 3), np.uint8)
        kept = frame.iloc[: max(1, len(indices))].drop(columns=[*IMAGE_KEY, "jpeg"])
        kept["label"], kept[Blocks.COLUMN] = indices or [-1], blocks.put(images)
        return kept

    return transform_of(decode, adds=[Blocks.FIELD, ("label", np.int64, (), False)], drops=[*IMAGE_KEY, "jpeg"])

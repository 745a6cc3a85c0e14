"""Reading decoded images from dataset files through Petastorm, whose threads decode while the caller computes."""

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
"""Error of the one row that stands for a row group without a wanted row: Petastorm cannot pass on an empty one."""


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
    """Read one dataset file in batches, decoded by worker threads.

    Args:
        shard: A Parquet file with the columns of `jobs.dataset.schema.IMAGES`.
        side_px: Side of the squares, in pixels.
        batch_size: Images in a batch; row groups are cut or joined to it, and only the last ones may be smaller.
        workers: Decoding threads.
        clock: Counts the reading and decoding seconds.
        wanted: (product_id, image_no, image_sha256) of the images to decode and yield; None is all.
        original: What the file is a copy of, for errors.

    Yields:
        Batches in no particular order.

    Raises:
        RunFailed: If the file is damaged, or was written by another version.
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
    finally:  # not Petastorm's context manager, which prints to stdout when it leaves
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
    """Return the transform that turns `jpeg` into `image` and `error`, in the worker's thread."""
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
    """Read the labelled images of some dataset files; decoded, and changed, by worker threads.

    Args:
        files: Parquet files with the columns of `jobs.dataset.schema.IMAGES`, and what each is a copy of, for errors.
        labels: What is read: by product_id, image_no and image_sha256, the index of the category.
        side_px: Side of the squares, in pixels.
        workers: Decoding threads.
        change: Augments one square, uint8 (side_px, side_px, 3); told which image it is.
        shuffle_seed: Of the order of the row groups; None leaves them as they are.

    Yields:
        A row group's uint8 (count, side_px, side_px, 3) and (count,) labels; what does not decode is left out, and of
        a content that two files hold, as when an image was another one in between, one is given.

    Raises:
        RunFailed: If a file is damaged; says which.
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
                known = group.label >= 0
                if known.any():
                    yield group.image[known], group.label[known]
        finally:
            reader.stop()
            reader.join()
    except MemoryError:  # pyarrow's own is an ArrowException too
        raise
    except (pa.ArrowException, OSError):
        _name_the_damaged(files, columns)
        raise


def _name_the_damaged(files: Mapping[Path, Place], columns: Sequence[str]) -> None:
    """Read files once more, one by one, as a reader of several does not say which of them it stumbled over."""
    for path, original in files.items():
        with sound(original), pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                file.read_row_group(group, columns=list(columns))


def _labelling(labels: Mapping[tuple[str, int, str], int], side_px: int, change: Any) -> Any:
    """Return the transform that decodes labelled rows alone; an empty group keeps a black square of label -1."""
    cv2.setNumThreads(1)
    given: set[tuple[str, int, str]] = set()
    alone = threading.Lock()

    def first(key: tuple[str, int, str]) -> bool:
        with alone:
            new = key not in given
            given.add(key)
            return new

    def decode(frame: Any) -> Any:
        keys = zip(*(frame[name] for name in _LABEL_KEYS), strict=True)
        squares, found = [], []
        for key, jpeg in zip([(str(p), int(n), str(s)) for p, n, s in keys], frame["jpeg"], strict=True):
            label = labels.get(key)
            if label is None or not first(key):
                continue
            try:
                square = decode_square(jpeg, side_px)
            except (ValueError, cv2.error):
                continue
            squares.append(change(key, square) if change else square)
            found.append(label)
        if not found:
            squares, found = [np.zeros((side_px, side_px, 3), np.uint8)], [-1]
        kept = frame.iloc[: len(found)].drop(columns=[*_LABEL_KEYS, "jpeg"])
        kept["image"], kept["label"] = squares, found
        return kept

    fields = [("image", np.uint8, (side_px, side_px, 3), False), ("label", np.int64, (), False)]
    return transform_of(decode, adds=fields, drops=[*_LABEL_KEYS, "jpeg"])

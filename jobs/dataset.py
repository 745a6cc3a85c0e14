"""Reading a shard through Petastorm: its worker threads decode while the networks compute.

Only this module knows Petastorm. A reader yields batches of decoded squares with the columns that name them; how long
the caller waited and how long the workers decoded is counted on the side.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.config import Place
from jobs.image_batches import ImageBatch, decode_frame
from jobs.schema import KEY_COLUMNS
from jobs.shards import check_columns, sound
from jobs.timed_files import timed_files, url_of
from models.networks.inputs import decode_square
from models.spec import Images

log = logging.getLogger(__name__)

_LABEL_KEYS = ("product_id", "image_no", "image_sha256")
_QUEUE_ROW_GROUPS = 3
_NONE_WANTED = "none of the row group is wanted"
"""Error of the one row that stands for a row group without a wanted row: Petastorm cannot pass on an empty one."""


@dataclass
class ReaderClock:
    """Seconds spent by a reader's threads, summed over them."""

    decoding_seconds: float = 0.0
    reading_seconds: float = 0.0
    _lock: Any = field(default_factory=Lock, repr=False)

    def decode(self, seconds: float) -> None:
        """Count one worker's decoding."""
        with self._lock:
            self.decoding_seconds += seconds

    def read(self, seconds: float) -> None:
        """Count one worker's reading."""
        with self._lock:
            self.reading_seconds += seconds


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
        shard: A Parquet file with the columns of `jobs.schema.IMAGES`.
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
    reader = _reader([shard], transform, workers, clock=clock)
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


def _reader(
    files: Sequence[Path],
    transform: Any,
    workers: int,
    *,
    columns: Sequence[str] = (*KEY_COLUMNS, "jpeg"),
    shuffle_seed: int | None = None,
    clock: ReaderClock | None = None,
) -> Any:
    """Open Petastorm over exactly these files.

    Petastorm warns at every call, in its workers too, that pyarrow's old interface will go; the pin on pyarrow is the
    answer to that, so exactly these warnings are silenced.
    """
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"petastorm\.")
    from petastorm import make_batch_reader
    from petastorm.workers_pool import thread_pool

    # Its threads print the trace of what they raise, and the reader raises that again: the second is enough.
    thread_pool.sys = SimpleNamespace(stderr=SimpleNamespace(write=log.debug))
    reader = make_batch_reader(
        [url_of(path) for path in files],
        schema_fields=list(columns),
        transform_spec=transform,
        reader_pool_type="thread",
        workers_count=workers,
        results_queue_size=_QUEUE_ROW_GROUPS,
        shuffle_row_groups=shuffle_seed is not None,
        seed=shuffle_seed,
        filesystem=timed_files((clock or ReaderClock()).read),
    )
    _end_only_when_all_is_handed_out(reader)
    return reader


def _end_only_when_all_is_handed_out(reader: Any) -> None:
    """Mend a race in Petastorm 0.13.1 by which a reader now and then ends early, or before its first row, silently.

    Its pool asks first whether the workers have done what they were given, and then whether all work has been given
    out. If all of it is given out between the two questions, both answers are yes and nothing was read. Asked the other
    way round they cannot both be wrong.
    """
    pool, ventilator = reader._workers_pool, reader.ventilator
    workers_done = pool.all_workers_done
    pool.all_workers_done = lambda: ventilator.completed() and workers_done()


def _decoding(side_px: int, clock: ReaderClock, wanted: Set[tuple[str, int, str]] | None = None) -> Any:
    """Return the TransformSpec that turns `jpeg` into `image` and `error`, in the worker's thread."""
    from petastorm.transform import TransformSpec

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

    return TransformSpec(
        decode,
        edit_fields=[("image", np.uint8, (side_px, side_px, 3), False), ("error", np.str_, (), False)],
        removed_fields=["jpeg"],
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
        files: Parquet files with the columns of `jobs.schema.IMAGES`, and what each is a copy of, for errors.
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
        reader = _reader(order, transform, workers, columns=columns, shuffle_seed=shuffle_seed)
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
    """Return the TransformSpec that decodes labelled rows alone; an empty group keeps a black square of label -1."""
    from petastorm.transform import TransformSpec

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
    return TransformSpec(decode, edit_fields=fields, removed_fields=[*_LABEL_KEYS, "jpeg"])

"""Read and decode shards in several processes, for an accelerator that is faster than the threads of one process.

Python runs one thread at a time between two calls of a library, so that the threads of one process decode some 3,000
images a second on 16 cores. Each process here runs a Petastorm reader over its part of a shard's row groups and puts
the decoded images into memory that it shares with the task.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import traceback
from collections.abc import Generator, Set
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.dataset.batches import ImageBatch
from jobs.dataset.buffers import Buffers
from jobs.dataset.helper_process import HelperProcess
from jobs.dataset.petastorm_adapter import ReaderClock
from jobs.dataset.reading import in_batches, read_groups
from jobs.dataset.schema import ImageKey
from jobs.dataset.shards import ROW_GROUP_ROWS, read_errors_explained
from jobs.errors import RunFailed
from jobs.storage.places import Place
from models.spec import Images

PROGRAM = "import sys; from jobs.dataset.reader_processes import serve; serve(*map(int, sys.argv[1:]))"
_SLOTS = 3
"""Row groups that a process may have decoded before the task takes them."""

_FEWEST_CORES = 4
"""Fewest cores of a task on an accelerator whose images are decoded in processes of their own."""


@dataclass(frozen=True)
class _Request:
    """Message to a process: read its part of a shard's row groups."""

    shard: Path
    original: Place
    wanted: Set[ImageKey] | None
    part: tuple[int, int]


@dataclass(frozen=True)
class _Group:
    """Message of a process: one decoded row group. Its images lie in a slot, or in the message if they do not fit."""

    slot: int | None
    images: Images | None
    columns: dict[str, NDArray[Any]]
    errors: NDArray[Any]


@dataclass(frozen=True)
class _End:
    """Message of a process: its part is finished, with the seconds that it read and decoded."""

    reading_seconds: float
    decoding_seconds: float


class ReaderProcesses:
    """Processes that read and decode shards for one task; a context manager."""

    def __init__(self, count: int, *, side_px: int, threads: int = 1) -> None:
        """Start the processes; they import their libraries while the caller goes on.

        Args:
            count: Number of processes.
            side_px: Side of the square images, in pixels.
            threads: Decoding threads of each process.
        """
        self.side_px = side_px
        self._buffers = Buffers()
        self._slots: list[Images] = []
        self._helpers: list[HelperProcess] = []
        shape = _slots_shape(side_px)
        for _ in range(count):
            file = _shared_file(int(np.prod(shape)))
            try:
                self._slots.append(_slots(file, side_px))
                self._helpers.append(HelperProcess.start(PROGRAM, file, side_px, threads, files=[file]))
            finally:
                os.close(file)

    def __enter__(self) -> ReaderProcesses:
        """Return this object."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End the processes."""
        self.close()

    @property
    def alive(self) -> bool:
        """Whether the processes can read; after an error, or a reader that was not read to its end, they are ended."""
        return bool(self._helpers)

    def close(self) -> None:
        """End the processes."""
        helpers, self._helpers = self._helpers, []
        for helper in helpers:
            helper.process.terminate()
        for helper in helpers:
            helper.end()
        self._slots = []

    def read_shard(
        self,
        shard: Path,
        *,
        batch_size: int,
        clock: ReaderClock,
        wanted: Set[ImageKey] | None = None,
        original: Place | None = None,
    ) -> Generator[ImageBatch, None, None]:
        """Read one dataset file in batches, as `jobs.dataset.reading.read_shard` does.

        Args:
            shard: Local Parquet file with the columns of `jobs.dataset.schema.IMAGES`.
            batch_size: Images per batch; only the last batch may be smaller.
            clock: Counts the seconds spent reading and decoding, summed over the processes.
            wanted: Keys of the images to decode and yield; None yields all.
            original: File that the shard is a copy of, for error messages.

        Yields:
            Batches in no particular order.

        Raises:
            RunFailed: If the file is damaged, or a process ended; the message names the remedy.
        """
        named = original or shard
        with read_errors_explained(named), closing(self._groups(shard, clock, wanted, named)) as groups:
            yield from in_batches(groups, batch_size, buffers=self._buffers)

    def _groups(
        self, shard: Path, clock: ReaderClock, wanted: Set[ImageKey] | None, named: Place
    ) -> Generator[ImageBatch, None, None]:
        """Yield decoded row groups; the images of one are valid until the next is asked for."""
        parts = min(len(self._helpers), pq.read_metadata(shard).num_row_groups)
        at_work: dict[Any, int] = {}  # number of its helper, by pipe
        try:
            for number, helper in enumerate(self._helpers[:parts]):
                helper.pipe.send(_Request(shard, named, wanted, (number, parts)))
                at_work[helper.pipe] = number
            while at_work:
                for ready in wait(list(at_work)):
                    number = at_work[ready]
                    pipe = self._helpers[number].pipe
                    message = pipe.recv()
                    if isinstance(message, Exception):
                        raise message
                    if isinstance(message, _End):
                        clock.read(message.reading_seconds)
                        clock.decode(message.decoding_seconds)
                        del at_work[pipe]
                        continue
                    rows = len(message.errors)
                    images = message.images if message.slot is None else self._slots[number][message.slot, :rows]
                    yield ImageBatch(images, message.columns, message.errors)
                    if message.slot is not None:
                        pipe.send(message.slot)
        except (EOFError, ConnectionError) as error:
            raise RunFailed(
                f"a process that decoded {named} ended; what is finished is kept, run the same again"
            ) from error
        finally:
            if at_work:  # the processes are in the middle of a shard that nobody reads any more
                self.close()


def processes_for(cores: int, *, side_px: int) -> ReaderProcesses | None:
    """Start the processes that decode for a task on an accelerator: one for each core.

    Args:
        cores: Processor cores of the task.
        side_px: Side of the square images, in pixels.

    Returns:
        The processes; None if the task has so few cores that its own threads decode as fast.
    """
    return ReaderProcesses(cores, side_px=side_px) if cores >= _FEWEST_CORES else None


def serve(pipe: int, file: int, side_px: int, threads: int) -> None:
    """Read the parts of shards that come over the pipe, until it is closed.

    Args:
        pipe: File descriptor of this process's end of the pipe.
        file: File descriptor of the memory for the decoded images.
        side_px: Side of the square images, in pixels.
        threads: Number of decoding threads.
    """
    slots, free, buffers = _slots(file, side_px), list(range(_SLOTS)), Buffers()
    with Connection(pipe) as connection, suppress(EOFError, ConnectionError):
        while True:
            message = connection.recv()
            if isinstance(message, int):
                free.append(message)
                continue
            try:
                _read_part(message, connection, slots, free, threads, buffers)
            except (RunFailed, MemoryError) as error:
                connection.send(error)
            except Exception as error:  # the task raises it; its own class may not be importable there
                traceback.print_exc()
                connection.send(RuntimeError(f"{type(error).__name__}: {error}"))


def _read_part(
    request: _Request, connection: Connection, slots: Images, free: list[int], threads: int, buffers: Buffers
) -> None:
    """Decode a part of a shard's row groups, and send each one once it has a free slot."""
    clock, side_px = ReaderClock(), slots.shape[2]
    groups = read_groups(
        request.shard,
        side_px=side_px,
        workers=threads,
        clock=clock,
        wanted=request.wanted,
        original=request.original,
        part=request.part,
        buffers=buffers,
    )
    with closing(groups):
        for group in groups:
            if len(group) > slots.shape[1]:
                connection.send(_Group(None, group.images, group.columns, group.errors))
                continue
            while connection.poll() or not free:
                free.append(connection.recv())
            slot = free.pop()
            slots[slot, : len(group)] = group.images
            connection.send(_Group(slot, None, group.columns, group.errors))
    connection.send(_End(clock.reading_seconds, clock.decoding_seconds))


def _slots_shape(side_px: int) -> tuple[int, int, int, int, int]:
    return _SLOTS, ROW_GROUP_ROWS, side_px, side_px, 3


def _slots(file: int, side_px: int) -> Images:
    """Map the shared memory: uint8 (slots, rows, side_px, side_px, 3)."""
    shape = _slots_shape(side_px)
    return np.frombuffer(mmap.mmap(file, int(np.prod(shape))), np.uint8).reshape(shape)


def _shared_file(size_bytes: int) -> int:
    """Return the descriptor of a nameless file in memory, or on a disk where the system has no such files."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("shelfwise-images")
    else:
        with tempfile.TemporaryFile() as named:
            file = os.dup(named.fileno())
    os.truncate(file, size_bytes)
    return file

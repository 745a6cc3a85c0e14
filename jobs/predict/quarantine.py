"""A shard predicted in processes of their own, after an attempt at it has ended without a word.

An image on which the decoder or the networks end their whole process would end each of Spark's attempts in turn. So
every attempt but the first has its images looked at by a helper process, a few at a time. If the helper ends, each of
the few is shown to it alone, and an image that ends two in a row, the second of them fresh and with nothing else to do,
is rejected. A process that was killed for another reason is only started anew: nobody is blamed for it.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.dataset.batches import ImageBatch, names_of
from jobs.dataset.shards import check_columns, sound
from jobs.errors import RunFailed
from jobs.predict.inference import Answer
from jobs.predict.quarantine_helper import Done, Few, Orders, Ready
from jobs.storage.places import Place

log = logging.getLogger(__name__)

PROGRAM = "import sys; from jobs.predict.quarantine_helper import serve; serve(int(sys.argv[1]))"
MOST_DEATHS = 50
"""Of helpers over one shard; more are nothing that images do."""

_STARTS = 2
_ALONE = 2
_PATIENCE_SECONDS = 10.0


@dataclass
class Quarantine:
    """Helper processes, one at a time, and what they cost.

    Attributes:
        orders: What each is told.
        program: What each runs; tests have others.
        ready: What the last one computes on.
        deaths: Of helpers, over the shard at hand.
        loading_seconds: Their networks were built, over the shard at hand.
        decoding_seconds: Bytes became pixels.
        predicting_seconds: The networks computed.
    """

    orders: Orders
    program: str = PROGRAM
    ready: Ready = field(default_factory=lambda: Ready("", "float32", 0.0))
    deaths: int = 0
    loading_seconds: float = 0.0
    decoding_seconds: float = 0.0
    predicting_seconds: float = 0.0
    _helper: _Helper | None = None
    _last_words: str = ""

    def __enter__(self) -> Quarantine:
        """Start nothing yet."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End the helper, if there is one."""
        self._end()

    def answers(
        self, shard: Place, path: Path, wanted: Set[tuple[str, int, str]] | None = None
    ) -> Iterator[tuple[ImageBatch, Answer]]:
        """Answer a shard's images, whatever they do to the process that looks at them.

        Args:
            shard: A file of the dataset.
            path: Where it can be read on this machine.
            wanted: (product_id, image_no, image_sha256) of the images to answer; None is all.

        Yields:
            Batches without pixels, each with its answer; an image that ends processes has an error.

        Raises:
            RunFailed: If helpers end whatever they are shown, or the file cannot be read.
        """
        self.deaths, self.loading_seconds, self.decoding_seconds, self.predicting_seconds = 0, 0.0, 0.0, 0.0
        for few, names in _in_parts(shard, path, wanted, self.orders.config.batch_size):
            done = self._ask(few)
            if done:
                yield self._counted(done)
                continue
            for row in few.rows:
                yield self._alone(Few(shard, path, few.group, (row,)), names)

    def _alone(self, one: Few, names: dict[str, NDArray[Any]]) -> tuple[ImageBatch, Answer]:
        """Answer a single image, or find it guilty."""
        for _ in range(_ALONE):
            done = self._ask(one)
            if done:
                return self._counted(done)
        [row] = one.rows
        columns = {name: values[row : row + 1] for name, values in names.items()}
        detail = f"it ended the process that looked at it, and a second one that had nothing else ({self._last_words})"
        log.warning("%s of product %s is rejected: %s", columns["image_uri"][0], columns["product_id"][0], detail)
        return ImageBatch(np.zeros((1, 1, 1, 3), np.uint8), columns, np.array([detail])), Answer(None, ("",))

    def _counted(self, done: Done) -> tuple[ImageBatch, Answer]:
        self.decoding_seconds += done.decoding_seconds
        self.predicting_seconds += done.predicting_seconds
        nothing = np.zeros((len(done.errors), 1, 1, 3), np.uint8)
        return ImageBatch(nothing, done.columns, done.errors), done.answer

    def _ask(self, few: Few) -> Done | None:
        """Have a helper look at a few images; None if it ended over them."""
        done: Done | None = self._told(self._helper or self._started(), few)
        if done is None:
            self.deaths += 1
            log.warning("a process ended over %s images of %s (%s)", len(few.rows), few.shard, self._last_words)
            if self.deaths > MOST_DEATHS:
                raise RunFailed(
                    f"{self.deaths} processes ended over images of {few.shard}, the last by {self._last_words}; no "
                    "images do that: see that this machine has memory and its device is sound; what is finished is kept"
                )
        return done

    def _started(self) -> _Helper:
        """Start a helper and see that it answers a black image.

        Raises:
            RunFailed: If it ends over that too, so that no image of a shop is to blame.
        """
        for _ in range(_STARTS):
            self._helper = helper = _Helper.of(self.program)
            ready: Ready | None = self._told(helper, self.orders)
            if ready:
                self.ready = ready
                self.loading_seconds += ready.loading_seconds
                return helper
        raise RunFailed(
            f"release {self.orders.release.release_id} ends each process that asks it about a black image "
            f"({self._last_words}); see that this machine has memory for it and its device is sound"
        )

    def _told(self, helper: _Helper, message: Orders | Few) -> Any:
        """Tell a helper something and return what it says; None if it ended instead."""
        try:
            helper.pipe.send(message)
            said = helper.pipe.recv()
        except (EOFError, OSError):  # an OSError where it ended in the middle of its answer
            self._end()
            return None
        if isinstance(said, Exception):
            self._end()
            raise said
        return said

    def _end(self) -> None:
        if self._helper:
            self._last_words = self._helper.end()
            self._helper = None


@dataclass(frozen=True)
class _Helper:
    """A process, and this end of the pipe to it."""

    process: subprocess.Popen[bytes]
    pipe: Connection

    @classmethod
    def of(cls, program: str) -> _Helper:
        ours, theirs = Pipe()
        path = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)  # code that Spark has sent is in it
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-X", "faulthandler", "-c", program, str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": path},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,
                start_new_session=True,
            )
        return cls(process, ours)

    def end(self) -> str:
        """End it, unless it has ended, and say how it did."""
        self.pipe.close()
        try:
            code = self.process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _in_parts(
    shard: Place, path: Path, wanted: Set[tuple[str, int, str]] | None, size: int
) -> list[tuple[Few, dict[str, NDArray[Any]]]]:
    """Cut a shard into so many images at most, never across row groups; with the names of each row group."""
    found = []
    with sound(shard), pq.ParquetFile(path) as file:
        check_columns(shard, file.schema_arrow.names)
        for group in range(file.num_row_groups):
            names = names_of(file, group)
            keys = zip(names["product_id"], names["image_no"], names["image_sha256"], strict=True)
            rows = [row for row, key in enumerate(keys) if wanted is None or key in wanted]
            for start in range(0, len(rows), size):
                found.append((Few(shard, path, group, tuple(rows[start : start + size])), names))
    return found

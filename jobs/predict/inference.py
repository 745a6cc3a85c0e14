"""The timed inference loop between reader and writer, which recovers from failed batches; independent of Spark.

A batch that does not fit in memory is halved. A batch that fails otherwise is bisected until the images that cause the
failure are found; all other images are predicted. Several calls run at once, so that copying and computing overlap. The
thread of a call judges its images too: an accelerator meanwhile computes the batch of another thread.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jobs.errors import RunFailed
from models.known.gate import ImageGate, Judgement
from models.serving.faults import DeviceLost, fault_of
from models.spec import Images, Predictions, Predictor

if TYPE_CHECKING:
    from jobs.dataset.batches import ImageBatch

log = logging.getLogger(__name__)

_NOT_FINITE = "the networks gave no finite answer"
_DETAIL_CHARACTERS = 300
_TURN_SECONDS = 0.0005


@dataclass(frozen=True)
class Answer:
    """Result of inference on a batch: the networks' predictions, and an error for each image that has none.

    Attributes:
        predictions: One row per image; zeros, and features that are not numbers, where `errors` has a text. None if no
            image could be predicted.
        errors: One text per image: why the networks could not predict it, or an empty string.
        judgements: What the release's gate found of each image; empty if no gate has judged them.
    """

    predictions: Predictions | None
    errors: tuple[str, ...]
    judgements: tuple[Judgement, ...] = ()

    def judged(self, gate: ImageGate | None) -> Answer:
        """Return the answer with the judgement of each image, in place of its features; itself without a gate."""
        if gate is None or self.predictions is None:
            return self
        judgements = tuple(gate.judge(self.predictions.features, len(self.errors)))
        return Answer(replace(self.predictions, features={}), self.errors, judgements)


class BusyClock:
    """Measures in how many seconds at least one call of the inference loop is running, and in how many none is."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        """Start the clock with no call running.

        Args:
            now: Returns the time in seconds.
        """
        self.busy_seconds = self.idle_seconds = 0.0
        self._running, self._now = 0, now
        self._mark = now()
        self._lock = Lock()

    def __enter__(self) -> None:
        self._turn(1)

    def __exit__(self, *_error: object) -> None:
        self._turn(-1)

    def _turn(self, step: int) -> None:
        with self._lock:
            now = self._now()
            if self._running:
                self.busy_seconds += now - self._mark
            else:
                self.idle_seconds += now - self._mark
            self._running += step
            self._mark = now


class Inference:
    """Makes inference survive failed batches: finds the batch size that fits the memory, and the images that fail."""

    def __init__(self, predictor: Predictor) -> None:
        """Wrap a predictor.

        Args:
            predictor: Predictor whose `predict` may be called from several threads.
        """
        self._predictor = predictor
        self.limit: int | None = None
        """Most images per call that fit in the device's memory; None until a batch did not fit."""

    @property
    def decode_px(self) -> int:
        """Side of the square images that `answer` takes, in pixels."""
        return self._predictor.decode_px

    def answer(self, images: Images) -> Answer:
        """Predict a batch.

        Args:
            images: uint8 (batch, decode_px, decode_px, 3), RGB, 0-255.

        Returns:
            The predictions, and an error for each image that the networks could not predict.

        Raises:
            DeviceLost: If this process cannot use its device any more; the task must go on in a new process.
            RunFailed: If not even one image fits in the memory: use a smaller release, or free memory. Or if the
                predictions are not finite even for a black image: verify the release, or compute in float32.
            Exception: The predictor's own exception, if it fails on a black image too: then no image is the cause.
        """
        return _joined(self._in_pieces(images, self.limit or len(images)))

    def _in_pieces(self, images: Images, size: int) -> list[Answer]:
        return [part for start in range(0, len(images), size) for part in self._parts(images[start : start + size])]

    def _parts(self, images: Images) -> list[Answer]:
        try:
            predictions = self._predictor.predict(images)
        except Exception as error:  # a backend may raise anything; `_after` decides, and raises our own bugs again
            return self._after(error, images)
        finite = np.asarray(np.isfinite(predictions.confidences).all(axis=1))
        if finite.all():
            return [Answer(predictions, ("",) * len(images))]
        if not np.isfinite(self._predictor.predict(np.zeros_like(images[:1])).confidences).all():
            raise RunFailed(f"{_NOT_FINITE}, not even of a black image; verify the release, or compute in float32")
        errors = tuple("" if good else _NOT_FINITE for good in finite)
        return [Answer(_cleaned(predictions, finite), errors)]

    def _after(self, error: Exception, images: Images) -> list[Answer]:
        """Recover from a failed call: predict the images again in two halves, or give the error to a single image."""
        fault = fault_of(error)
        if fault == "device":
            raise DeviceLost(str(error)) from error
        if fault == "memory":
            if len(images) == 1:
                side_px = images.shape[1]
                raise RunFailed(
                    f"not one image of {side_px} x {side_px} px fits the memory of the device; end what else uses it, "
                    f"or take a smaller release ({_short(error)})"
                ) from error
            half = len(images) // 2
            self.limit = min(self.limit or half, half)
            log.warning("a batch of %s images does not fit the memory; going on with %s", len(images), self.limit)
            return self._in_pieces(images, self.limit)
        if len(images) == 1:
            self._predictor.predict(np.zeros_like(images))  # raises if the network, not the image, is the cause
            return [Answer(None, (_short(error),))]
        return self._in_pieces(images, (len(images) + 1) // 2)


@contextmanager
def _short_turns() -> Iterator[None]:
    """Let Python's threads take turns ten times as often for the block.

    A thread that begins the next batch of a device would otherwise wait up to 5 ms for one that writes rows, and the
    device with it.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(_TURN_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def answers(
    batches: Iterable[ImageBatch],
    inference: Inference,
    *,
    in_flight: int,
    clock: BusyClock,
    gate: ImageGate | None = None,
) -> Iterator[tuple[ImageBatch, Answer]]:
    """Run the inference loop: predict batches in worker threads, while the caller reads ahead and writes.

    Args:
        batches: Decoded batches from the reader.
        inference: Predicts the batches.
        in_flight: Concurrent calls: two where copying to a device and computing on it can overlap, one on a CPU.
        clock: Measures when the networks computed and when they waited.
        gate: Judges which images the release knows, from several threads; None judges none.

    Yields:
        Each batch with its answer, in the order of the batches.
    """

    def timed(images: Images) -> Answer:
        with clock:
            return inference.answer(images).judged(gate)

    waiting: deque[tuple[ImageBatch, Future[Answer]]] = deque()
    turns = _short_turns() if in_flight > 1 else nullcontext()
    with turns, ThreadPoolExecutor(in_flight, thread_name_prefix="predict") as pool:
        try:
            for batch in batches:
                waiting.append((batch, pool.submit(timed, batch.images)))
                if len(waiting) > in_flight:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _cleaned(predictions: Predictions, finite: NDArray[np.bool_]) -> Predictions:
    """Give images without a finite answer zeros, and features that are not numbers; `finite` is bool (images,)."""
    column = finite[:, None]
    return Predictions(
        np.where(column, predictions.confidences, 0.0),
        {name: np.where(column, part, 0.0) for name, part in predictions.by_network.items()},
        {name: np.where(column, part, np.nan) for name, part in predictions.features.items()},
    )


def _joined(parts: list[Answer]) -> Answer:
    """Concatenate the parts of a batch; images without a prediction get zeros, and features that are not numbers."""
    if len(parts) == 1:
        return parts[0]
    errors = tuple(error for part in parts for error in part.errors)
    answered = [part.predictions for part in parts if part.predictions]
    if not answered:
        return Answer(None, errors)
    first = answered[0]
    zeros = np.zeros((1, first.confidences.shape[1]), np.float32)
    nothing = {name: np.full((1, part.shape[1]), np.nan, np.float32) for name, part in first.features.items()}
    whole = [part.predictions or Predictions(zeros, dict.fromkeys(first.by_network, zeros), nothing) for part in parts]
    return Answer(
        Predictions(
            np.concatenate([part.confidences for part in whole]),
            {name: np.concatenate([part.by_network[name] for part in whole]) for name in first.by_network},
            {name: np.concatenate([part.features[name] for part in whole]) for name in first.features},
        ),
        errors,
    )


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:_DETAIL_CHARACTERS]

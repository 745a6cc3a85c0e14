"""Prediction of a shard in helper processes, after an earlier attempt at it crashed without an error.

An image can crash the whole process, in the decoder or in the networks. Such an image would crash every attempt of the
Spark task. Therefore later attempts predict in a helper process that takes a few images per request. If the helper
crashes, a helper predicts each image of the request alone. An image that crashes two helpers in a row is rejected; the
second one was started for that image alone. A helper that was killed for another reason is only restarted, and no image
is rejected for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.dataset.batches import ImageBatch, key_columns_of
from jobs.dataset.helper_process import RestartedHelper
from jobs.dataset.schema import ImageKey, image_keys
from jobs.dataset.shards import check_columns, read_errors_explained
from jobs.errors import RunFailed
from jobs.predict.inference import Answer
from jobs.predict.quarantine_helper import HelperAnswer, HelperReady, HelperRequest, HelperSetup
from jobs.storage.places import Place
from jobs.wording import one_line

log = logging.getLogger(__name__)

PROGRAM = "import sys; from jobs.predict.quarantine_helper import serve; serve(int(sys.argv[1]))"
MOST_DEATHS = 50
"""Most crashes of helpers per shard. More crashes have another cause than images."""

_STARTS = 2
_ALONE = 2


@dataclass
class Quarantine:
    """Predicts suspect images of shards in a helper process, which is restarted after a crash; a context manager.

    Attributes:
        setup: First message to each helper.
        program: Python code that each helper runs; tests replace it.
        ready: Device and precision of the last helper.
        deaths: Crashes of helpers over the current shard.
        loading_seconds: Time in which helpers built their networks for the current shard.
        decoding_seconds: Time in which helpers decoded images of the current shard.
        predicting_seconds: Time in which the networks computed for the current shard.
    """

    setup: HelperSetup
    program: str = PROGRAM
    ready: HelperReady = field(default_factory=lambda: HelperReady("", "float32", 0.0))
    deaths: int = 0
    loading_seconds: float = 0.0
    decoding_seconds: float = 0.0
    predicting_seconds: float = 0.0
    _helper: RestartedHelper = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Make the helper; the first request starts it."""
        self._helper = RestartedHelper(self.program)

    def __enter__(self) -> Quarantine:
        """Return this object; the first request starts the helper."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End the helper, if one is running."""
        self._helper.end()

    def answers(
        self, shard: Place, path: Path, wanted: Set[ImageKey] | None = None
    ) -> Iterator[tuple[ImageBatch, Answer]]:
        """Predict a shard's images, including those that crash the process that predicts them.

        Args:
            shard: File of the dataset, for errors.
            path: The same file, or its copy, on this machine.
            wanted: Keys of the images to predict; None predicts all.

        Yields:
            Batches without pixels, each with its answer. An image that crashes helpers has an error.

        Raises:
            RunFailed: If helpers crash on a black image or more than `MOST_DEATHS` times, or the file cannot be read;
                the message names the remedy.
        """
        self.deaths, self.loading_seconds, self.decoding_seconds, self.predicting_seconds = 0, 0.0, 0.0, 0.0
        for request, names in _requests(shard, path, wanted, self.setup.config.batch_size):
            done = self._try_images(request)
            if done:
                yield self._counted(done)
                continue
            for row in request.rows:
                yield self._predict_single(HelperRequest(shard, path, request.group, (row,)), names)

    def _predict_single(self, request: HelperRequest, names: dict[str, NDArray[Any]]) -> tuple[ImageBatch, Answer]:
        """Predict a single image, or reject it after `_ALONE` crashes in a row."""
        for _ in range(_ALONE):
            done = self._try_images(request)
            if done:
                return self._counted(done)
        [row] = request.rows
        columns = {name: values[row : row + 1] for name, values in names.items()}
        ended_by = self._helper.exit_status
        detail = f"it ended the process that looked at it, and a second one that had nothing else ({ended_by})"
        image_uri, product_id = one_line(str(columns["image_uri"][0])), one_line(str(columns["product_id"][0]))
        log.warning("%s of product %s is rejected: %s", image_uri, product_id, detail)
        return ImageBatch(np.zeros((1, 1, 1, 3), np.uint8), columns, np.array([detail])), Answer(None, ("",))

    def _counted(self, done: HelperAnswer) -> tuple[ImageBatch, Answer]:
        self.decoding_seconds += done.decoding_seconds
        self.predicting_seconds += done.predicting_seconds
        nothing = np.zeros((len(done.errors), 1, 1, 3), np.uint8)
        return ImageBatch(nothing, done.columns, done.errors), done.answer

    def _try_images(self, request: HelperRequest) -> HelperAnswer | None:
        """Send a request to the helper; return its answer, or None if the helper crashed.

        Raises:
            RunFailed: If more than `MOST_DEATHS` helpers crashed over this shard; check memory and device.
        """
        if not self._helper.running:
            self._start_helper()
        done: HelperAnswer | None = self._exchange(request)
        if done is None:
            self.deaths += 1
            log.warning(
                "a process ended over %s images of %s (%s)", len(request.rows), request.shard, self._helper.exit_status
            )
            if self.deaths > MOST_DEATHS:
                raise RunFailed(
                    f"{self.deaths} processes ended over images of {request.shard}, the last by "
                    f"{self._helper.exit_status}; no images do that: see that this machine has memory and its device "
                    "is sound; what is finished is kept"
                )
        return done

    def _start_helper(self) -> None:
        """Start a helper and wait until it has predicted a black image.

        Raises:
            RunFailed: If helpers crash on the black image too: then no image of the shop is the cause. See that the
                machine has memory and its device is sound.
        """
        for _ in range(_STARTS):
            self._helper.start()
            ready: HelperReady | None = self._exchange(self.setup)
            if ready:
                self.ready = ready
                self.loading_seconds += ready.loading_seconds
                return
        raise RunFailed(
            f"release {self.setup.release.release_id} ends each process that asks it about a black image "
            f"({self._helper.exit_status}); see that this machine has memory for it and its device is sound"
        )

    def _exchange(self, message: HelperSetup | HelperRequest) -> Any:
        """Send a message to the helper; return its reply, None if it crashed, or raise the exception that it sends."""
        reply = self._helper.exchange(message)
        if isinstance(reply, Exception):
            self._helper.end()
            raise reply
        return reply


def _requests(
    shard: Place, path: Path, wanted: Set[ImageKey] | None, size: int
) -> list[tuple[HelperRequest, dict[str, NDArray[Any]]]]:
    """Split a shard into requests of at most `size` images of one row group, each with the group's key columns."""
    requests = []
    with read_errors_explained(shard), pq.ParquetFile(path) as file:
        check_columns(shard, file.schema_arrow.names)
        for group in range(file.num_row_groups):
            names = key_columns_of(file, group)
            rows = [row for row, key in enumerate(image_keys(names)) if wanted is None or key in wanted]
            for start in range(0, len(rows), size):
                requests.append((HelperRequest(shard, path, group, tuple(rows[start : start + size])), names))
    return requests

"""The engine of OpenVINO: computes a converted release on the processor, without Keras or TensorFlow.

Each thread has a request of its own, which computes a piece of the batch from the first layer to the last. Threads
that share the layers of one piece wait for one another at each layer.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from models.release import Release
from models.serving.converted import Converted, check_openvino
from models.serving.devices import multiplies_bfloat16
from models.serving.engines import EngineError, Forward, Precision
from models.spec import Features, Images

_PIECE_PIXELS = 100_000
"""Pixels of the images that one request computes at once. A larger piece leaves the caches of a processor."""

_LARGEST_PIECE = 16
_HINTS = {"float32": "f32", "bfloat16": "bf16"}


@dataclass(frozen=True)
class OpenVinoEngine:
    """The engine of OpenVINO.

    Attributes:
        converted: Description of the converted release.
        files: Directory with its files.
        threads: Number of threads that compute, at least 1.
        precision: `float32`, or `bfloat16` on a processor that multiplies it.
    """

    converted: Converted
    files: Path
    threads: int
    precision: Precision = "float32"

    def open(self, release: Release, directory: Path) -> Forward:
        """Load a converted release and compile it for this processor; see `models.serving.engines.Engine`.

        Raises:
            EngineError: If OpenVINO is missing, broken, or of another version, or cannot read or compile the release,
                if the files are damaged or of another release, if the number of threads is not one, or if the processor
                does not multiply bfloat16 and should.
        """
        if self.precision not in _HINTS:
            raise EngineError(f"expected float32 or bfloat16, received {self.precision!r}; correct it")
        if self.precision == "bfloat16" and not multiplies_bfloat16():
            raise EngineError(
                "the processor has no instructions for bfloat16, in which this run computes; end this executor, or set "
                "SHELFWISE_PRECISION=float32 and run again with another --run-id"
            )
        if type(self.threads) is not int or self.threads < 1:
            raise EngineError(f"expected a number of threads from 1, received {self.threads!r}; correct it")
        found = check_openvino()
        if found != self.converted.openvino:
            raise EngineError(
                f"expected OpenVINO {self.converted.openvino}, which converted the release, found {found}; install the "
                "driver's requirements.txt, or set SHELFWISE_ENGINE=keras"
            )
        self.converted.check(release, self.files)
        graph = self.files / next(iter(self.converted.files))
        with _refusals_explained():
            model = openvino().Core().read_model(graph)
        return forward_of(model, threads=self.threads, side_px=release.decode_px, precision=self.precision)


def forward_of(model: Any, *, threads: int, side_px: int, precision: Precision = "float32") -> Forward:
    """Compile a model of OpenVINO for this processor.

    Args:
        model: The openvino.Model, from uint8 images (batch, side_px, side_px, 3) to arrays of two dimensions.
        threads: Number of threads that compute, at least 1.
        side_px: Side of the square images, in pixels.
        precision: `float32`, or `bfloat16` on a processor that multiplies it.

    Returns:
        Function from a batch of images, of any size, to float32 arrays.

    Raises:
        EngineError: If OpenVINO cannot be imported, or cannot compile the model.
    """
    with _refusals_explained():
        return _Requests(model, threads=threads, side_px=side_px, hint=_HINTS[precision])


@contextmanager
def _refusals_explained() -> Iterator[None]:
    """Replace errors of OpenVINO, which has no other class for what it refuses, by one sentence."""
    try:
        yield
    except RuntimeError as error:
        raise EngineError(
            f"OpenVINO cannot compute the converted release on this processor ({reason_in(str(error))}); set "
            "SHELFWISE_ENGINE=keras"
        ) from error


def reason_in(message: str) -> str:
    """Return of an error of OpenVINO the lines that name a reason; they stand between places in code and advice."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    reasons = [line.removeprefix("-- ") for line in lines if line.startswith("-- ")]
    others = [line for line in lines if not line.startswith(("Exception from ", "Check "))]
    return "; ".join(reasons or others[:1] or lines[:1])[:200]


def piece_of(side_px: int) -> int:
    """Return how many images one request computes at once, by the side of the decoded squares in pixels."""
    return min(_LARGEST_PIECE, max(1, round(_PIECE_PIXELS / side_px**2)))


def openvino() -> Any:
    """Import OpenVINO without its converter, which reports each import to its makers over the network.

    Raises:
        EngineError: If it cannot be imported, as when a file of it or a library of the system is missing.
    """
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    converter = "openvino.tools.ovc"
    # With None, the import of this module fails, and OpenVINO goes on without it.
    sys.modules[converter] = None  # type: ignore[assignment]
    try:
        return import_module("openvino")
    except ImportError as error:
        raise EngineError(
            f"OpenVINO is installed, but cannot be imported ({reason_in(str(error))}); install again what "
            "requirements.txt names, or set SHELFWISE_ENGINE=keras"
        ) from error
    finally:
        del sys.modules[converter]


class _Requests:
    """A compiled graph with one request for each thread; callable as `Forward`."""

    def __init__(self, model: Any, *, threads: int, side_px: int, hint: str) -> None:
        ov = openvino()
        self._piece = piece_of(side_px)
        model.reshape([self._piece, side_px, side_px, 3])
        settings = {
            "INFERENCE_PRECISION_HINT": hint,  # without it, bfloat16 is taken on processors that multiply it
            "ENABLE_CPU_PINNING": False,  # otherwise every process of a machine pins itself to the same cores
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": str(threads),
        }
        compiled = ov.Core().compile_model(model, "CPU", settings)
        self._widths = [int(output.shape[1]) for output in compiled.outputs]
        self._queue = ov.AsyncInferQueue(compiled, threads)
        self._queue.set_callback(_store)
        self._lock = Lock()  # one call uses all threads

    def __call__(self, images: Images) -> list[Features]:
        parts = [np.empty((len(images), width), np.float32) for width in self._widths]
        whole = np.ascontiguousarray(images)
        with self._lock:
            for start in range(0, len(whole), self._piece):
                piece = whole[start : start + self._piece]
                if missing := self._piece - len(piece):
                    piece = np.pad(piece, ((0, missing), (0, 0), (0, 0), (0, 0)))
                self._queue.start_async([piece], (start, parts), share_inputs=False)
            self._queue.wait_all()
        return parts


def _store(request: Any, place: tuple[int, list[Features]]) -> None:
    """Copy the outputs of a finished request to their rows of a batch."""
    start, parts = place
    for number, part in enumerate(parts):
        found = request.get_output_tensor(number).data
        rows = part[start : start + len(found)]
        rows[:] = found[: len(rows)]

"""Decode images in a process of its own: a file that ends its decoder ends that process alone, no task and no night.

The links of a shop can lead to any bytes, and the decoders are native code. One process decodes for a task. If it ends,
a new one gets the same file and nothing else; a file that ends both is rejected. Each file has a limit of time and the
process one of memory, so that a file can neither stop a night nor take what others need. The system enforces both, also
in native code, and also when the task is gone.
"""

from __future__ import annotations

import io
import logging
import resource
import signal
from contextlib import suppress
from dataclasses import astuple, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
from PIL import Image

from jobs.dataset.helper_process import RestartedHelper, be_killed_first
from jobs.errors import RunFailed
from jobs.images.normalise import MAX_PIXELS, NormalisedImage, Rejected, normalise

log = logging.getLogger(__name__)

PROGRAM = "import sys; from jobs.ingest.decoding import serve; serve(*map(int, sys.argv[1:]))"
MOST_KILLED = 10
"""Most processes of a task that something outside kills. The limits of a file end a process by other signals."""

_BYTES_A_PIXEL = 48
"""Memory for a large image, by its pixels: for 64 megapixels less than the 3 GiB of any image."""

_STARTS = 2
_ALONE = 2
_READY = "ready"


@dataclass(frozen=True)
class DecodingLimits:
    """What one file may take.

    Attributes:
        cpu_seconds: Time of the processor, all threads together.
        seconds: Time by the clock.
        memory_bytes: Address space beyond that of the process before its first file.
        max_pixels: Pixels that are decoded of it.
    """

    cpu_seconds: int = 30
    seconds: int = 600
    memory_bytes: int = 3 << 30
    max_pixels: int = MAX_PIXELS

    @classmethod
    def for_megapixels(cls, megapixels: int) -> DecodingLimits:
        """Return the limits where images of so many millions of pixels are decoded, which may need more memory."""
        pixels = megapixels * 1_000_000
        return cls(memory_bytes=max(cls.memory_bytes, _BYTES_A_PIXEL * pixels), max_pixels=pixels)


class GuardedDecoder:
    """Normalises images in a process of its own, which is started with the first image; a context manager."""

    def __init__(self, limits: DecodingLimits | None = None, *, program: str = PROGRAM) -> None:
        """Make a decoder.

        Args:
            limits: What one file may take.
            program: Python code of the process; tests replace it.
        """
        self._helper = RestartedHelper(program, astuple(limits or DecodingLimits()))
        self._killed = 0

    def __enter__(self) -> GuardedDecoder:
        """Return this object."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End the process."""
        self._helper.end()

    def normalise(self, data: bytes) -> NormalisedImage:
        """Normalise a source image, as `jobs.images.normalise.normalise` does.

        Args:
            data: Content of the whole source file.

        Returns:
            The JPEG and its size.

        Raises:
            Rejected: If the image cannot be used, or ended two processes in a row (`decoder_crashed`).
            RunFailed: If a process ends over a small image of our own, or if more than `MOST_KILLED` processes are
                killed, so that no file of the shop is the cause; see that the machine has memory.
        """
        for _ in range(_ALONE):
            if not self._helper.running:
                self._start()
            reply = self._helper.exchange(data)
            if isinstance(reply, NormalisedImage):
                return reply
            if isinstance(reply, Exception):
                raise reply
            ended_by = self._helper.exit_status
            log.warning("a process that decoded an image of %s bytes ended (%s)", f"{len(data):,}", ended_by)
            self._killed += ended_by == signal.SIGKILL.name
            if self._killed > MOST_KILLED:
                raise RunFailed(
                    f"{self._killed} processes that decode images were killed ({ended_by}), as the kernel does where "
                    "memory runs out; no images do that: give this machine or its executors more memory "
                    "(spark.executor.memoryOverhead), or Spark fewer cores; none of these images is rejected for good"
                )
        raise Rejected(
            "decoder_crashed",
            f"it ended the process that decoded it, and a second one that had nothing else ({ended_by})",
        )

    def _start(self) -> None:
        for _ in range(_STARTS):
            self._helper.start()
            if self._helper.exchange() == _READY:
                return
        raise RunFailed(
            f"a process that decodes images ends before the first one ({self._helper.exit_status}); see that this "
            "machine has memory; what is finished is kept"
        )


def serve(descriptor: int, cpu_seconds: int, seconds: int, memory_bytes: int, max_pixels: int) -> None:
    """Normalise the files that come over a pipe, until it is closed.

    Args:
        descriptor: File descriptor of this process's end of the pipe.
        cpu_seconds: Limit of each file, see `DecodingLimits`.
        seconds: Limit of each file.
        memory_bytes: Limit of the process.
        max_pixels: Limit of each file.
    """
    be_killed_first()
    cv2.setNumThreads(1)  # each task has a process, and threads for small images cost more than they save
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, max_pixels)  # Pillow refuses twice as many by itself
    _limit_memory(memory_bytes)
    with Connection(descriptor) as pipe, suppress(EOFError, ConnectionError):
        normalise(_sound_image())
        pipe.send(_READY)
        while True:
            data = pipe.recv()
            # Nobody handles these signals, so the system ends the process, also inside of native code.
            signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
            signal.alarm(seconds)
            try:
                reply: NormalisedImage | Rejected = normalise(data, max_pixels=max_pixels)
            except Rejected as rejection:
                reply = rejection
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
            pipe.send(reply)


def _sound_image() -> bytes:
    """Return an image that decodes on every machine that has memory for it."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(buffer, "PNG")
    return buffer.getvalue()


def _limit_memory(most_bytes: int) -> None:
    """Limit the address space of this process to so much more than it has; systems without /proc have no limit."""
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + most_bytes
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))

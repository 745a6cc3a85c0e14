"""Images on which a process ends, by a decoder or networks that segfault over them, and the helpers that have such."""

from __future__ import annotations

import os
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np

from jobs.dataset import batches as image_batches
from jobs.dataset.schema import IMAGES
from jobs.dataset.shards import ShardWriter, shards
from jobs.predict import networks
from jobs.predict.inference import Inference
from jobs.predict.quarantine_helper import serve
from jobs.storage.places import Places
from models.networks.inputs import decode_square
from models.release import Release
from models.serving.tuning import Tuning
from models.spec import Images, Predictions
from tests.dataset_rows import image_row
from tests.unit.predict.test_predict_loop import DAY, RELEASE, ColourPredictor, colour_jpeg

ROOT = Path(__file__).parents[1]
MARK = b"deadly"
"""At the end of a JPEG on which the decoder ends its process; sound decoders read no further than the image."""

DECODER = f"""
import os, signal
import cv2
decode = cv2.imdecode
def imdecode(jpeg, flags):
    return os.kill(os.getpid(), signal.SIGSEGV) if jpeg.tobytes().endswith({MARK!r}) else decode(jpeg, flags)
cv2.imdecode = imdecode
"""
"""A sitecustomize.py that gives this decoder to every process that imports it."""


def segfault() -> NoReturn:
    """End this process with SIGSEGV, as a fault in native code does."""
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError("it outlived it")


def grey_jpeg() -> bytes:
    """Return a JPEG on which the networks of these tests end their process."""
    return bytes(cv2.imencode(".jpg", np.full((20, 30, 3), 128, np.uint8))[1].tobytes())


def is_grey(images: Images) -> bool:
    """Return whether one of the images is the image of `grey_jpeg`."""
    return bool((np.abs(images.astype(np.int16) - 128) < 4).all(axis=(1, 2, 3)).any())


def write_deadly(
    places: Places, count: int, *, to_decoder: tuple[int, ...] = (), to_networks: tuple[int, ...] = ()
) -> Path:
    """Write a shard of coloured images; those with the given numbers end the decoder's or the networks' process."""
    writer = ShardWriter(places.partition(places.images, DAY), IMAGES, shard_bytes=10**9)
    for number in range(count):
        jpeg = grey_jpeg() if number in to_networks else colour_jpeg(number % 3)
        writer.add(image_row(f"p{number:04d}", jpeg=jpeg + MARK if number in to_decoder else jpeg))
    writer.flush()
    return Path(str(shards(places.images, [DAY])[0]))


def helper(kind: str = "sound", tokens: Path | None = None) -> str:
    """Return the program of a helper without real networks.

    Args:
        kind: `sound`; `broken` ends over a black image too; `sticky` loses its device instead of being killed;
            `halfway` is killed in the middle of an answer.
        tokens: Directory of files; each call of the networks deletes one and ends the process, until none is left.
    """
    given = (kind, str(tokens) if tokens else None)
    return f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.deadly import serve_as; serve_as(*{given!r})"


def serve_as(kind: str, tokens: str | None) -> None:
    """Run as a helper of this kind; see `helper`."""
    decode = decode_square

    def decode_or_die(jpeg: bytes, side_px: int, *, out: Images) -> Images:
        return segfault() if jpeg.endswith(MARK) else decode(jpeg, side_px, out=out)

    class Networks(ColourPredictor):
        def predict(self, images: Images) -> Predictions:
            if is_grey(images) or (kind == "broken" and not images.any()):
                segfault()
            token = next(Path(tokens).iterdir(), None) if tokens and images.any() else None
            if token:
                token.unlink()
                if kind == "sticky":
                    raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered")
                if kind == "halfway":
                    os.write(int(sys.argv[1]), struct.pack("!i", 1000) + b"the first of a thousand bytes")
                os.kill(os.getpid(), signal.SIGKILL)
            return super().predict(images)

    def load_networks(
        _config: object, _shard: object, _directory: object, sent: Release | None, *, cores: int | None
    ) -> networks.LoadedNetworks:
        assert sent == RELEASE
        fitted = Tuning(32, "float32")
        device = f"CPU, {cores or 'all'} cores"
        return networks.LoadedNetworks(sent, Inference(Networks()), device, False, fitted, (), 0.0, engine="openvino")

    patches: list[tuple[object, str, Callable[..., object]]] = [
        (image_batches, "decode_square", decode_or_die),
        (networks, "load_networks", load_networks),
    ]
    for module, name, replacement in patches:
        setattr(module, name, replacement)
    serve(int(sys.argv[1]))

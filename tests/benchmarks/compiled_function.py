"""The yardstick of the engines: TensorFlow's compiled function over a release's variables, in batches of 32.

It computes in a process of its own, so that TensorFlow's threads and memory are not those of the measured one.
"""

from __future__ import annotations

import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from jobs.predict.config import DEFAULT_BATCH
from models.release import load_release


class CompiledFunction:
    """A process that computes the decoded images of one shard on request, as often as it is asked."""

    def __init__(self, release_dir: Path, shard: Path) -> None:
        """Start the process, and wait until it has decoded the images and computed a batch.

        Args:
            release_dir: Directory of the release.
            shard: Dataset file on this machine.
        """
        context = get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, release_dir, shard), daemon=True)
        self._process.start()
        other.close()
        self._pipe.recv()

    def rate(self) -> float:
        """Compute all images once, and return images a second."""
        self._pipe.send(True)
        found: float = self._pipe.recv()
        return found

    def __enter__(self) -> CompiledFunction:
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._pipe.close()
        self._process.join()


def _serve(pipe: Connection, release_dir: Path, shard: Path) -> None:
    from models.serving.environment import prepare_environment, quiet_start

    prepare_environment()
    with quiet_start():
        from jobs.dataset.reading import read_shard

        release = load_release(release_dir)
        function = compiled_over_variables(release_dir)
        reader = read_shard(shard, side_px=release.decode_px, batch_size=DEFAULT_BATCH, workers=2)
        batches = [batch.images.copy() for batch in reader]
        function(batches[0])
    count = sum(map(len, batches))
    pipe.send(True)
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        started = time.perf_counter()
        for images in batches:
            function(images)
        pipe.send(count / (time.perf_counter() - started))


def compiled_over_variables(release_dir: Path) -> Any:
    """Return a release's networks as one `tf.function` from uint8 images to arrays; its weights are variables."""
    import tensorflow as tf

    from models.serving.keras_engine import LoadedKerasNetworks

    release = load_release(release_dir)
    networks = LoadedKerasNetworks(release, release_dir, precision="float32")
    signature = tf.TensorSpec((None, release.decode_px, release.decode_px, 3), tf.uint8)
    function = tf.function(networks, input_signature=[signature], autograph=False)
    return lambda images: [part.numpy() for part in function(tf.constant(images))]

"""How much feeding a training from the dataset costs against feeding it from memory.

    python -m tests.benchmarks.bench_training --images 1024 --network efficientnetb0 --input-px 224

Writes a labelled dataset of photographs as ingest stores them (320 px), compiles one network, and times steps of the
same model: on decoded squares in memory, and on what Petastorm's workers decode, augment and shuffle meantime.
Both take turns, so that other work on the machine slows both. Prints images per second of each round, and the median of
the rounds' ratios, which should be at least 0.9.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from models.serving.environment import prepare_environment

prepare_environment()

from jobs.dataset.labels import labelled_images  # noqa: E402
from jobs.storage.places import Places  # noqa: E402 - TensorFlow reads its settings when it is imported
from jobs.training.batches import DatasetBatches  # noqa: E402
from models.networks.registry import architecture  # noqa: E402
from models.spec import NetworkSpec  # noqa: E402
from models.training.phases import compiled  # noqa: E402
from models.training.recipe import Recipe, Task  # noqa: E402
from tests import labelled  # noqa: E402

WARM_STEPS = 3


def main() -> None:
    """Parse, time, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--network", default="efficientnetb0")
    parser.add_argument("--input-px", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        print(json.dumps(measure(options, Places(Path(place)))))


def measure(options: argparse.Namespace, places: Places) -> dict[str, Any]:
    """Return images per second from memory and from the dataset."""
    labelled.jpeg_of = photograph  # type: ignore[assignment]
    products = [(f"p{number:06d}", labelled.LEAVES[number % 3], [number]) for number in range(options.images)]
    for start in range(0, len(products), 256):
        labelled.write_labelled(places, products[start : start + 256], version=start // 256)
    images = labelled_images(places)
    side_px, batch_size = options.input_px, options.batch_size
    numbers = (side_px, batch_size, options.workers)
    data = DatasetBatches(images, images[:batch_size], labelled.LEAVES, *numbers, places=places)
    network = NetworkSpec(options.network, side_px, "w", "", 1.0)
    model = architecture(options.network).build(input_px=side_px, categories=3)
    task = Task(network, side_px, data.counts(), places.local_home)
    whole = compiled(task, Recipe(train_norms=True), model, data.steps, head=False)
    squares, labels = next(iter(data.batches(0)))
    timed(whole, ((squares, labels) for _ in range(WARM_STEPS)), WARM_STEPS)
    rounds = []
    for number in range(options.rounds):
        memory = timed(whole, ((squares, labels) for _ in range(data.steps)), data.steps)
        rounds.append((round(memory, 1), round(timed(whole, data.batches(number), data.steps), 1)))
    ratio = statistics.median(dataset / memory for memory, dataset in rounds)
    return {**vars(options), "images_per_second_memory_dataset": rounds, "ratio": round(ratio, 3)}


def timed(whole: Any, batches: Iterator[Any], steps: int) -> float:
    """Train on batches as `models.training.loop` does; return images per second, the wait for them included."""
    count = 0

    def ready() -> Iterator[tuple[Any, Any]]:
        nonlocal count
        for squares, labels in batches:
            count += len(labels)
            yield squares, np.eye(3, dtype=np.float32)[labels]

    started = time.perf_counter()
    whole.fit(ready(), steps_per_epoch=steps, epochs=1, verbose=0, shuffle=False)
    return count / (time.perf_counter() - started)


def photograph(number: int, *, shade: int = 255) -> bytes:
    """Return a detailed picture of 320 x 426 px, another one for another number."""
    random = np.random.default_rng(number)
    coarse = random.integers(0, 256, (24, 32, 3), np.uint8)
    fine = random.normal(0, 6, (320, 426, 3))
    pixels = np.clip(cv2.resize(coarse, (426, 320), interpolation=cv2.INTER_CUBIC) + fine, 0, shade).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())


if __name__ == "__main__":
    main()

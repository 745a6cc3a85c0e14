"""Pipeline efficiency of predict: the whole step against the networks' bare compiled function, in one run.

    python -m tests.benchmarks.bench_predict --photos PHOTOS --networks both
    python -m tests.benchmarks.bench_predict --photos PHOTOS --networks efficientnetb0
    python -m tests.benchmarks.bench_predict --backend jax --precision mixed_float16 --in-flight 2 --workers 8 \\
        --batch-size 0 --images 50000

The step is what a task does: Petastorm reads a shard from disk, its threads decode, the networks answer, the prediction
file is written. The bare function gets the same images in the same batches, decoded already. Both are measured in turn,
so that a noisy machine slows both; the ratio is taken within each round. Start-up and model load are in neither.

The last form is for a machine with an accelerator: whichever backend of Keras has the device serves, without Java,
PySpark or TensorFlow, and a batch size of 0 is found by trying, as a predict task does.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from models.serving.environment import prepare_environment, quiet_start

_STAGES = ("decoding", "waiting", "predicting", "writing", "thumbnails")
NETWORKS = {"both": {"efficientnetb0": 224, "xception": 299}, "efficientnetb0": {"efficientnetb0": 224}}


@dataclass(frozen=True)
class Round:
    """One round's rates, in images a second, and the step's seconds by stage."""

    bare: float
    whole: float
    stages: dict[str, float]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a directory of JPEGs; made-up ones without it")
    parser.add_argument("--networks", choices=NETWORKS, default="both")
    parser.add_argument("--images", type=int, default=0, help="a round; by default what takes about half a minute")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backend", choices=("tensorflow", "jax", "torch"), default="tensorflow", help="Keras's")
    parser.add_argument("--precision", choices=("float32", "mixed_float16"), default="float32")
    parser.add_argument("--batch-size", type=int, default=32, help="images a call; 0 doubles until it stops paying")
    parser.add_argument("--in-flight", type=int, default=1, help="calls of the networks at once")
    parser.add_argument("--workers", type=int, default=2, help="decoding threads")
    options = parser.parse_args()
    os.environ["KERAS_BACKEND"] = options.backend
    prepare_environment()
    count = options.images or (256 if options.networks == "both" else 1600)
    with tempfile.TemporaryDirectory() as scratch:
        rounds, where = measure(Path(scratch), count, options)
    from tests.benchmarks.photos import stamp

    print(f"# {stamp()}, {count} photographs a round, networks: {options.networks}, {where}")
    print("round  bare/s  whole/s  ratio  decoding  waiting  predicting  writing  of it thumbnails (seconds)")
    for number, each in enumerate(rounds, 1):
        stages = "  ".join(f"{each.stages[name]:8.2f}" for name in _STAGES)
        print(f"{number:5d}  {each.bare:6.1f}  {each.whole:7.1f}  {each.whole / each.bare:5.3f}  {stages}")
    print(f"median pipeline efficiency: {statistics.median(each.whole / each.bare for each in rounds):.3f}")
    return 0


def measure(scratch: Path, count: int, options: argparse.Namespace) -> tuple[list[Round], str]:
    """Run the rounds, and say on what."""
    with quiet_start():
        from jobs.dataset.reading import read_shard
        from jobs.predict.config import PredictConfig
        from jobs.predict.job import predict_shard
        from jobs.predict.networks import ComputeReport
        from jobs.storage.places import Places
        from models.release import load_release
        from models.serving.devices import device
        from models.serving.predictor import EnsemblePredictor
        from models.serving.tuning import find_batch_size
        from tests.benchmarks.photos import CATEGORIES, DAY, photographs, shards_of
        from tests.untrained import untrained_release

        release_dir = untrained_release(
            scratch / "release", NETWORKS[options.networks], CATEGORIES, release_id="untrained"
        )
        release = load_release(release_dir)
        predictor = EnsemblePredictor(release, release_dir, precision=options.precision)
        batch_size = options.batch_size or find_batch_size(predictor)
    places = Places(scratch / "home")
    [shard] = shards_of(photographs(options.photos, scratch / "photos", count), places, shard_bytes=1 << 40)
    config = PredictConfig("bench", (DAY,), places, release_dir, batch_size, options.workers)
    reader = read_shard(shard, side_px=release.decode_px, batch_size=batch_size, workers=options.workers)
    batches = [batch.images.copy() for batch in reader]
    predictor.predict(batches[0])
    measured = []
    for _ in range(options.rounds):
        started = time.perf_counter()
        for images in batches:
            predictor.predict(images)
        middle = time.perf_counter()
        report = predict_shard(shard, predictor, release, config, on=ComputeReport(in_flight=options.in_flight))
        ended = time.perf_counter()
        stages = {name: getattr(report, f"{name}_seconds") for name in _STAGES}
        measured.append(Round(count / (middle - started), count / (ended - middle), stages))
    how = f"{options.backend}, {options.precision}, batches of {batch_size}, {options.in_flight} in flight"
    return measured, f"{device().name}, {how}"


if __name__ == "__main__":
    sys.exit(main())

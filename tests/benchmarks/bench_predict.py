"""Pipeline efficiency of predict: the whole step against the networks' bare compiled function, in one run.

    python -m tests.benchmarks.bench_predict --photos PHOTOS --networks both
    python -m tests.benchmarks.bench_predict --photos PHOTOS --networks efficientnetb0

The step is what a task does: Petastorm reads a shard from disk, its threads decode, the networks answer, the prediction
file is written. The bare function gets the same images in the same batches, decoded already. Both are measured in turn,
so that a noisy machine slows both; the ratio is taken within each round. Start-up and model load are in neither.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from models.environment import prepare_environment, quiet_start

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
    options = parser.parse_args()
    prepare_environment()
    count = options.images or (256 if options.networks == "both" else 1600)
    with tempfile.TemporaryDirectory() as scratch:
        rounds = measure(Path(scratch), options.photos, NETWORKS[options.networks], count, options.rounds)
    from tests.benchmarks.photos import stamp

    print(f"# {stamp()}, {count} photographs a round, networks: {options.networks}")
    print("round  bare/s  whole/s  ratio  decoding  waiting  predicting  writing (seconds)")
    for number, each in enumerate(rounds, 1):
        stages = "  ".join(f"{each.stages[name]:8.2f}" for name in ("decoding", "waiting", "predicting", "writing"))
        print(f"{number:5d}  {each.bare:6.1f}  {each.whole:7.1f}  {each.whole / each.bare:5.3f}  {stages}")
    print(f"median pipeline efficiency: {statistics.median(each.whole / each.bare for each in rounds):.3f}")
    return 0


def measure(scratch: Path, photos: Path | None, networks: dict[str, int], count: int, rounds: int) -> list[Round]:
    """Run the rounds."""
    with quiet_start():
        from jobs.config import Places, PredictConfig
        from jobs.dataset import read_shard
        from jobs.predict import predict_shard
        from models.predictor import EnsemblePredictor
        from models.release import load_release
        from tests.benchmarks.photos import CATEGORIES, DAY, photographs, shards_of
        from tests.untrained import untrained_release

        release_dir = untrained_release(scratch / "release", networks, CATEGORIES, release_id="untrained")
        release = load_release(release_dir)
        predictor = EnsemblePredictor(release, release_dir)
    places = Places(scratch / "home")
    [shard] = shards_of(photographs(photos, scratch / "photos", count), places, shard_bytes=1 << 40)
    config = PredictConfig("bench", (DAY,), places, release_dir)
    reader = read_shard(shard, side_px=release.decode_px, batch_size=config.batch_size, workers=2)
    batches = [batch.images.copy() for batch in reader]
    predictor.predict(batches[0])
    measured = []
    for _ in range(rounds):
        started = time.perf_counter()
        for images in batches:
            predictor.predict(images)
        middle = time.perf_counter()
        report = predict_shard(shard, predictor, release, config)
        ended = time.perf_counter()
        stages = {name: getattr(report, f"{name}_seconds") for name in ("decoding", "waiting", "predicting", "writing")}
        measured.append(Round(count / (middle - started), count / (ended - middle), stages))
    return measured


if __name__ == "__main__":
    sys.exit(main())

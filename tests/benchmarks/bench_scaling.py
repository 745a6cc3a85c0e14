"""Images a second of two executors of one core against one executor of one core, on the same catalog.

    python -m tests.benchmarks.bench_scaling

A standalone cluster of two workers on this machine; the networks are loaded before the clock starts, by predicting a
few images. Each setting is measured in turn, several times, and the ratio taken within a round. Needs two cores that
nothing else uses.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

from models.serving.environment import prepare_environment


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    prepare_environment()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        rounds = measure(Path(scratch), options.images, options.rounds)
    from tests.benchmarks.photos import stamp

    print(f"# {stamp()}, {options.images} photographs, EfficientNetB0 at 224 px")
    print("round  one executor/s  two executors/s  ratio")
    for number, (one, two) in enumerate(rounds, 1):
        print(f"{number:5d}  {one:14.1f}  {two:15.1f}  {two / one:5.2f}")
    print(f"median ratio: {statistics.median(two / one for one, two in rounds):.2f}")
    return 0


def measure(scratch: Path, count: int, rounds: int) -> list[tuple[float, float]]:
    """Return the rates of one and of two executors, in images a second, for each round."""
    from jobs.storage.places import Places
    from tests.benchmarks.photos import CATEGORIES, DAY, photographs, shards_of
    from tests.standalone import Worker, standalone
    from tests.untrained import untrained_release

    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    places = Places(scratch / "home")
    release_dir = untrained_release(scratch / "release", {"efficientnetb0": 224}, CATEGORIES, release_id="untrained")
    pictures = photographs(None, scratch / "photos", count)
    size = sum(path.stat().st_size for path in pictures) // 16
    assert len(shards_of(pictures, places, shard_bytes=size)) > 8
    shards_of(pictures[:16], places, day=DAY - timedelta(days=1), shard_bytes=size // 100)
    with standalone(scratch / "cluster", [Worker(1), Worker(1)]) as cluster:
        return [
            (
                rate(cluster.url, places, release_dir, executors=1, name=f"{number}-one"),
                rate(cluster.url, places, release_dir, executors=2, name=f"{number}-two"),
            )
            for number in range(rounds)
        ]


def rate(master: str, places: object, release_dir: Path, *, executors: int, name: str) -> float:
    """Predict with so many executors and return images a second, networks loaded."""
    from jobs.predict.config import Computing, PredictConfig
    from jobs.predict.job import run
    from jobs.spark.config import SparkConfig
    from jobs.spark.session import spark_session
    from jobs.storage.places import Places
    from models.release import load_release
    from tests.benchmarks.photos import DAY

    assert isinstance(places, Places)
    properties = {"spark.cores.max": str(executors)}
    spark_config = SparkConfig(master, "1g", places.scratch, places.local_home, 1, properties=properties)
    release = load_release(release_dir)
    computing = Computing(precision="float32")  # pinned, so that no image is computed in bfloat16 beside
    with spark_session(spark_config, name="scaling", task_cpus=1) as spark:
        for run_id, day in ((f"warm-{name}", DAY - timedelta(days=1)), (f"timed-{name}", DAY)):
            config = PredictConfig(run_id, (day,), places, release_dir, computing=computing)
            done = run(lambda: nullcontext(spark), config, release)
    return done.images / done.seconds


if __name__ == "__main__":
    sys.exit(main())

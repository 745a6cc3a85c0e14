"""Peak memory of a predicting process over 2,000 and over 20,000 images; it must not grow with the catalog.

    python -m tests.benchmarks.bench_memory --photos PHOTOS

Each size runs in a process of its own, over shards of 64 MB, with one small network so that it takes minutes.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from models.serving.environment import prepare_environment

PART = 2000


def main() -> int:
    """Measure both sizes and print their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a directory of JPEGs; made-up ones without it")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    prepare_environment()
    if options.child:
        print(peak_bytes(Path(options.child[0]), int(options.child[1])))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        prepare(Path(scratch), options.photos)
        peaks = {}
        for parts in (1, 10):
            command = [sys.executable, "-m", "tests.benchmarks.bench_memory", "--child", scratch, str(parts)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
            peaks[parts] = int(done.stdout.split()[-1])
    from tests.benchmarks.photos import stamp

    print(f"# {stamp()}")
    for parts, peak in peaks.items():
        print(f"{parts * PART:6d} images: peak {peak / 2**20:7.1f} MiB")
    print(f"ratio: {peaks[10] / peaks[1]:.3f}")
    return 0


def prepare(scratch: Path, photos: Path | None) -> None:
    """Write a release and ten partitions of 2,000 images, nine of them links to the first's files."""
    from jobs.storage.places import Places
    from tests.benchmarks.photos import CATEGORIES, DAY, photographs, shards_of
    from tests.untrained import untrained_release

    untrained_release(scratch / "release", {"efficientnetb0": 64}, CATEGORIES, release_id="untrained")
    places = Places(scratch / "home")
    first = shards_of(photographs(photos, scratch / "photos", PART), places)
    for number in range(1, 10):
        partition = places.local_home / "images" / f"ingest_date={DAY + timedelta(days=number)}"
        partition.mkdir(parents=True)
        for shard in first:
            os.link(shard, partition / shard.name)


def peak_bytes(scratch: Path, parts: int) -> int:
    """Predict so many partitions in this process and return its peak memory."""
    from jobs.dataset.shards import shards
    from jobs.predict.config import PredictConfig
    from jobs.predict.job import predict_shard
    from jobs.storage.places import Places
    from models.release import load_release
    from models.serving.predictor import EnsemblePredictor
    from tests.benchmarks.photos import DAY

    release_dir = scratch / "release" / "untrained"
    release = load_release(release_dir)
    predictor = EnsemblePredictor(release, release_dir)
    dates = tuple(DAY + timedelta(days=number) for number in range(parts))
    config = PredictConfig(f"bench-{parts}", dates, Places(scratch / "home"), release_dir)
    for shard in shards(config.places.images, dates):
        predict_shard(shard, predictor, release, config)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())

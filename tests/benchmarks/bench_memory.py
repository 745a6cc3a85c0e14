"""Peak memory of a predicting process over 2,000 and over 20,000 images; it must not grow with the catalog.

    python -m tests.benchmarks.bench_memory --photos PHOTOS

Each size runs in a process of its own, over shards of 64 MB, with one small network so that it takes minutes.
`bench_start` compares the memory of the engines.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from models.serving.environment import prepare_environment
from tests.benchmarks.photos import DAY, photographs, shards_of, stamp
from tests.benchmarks.serving import add_engine_options, lacks_bfloat16, served, untrained
from tests.peak_memory import peak_bytes

PART = 2000


def main() -> int:
    """Measure both sizes and print their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a directory of JPEGs; made-up ones without it")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    add_engine_options(parser)
    options = parser.parse_args()
    prepare_environment()
    if options.child:
        measure(Path(options.child[0]), int(options.child[1]), options)
        return 0
    if lacks_bfloat16(options.precision):
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        prepare(Path(scratch), options.photos)
        peaks = {}
        for parts in (1, 10):
            command = [sys.executable, "-m", "tests.benchmarks.bench_memory", "--child", scratch, str(parts)]
            command += ["--engine", options.engine, "--precision", options.precision]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            peaks[parts], what = json.loads(done.stdout.splitlines()[-1])
    print(f"# {stamp()}, EfficientNetB0 at 64 px, {what}")
    for parts, peak in peaks.items():
        print(f"{parts * PART:6d} images: peak {peak / 2**20:7.1f} MiB")
    print(f"ratio: {peaks[10] / peaks[1]:.3f}")
    return 0


def prepare(scratch: Path, photos: Path | None) -> None:
    """Write a release and ten partitions of 2,000 images, nine of them links to the first's files."""
    from jobs.storage.places import Places

    untrained(scratch / "release", {"efficientnetb0": 64})
    places = Places(scratch / "home")
    first = shards_of(photographs(photos, scratch / "photos", PART), places)
    for number in range(1, 10):
        partition = places.local_home / "images" / f"ingest_date={DAY + timedelta(days=number)}"
        partition.mkdir(parents=True)
        for shard in first:
            os.link(shard, partition / shard.name)


def measure(scratch: Path, parts: int, options: argparse.Namespace) -> None:
    """Predict so many partitions in this process, and print its peak memory in bytes and what computed them."""
    from jobs.dataset.shards import shards
    from jobs.predict.config import PredictConfig
    from jobs.predict.job import predict_shard
    from jobs.storage.places import Places

    dates = tuple(DAY + timedelta(days=number) for number in range(parts))
    config = PredictConfig(f"bench-{parts}", dates, Places(scratch / "home"), scratch / "release" / "untrained")
    loaded = served(config, engine=options.engine, precision=options.precision)
    for shard in shards(config.places.images, dates):
        predict_shard(shard, loaded.networks.inference, loaded.networks.release, loaded.config)
    print(json.dumps([peak_bytes(), loaded.what]))


if __name__ == "__main__":
    sys.exit(main())

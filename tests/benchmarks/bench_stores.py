"""Predict from an S3 server against predict from a local disk: what copying shards ahead costs.

    python -m tests.benchmarks.bench_stores --images 256

Both are what a task does with several shards: read, decode, infer, write the prediction files. From the store each
shard is copied whole to the local disk first, the next one while this one is inferred. The server is a process on this
machine, so the processor time that it takes is counted against the store. Rounds take turns, so that a noisy machine
slows both; the ratio is taken within each round. Start-up and model load are in neither.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from models.serving.environment import prepare_environment
from tests.benchmarks.photos import DAY, photographs, shards_of, stamp
from tests.benchmarks.serving import NETWORKS, add_engine_options, lacks_bfloat16, served, untrained


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a directory of JPEGs; made-up ones without it")
    parser.add_argument("--networks", choices=NETWORKS, default="both")
    parser.add_argument("--images", type=int, default=256, help="a round")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    add_engine_options(parser)
    options = parser.parse_args()
    prepare_environment()
    if lacks_bfloat16(options.precision):
        return 0
    from tests.object_store import object_store

    with tempfile.TemporaryDirectory() as scratch, object_store():
        rounds, what = measure(Path(scratch), options)
    photographs_in_shards = f"{options.images} photographs in {options.shards} shards a round"
    print(f"# {stamp()}, {photographs_in_shards}, networks: {options.networks}, {what}")
    print("round  disk/s  store/s  ratio")
    for number, (disk, store) in enumerate(rounds, 1):
        print(f"{number:5d}  {disk:6.1f}  {store:7.1f}  {store / disk:5.3f}")
    print(f"median of the store against the disk: {statistics.median(store / disk for disk, store in rounds):.3f}")
    return 0


def measure(scratch: Path, options: argparse.Namespace) -> tuple[list[tuple[float, float]], str]:
    """Run the rounds, and return the images a second from disk and store, and what computed them."""
    from jobs.dataset.local_copies import on_disk_in_turn
    from jobs.dataset.shards import shards
    from jobs.predict.config import PredictConfig
    from jobs.predict.job import predict_shard
    from jobs.storage.places import Place, Places
    from jobs.storage.stores import place, put

    release_dir = untrained(scratch / "release", NETWORKS[options.networks])
    disk = Places(scratch / "home")
    photos = photographs(options.photos, scratch / "photos", options.images)
    size = sum(path.stat().st_size for path in photos) // options.shards
    local = shards_of(photos, disk, shard_bytes=size)
    bucket = place("s3://bench/home")
    bucket.fs.mkdir("bench")  # type: ignore[union-attr]
    store = Places(bucket, scratch / "local")
    for shard in local:
        put(shard, store.partition(store.images, DAY) / shard.name)

    loaded = served(
        PredictConfig("bench", (DAY,), disk, release_dir), engine=options.engine, precision=options.precision
    )

    def rate(places: Places, found: list[Place]) -> float:
        config = replace(loaded.config, places=places)
        inference, release = loaded.networks.inference, loaded.networks.release
        started, count = time.perf_counter(), 0
        for shard, path, _ in on_disk_in_turn(found):
            count += predict_shard(shard, inference, release, config, path=path).images
        return count / (time.perf_counter() - started)

    kinds = [(disk, shards(disk.images, [DAY])), (store, shards(store.images, [DAY]))]
    rate(*kinds[0])
    rounds = []
    for _ in range(options.rounds):
        first, second = (rate(*kind) for kind in kinds)
        rounds.append((first, second))
    return rounds, loaded.what


if __name__ == "__main__":
    sys.exit(main())

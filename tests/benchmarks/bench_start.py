"""What a predicting process costs before its first image: seconds of its start, and its memory, by each engine.

    python -m tests.benchmarks.bench_start
    python -m tests.benchmarks.bench_start --networks both

Each measurement is a process of its own that loads a release as a task does and predicts one shard; the engines take
turns. `loading` is the time to import the engine and build the networks, `first answer` that from the start of the
process to the answers of its first batch. The release is converted before, as it is once for all processes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from models.serving.environment import prepare_environment
from tests.benchmarks.photos import DAY, photographs, shards_of, stamp
from tests.benchmarks.serving import NETWORKS, served, untrained
from tests.peak_memory import peak_bytes

SHIPPED = "shipped"
ENGINES = {"openvino": "OpenVINO", "keras": "Keras"}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a directory of JPEGs; made-up ones without it")
    parser.add_argument(
        "--networks", choices=(SHIPPED, *NETWORKS), default=SHIPPED, help="shipped is the demo's release"
    )
    parser.add_argument("--images", type=int, default=256, help="in the shard")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    prepare_environment()
    if options.child:
        engine, release, home, started = options.child
        measure(engine, Path(release), Path(home), float(started))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        found = compare(Path(scratch), options)
    print(f"# {stamp()}, networks: {options.networks}, medians of {options.rounds} processes, {options.images} images")
    medians = {}
    for name, rows in found.items():
        medians[name] = [statistics.median(column) for column in zip(*rows, strict=True)]
        loading, first, peak = medians[name]
        print(f"{ENGINES[name]:8s}  loading {loading:6.2f} s  first answer {first:6.2f} s  peak {peak:7.1f} MiB")
    print(f"memory by OpenVINO of that by Keras: {medians['openvino'][2] / medians['keras'][2]:.3f}")
    return 0


def compare(scratch: Path, options: argparse.Namespace) -> dict[str, list[list[float]]]:
    """Run the processes; return by engine the seconds of loading and of the first answer, and MiB, of each."""
    from jobs.predict.config import PredictConfig
    from jobs.predict.conversions import converted_files
    from jobs.storage.places import Places
    from models.release import SHIPPED as SHIPPED_DIR
    from models.release import load_release

    named = options.networks
    release_dir = SHIPPED_DIR if named == SHIPPED else untrained(scratch / "release", NETWORKS[named])
    places = Places(scratch / "home")
    shards_of(photographs(options.photos, scratch / "photos", options.images), places, shard_bytes=1 << 40)
    converted_files(PredictConfig("bench", (DAY,), places, release_dir), load_release(release_dir))
    found: dict[str, list[list[float]]] = {name: [] for name in ENGINES}
    for _ in range(options.rounds):
        for name, rows in found.items():
            words = [name, str(release_dir), str(places.local_home), str(time.monotonic())]
            command = [sys.executable, "-m", "tests.benchmarks.bench_start", "--child", *words]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=dict(os.environ))
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    return found


def measure(engine: str, release_dir: Path, home: Path, started: float) -> None:
    """Load a release and predict a shard in this process; print seconds of loading and first answer, and MiB."""
    import numpy as np

    from jobs.dataset.shards import shards
    from jobs.predict.config import PredictConfig
    from jobs.predict.job import predict_shard
    from jobs.storage.places import Places

    loaded = served(PredictConfig(f"bench-{engine}", (DAY,), Places(home), release_dir), engine=engine)
    networks, side_px = loaded.networks, loaded.networks.inference.decode_px
    networks.inference.answer(np.zeros((loaded.config.batch_size, side_px, side_px, 3), np.uint8))
    first = time.monotonic() - started
    [shard] = shards(loaded.config.places.images, [DAY])
    predict_shard(shard, networks.inference, networks.release, loaded.config, gate=networks.gate)
    peak = peak_bytes() / 2**20
    print(json.dumps([networks.loading_seconds, first, peak]))


if __name__ == "__main__":
    sys.exit(main())

"""What it costs to judge which images a release knows: the share of predict's time, and the memory of a process.

    python -m tests.benchmarks.bench_gate --photos PHOTOS
    python -m tests.benchmarks.bench_gate --photos PHOTOS --networks both

`shipped` is the demo's release, whose small networks leave the gate the largest share; `both` are untrained networks of
the sizes that they were designed for, judged by what the shipped release knows, because their features are as many. The
step is what a task does with a shard, see `bench_predict`. The share is that of the seconds in which images are judged,
and the statistics of their pixels computed, in those of the step, in each round. The memory is the difference of the
peaks of processes that predict the same shard with the gate and without; they take turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.predict.config import PredictConfig
from models.known.gate import ImageGate, load_gate
from models.release import SHIPPED, load_release
from models.serving.environment import prepare_environment
from tests.benchmarks.photos import DAY, photographs, shards_of, stamp
from tests.benchmarks.serving import NETWORKS, add_engine_options, lacks_bfloat16, served, untrained
from tests.peak_memory import peak_bytes

_SHIPPED = "shipped"
COUNTS = {_SHIPPED: 2048, "both": 256}
"""Photographs of a round; enough for some seconds."""


class Stopwatch:
    """Measures the seconds within functions."""

    def __init__(self) -> None:
        """Start at 0."""
        self.seconds = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does the same, with its seconds measured."""

        def measured(*given: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*given)
            finally:
                self.seconds += time.perf_counter() - started

        return measured


@dataclass(frozen=True)
class Cost:
    """What one process measured.

    Attributes:
        shares: Seconds within the gate of those of the whole step, in each round.
        rates: Images a second of the whole step, in each round.
        peak_bytes: Peak memory of the process.
        what: Device, engine and precision.
    """

    shares: list[float]
    rates: list[float]
    peak_bytes: int
    what: str


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a directory of JPEGs; made-up ones without it")
    parser.add_argument("--networks", choices=(_SHIPPED, "both"), default=_SHIPPED)
    parser.add_argument("--images", type=int, default=0, help="a round; by default what takes some seconds")
    parser.add_argument("--rounds", type=int, default=3, help="within a process")
    parser.add_argument("--processes", type=int, default=3, help="with the gate, and as many without")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    add_engine_options(parser)
    options = parser.parse_args()
    prepare_environment()
    if options.child:
        release_dir, home, gated = options.child
        print(json.dumps(vars(measure(Path(release_dir), Path(home), gated == "gated", options))))
        return 0
    if lacks_bfloat16(options.precision):
        return 0
    count = options.images or COUNTS[options.networks]
    with tempfile.TemporaryDirectory() as scratch:
        costs = compare(Path(scratch), count, options)
    print(f"# {stamp()}, {count} photographs a round, networks: {options.networks}, {costs['gated'][0].what}")
    shares = [share for cost in costs["gated"] for share in cost.shares]
    for name, found in costs.items():
        rates = [rate for cost in found for rate in cost.rates]
        peak = statistics.median(cost.peak_bytes for cost in found) / 2**20
        print(f"{name:6s}  {statistics.median(rates):8.1f} images/s  peak {peak:7.1f} MiB")
    more = [one.peak_bytes - other.peak_bytes for one, other in zip(costs["gated"], costs["open"], strict=True)]
    spread = f"in rounds of {100 * min(shares):.2f} to {100 * max(shares):.2f} %"
    share, memory = 100 * statistics.median(shares), statistics.median(more) / 1e6
    print(f"the gate takes {share:.2f} % of the step, {spread}, and {memory:.1f} MB of a process")
    return 0


def compare(scratch: Path, count: int, options: argparse.Namespace) -> dict[str, list[Cost]]:
    """Run processes with the gate and without in turn; return what they measured."""
    from jobs.predict.conversions import converted_files
    from jobs.storage.places import Places

    release_dir = SHIPPED if options.networks == _SHIPPED else untrained(scratch / "release", NETWORKS["both"])
    places = Places(scratch / "home")
    shards_of(photographs(options.photos, scratch / "photos", count), places, shard_bytes=1 << 40)
    converted_files(PredictConfig("bench", (DAY,), places, release_dir), load_release(release_dir))
    costs: dict[str, list[Cost]] = {"gated": [], "open": []}
    for _ in range(options.processes):
        for name, found in costs.items():
            command = [sys.executable, "-m", "tests.benchmarks.bench_gate", "--child", str(release_dir)]
            command += [str(places.local_home), name, "--rounds", str(options.rounds)]
            command += ["--engine", options.engine, "--precision", options.precision]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found.append(Cost(**json.loads(done.stdout.splitlines()[-1])))
    return costs


def measure(release_dir: Path, home: Path, gated: bool, options: argparse.Namespace) -> Cost:
    """Predict the shard in this process, as often as there are rounds."""
    from jobs.dataset.shards import shards
    from jobs.predict import networks
    from jobs.predict.job import predict_shard
    from jobs.storage.places import Places
    from models.serving import predictor

    watch = Stopwatch()
    networks.load_gate = lambda *_: ImageGate()  # type: ignore[attr-defined]  # it is loaded below, if at all
    predictor.pixel_statistics = watch.timed(predictor.pixel_statistics)  # type: ignore[attr-defined]  # for the gate alone
    config = PredictConfig("bench", (DAY,), Places(home), release_dir)
    loaded = served(config, engine=options.engine, precision=options.precision)
    gate = ImageGate()
    if gated:
        gate = load_gate(load_release(SHIPPED), SHIPPED)
        gate.judge = watch.timed(gate.judge)  # type: ignore[method-assign]
    [shard] = shards(loaded.config.places.images, [DAY])
    shares, rates = [], []
    for _ in range(options.rounds):
        watch.seconds, started = 0.0, time.perf_counter()
        report = predict_shard(
            shard, loaded.networks.inference, loaded.networks.release, loaded.config, gate=gate if gated else None
        )
        seconds = time.perf_counter() - started
        shares.append(watch.seconds / seconds)
        rates.append(report.images / seconds)
    return Cost(shares, rates, peak_bytes(), loaded.what)


if __name__ == "__main__":
    sys.exit(main())

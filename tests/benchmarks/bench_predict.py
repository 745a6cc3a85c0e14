"""Pipeline efficiency of predict: the whole step against the networks alone, in one run.

    python -m tests.benchmarks.bench_predict --photos PHOTOS --networks both
    python -m tests.benchmarks.bench_predict --photos PHOTOS --networks efficientnetb0 --precision bfloat16
    python -m tests.benchmarks.bench_predict --backend jax --precision mixed_float16 --in-flight 2 --workers 8 \\
        --batch-size 0 --images 50000

The step is what a task does: Petastorm reads a shard from disk, its threads decode, the networks answer, the prediction
file is written. It is compared with two others that get the same images, decoded already: TensorFlow's compiled
function over the networks' variables, in float32 and batches of 32, in a process of its own (`function`), and the
engine that the step itself uses (`bare`). All are measured in turn, so that a noisy machine slows all; the ratios are
taken within each round. Start-up and model load are in none.

The last form is for a machine with an accelerator: whichever backend of Keras has the device serves, without Java,
PySpark or TensorFlow, and a batch size of 0 is found by trying, as a predict task does. There is no `function` there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from models.serving.environment import prepare_environment
from tests.benchmarks.compiled_function import CompiledFunction
from tests.benchmarks.photos import stamp
from tests.benchmarks.serving import NETWORKS, add_engine_options, lacks_bfloat16, served, untrained

_STAGES = ("decoding", "waiting", "predicting", "writing", "thumbnails")


@dataclass(frozen=True)
class Round:
    """One round's rates, in images a second, and the step's seconds by stage.

    Attributes:
        function: Rate of TensorFlow's compiled function; None where it is not measured.
        bare: Rate of the engine alone.
        whole: Rate of the whole step.
        stages: Seconds by stage.
    """

    function: float | None
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
    add_engine_options(parser)
    parser.add_argument("--batch-size", type=int, default=32, help="images a call; 0 doubles until it stops paying")
    parser.add_argument("--in-flight", type=int, default=1, help="calls of the networks at once")
    parser.add_argument("--workers", type=int, default=2, help="decoding threads")
    options = parser.parse_args()
    if options.backend != "tensorflow" and options.engine == "auto":
        options.engine = "keras"
    os.environ["KERAS_BACKEND"] = options.backend
    prepare_environment()
    if lacks_bfloat16(options.precision):
        return 0
    count = options.images or (256 if options.networks == "both" else 1600)
    with tempfile.TemporaryDirectory() as scratch:
        rounds, where = measure(Path(scratch), count, options)
    print(f"# {stamp()}, {count} photographs a round, networks: {options.networks}, {where}")
    print(
        "round  function/s  bare/s  whole/s  of function  of bare  decoding  waiting  predicting  writing  "
        "of it thumbnails (seconds)"
    )
    for number, each in enumerate(rounds, 1):
        stages = "  ".join(f"{each.stages[name]:8.2f}" for name in _STAGES)
        function = f"{each.function:10.1f}" if each.function else f"{'-':>10s}"
        of_function = f"{each.whole / each.function:11.3f}" if each.function else f"{'-':>11s}"
        of_bare = each.whole / each.bare
        print(f"{number:5d}  {function}  {each.bare:6.1f}  {each.whole:7.1f}  {of_function}  {of_bare:7.3f}  {stages}")
    for name, ratios in (
        ("TensorFlow's compiled function", [each.whole / each.function for each in rounds if each.function]),
        ("the engine alone", [each.whole / each.bare for each in rounds]),
    ):
        if ratios:
            print(f"median of the whole step against {name}: {statistics.median(ratios):.3f}")
    return 0


def measure(scratch: Path, count: int, options: argparse.Namespace) -> tuple[list[Round], str]:
    """Run the rounds, and say on what."""
    from jobs.dataset.reading import read_shard
    from jobs.predict.config import DEFAULT_BATCH, PredictConfig
    from jobs.predict.job import predict_shard
    from jobs.predict.networks import ComputeReport
    from jobs.storage.places import Places
    from tests.benchmarks.photos import DAY, photographs, shards_of

    places, release_dir = Places(scratch / "home"), untrained(scratch / "release", NETWORKS[options.networks])
    [shard] = shards_of(photographs(options.photos, scratch / "photos", count), places, shard_bytes=1 << 40)
    config = PredictConfig("bench", (DAY,), places, release_dir, options.batch_size or DEFAULT_BATCH, options.workers)
    with ExitStack() as running:
        found = served(config, engine=options.engine, precision=options.precision, tune=not options.batch_size)
        config, inference, release = found.config, found.networks.inference, found.networks.release
        reader = read_shard(shard, side_px=release.decode_px, batch_size=config.batch_size, workers=options.workers)
        batches = [batch.images.copy() for batch in reader]
        inference.answer(batches[0])
        with_function = options.backend == "tensorflow" and not found.networks.accelerator
        function = running.enter_context(CompiledFunction(release_dir, shard)) if with_function else None
        measured = []
        for _ in range(options.rounds):
            function_rate = function.rate() if function else None
            started = time.perf_counter()
            for images in batches:
                inference.answer(images)
            middle = time.perf_counter()
            report = predict_shard(shard, inference, release, config, on=ComputeReport(in_flight=options.in_flight))
            ended = time.perf_counter()
            stages = {name: getattr(report, f"{name}_seconds") for name in _STAGES}
            measured.append(Round(function_rate, count / (middle - started), count / (ended - middle), stages))
    return measured, f"{found.what}, {options.in_flight} in flight"


if __name__ == "__main__":
    sys.exit(main())

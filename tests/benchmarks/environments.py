"""Compare two clones with their environments, such as before and after a change of pins: all benchmarks, in turn.

    python -m tests.benchmarks.environments OLD_CLONE NEW_CLONE --photos PHOTOS
    python -m tests.benchmarks.environments OLD_CLONE NEW_CLONE --rounds 3 --only predict --only publish

Each clone has its own `.venv` and runs its own benchmarks, with few images so that a round takes minutes. In each round
the other clone goes first, so that a change in the machine's speed counts for both. A ratio above 1 is a gain.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.photos import stamp


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: its arguments, and what to read from its output.

    Attributes:
        arguments: Command line behind `python -m tests.benchmarks.bench_`.
        figures: By name of a figure, the pattern whose group is its value in the output.
        photos: Whether it takes `--photos`.
    """

    arguments: str
    figures: Mapping[str, str]
    photos: bool = True


_NUMBER = r"\s*([\d.]+)"
BENCHMARKS = {
    "predict": Benchmark(
        "predict --networks efficientnetb0 --images 768 --rounds 1",
        {"images/s": rf"^ +1{_NUMBER.replace('(', '(?:')}{_NUMBER}", "networks alone, images/s": rf"^ +1{_NUMBER}"},
    ),
    "training": Benchmark(
        "training --images 256 --rounds 1",
        {"images/s": r'dataset": \[\[[\d.]+, ([\d.]+)\]', "from memory, images/s": r'dataset": \[\[([\d.]+)'},
        photos=False,
    ),
    "incremental": Benchmark(
        "incremental --images 2000",
        {"first night, seconds": rf"^night 1:{_NUMBER}", "unchanged night, seconds": rf"^night 2:{_NUMBER}"},
    ),
    "stores": Benchmark(
        "stores --networks efficientnetb0 --images 256 --rounds 1",
        {"images/s": rf"^ +1{_NUMBER.replace('(', '(?:')}{_NUMBER}"},
    ),
    "scaling": Benchmark(
        "scaling --images 256 --rounds 1",
        {"two executors, images/s": rf"^ +1{_NUMBER.replace('(', '(?:')}{_NUMBER}"},
        photos=False,
    ),
    "publish": Benchmark(
        "publish --rows 200000 --repeats 1",
        {"new, rows/s": rf"new{_NUMBER} rows/s", "unchanged, rows/s": rf"unchanged{_NUMBER} rows/s"},
        photos=False,
    ),
    "readers": Benchmark(
        "readers --rows 200000", {"longest wait, ms": rf"publishing for.*longest{_NUMBER} ms"}, photos=False
    ),
    "queries": Benchmark(
        "queries --products 200000",
        {
            "current category, ms": rf"^current_categories of a product:{_NUMBER} ms",
            "review page, ms": rf"^review_queue:{_NUMBER} ms",
            "counts, ms": rf"^category_counts:{_NUMBER} ms",
        },
        photos=False,
    ),
    "memory": Benchmark("memory", {"20,000 images, MiB": rf"^ *20000 images: peak{_NUMBER}"}),
}
"""By name of the module behind `bench_`. Seconds, milliseconds and MiB are better when they are lower."""


def main() -> int:
    """Run the rounds and print a table of medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="a clone with its .venv")
    parser.add_argument("new", type=Path, help="another one")
    parser.add_argument("--photos", type=Path, help="a directory of JPEGs; made-up ones without it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="may be repeated; all without it")
    options = parser.parse_args()
    print(f"# {stamp()}, {options.rounds} rounds")
    print("| benchmark | figure | old | new | new against old, median | lowest and highest |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in options.only or BENCHMARKS:
        rounds = [measured(name, options, number) for number in range(options.rounds)]
        for figure in BENCHMARKS[name].figures:
            print(row(name, figure, [(old[figure], new[figure]) for old, new in rounds]), flush=True)
    return 0


def measured(name: str, options: argparse.Namespace, number: int) -> tuple[dict[str, float], dict[str, float]]:
    """Run a benchmark once in both clones, and return the figures of the old and the new one."""
    clones = [options.old, options.new]
    results = {clone: run(clone, BENCHMARKS[name], options.photos) for clone in clones[:: -1 if number % 2 else 1]}
    return results[options.old], results[options.new]


def run(clone: Path, benchmark: Benchmark, photos: Path | None) -> dict[str, float]:
    """Run a benchmark in a clone and return its figures by name."""
    module, *words = benchmark.arguments.split()
    command = [str(clone.absolute() / ".venv" / "bin" / "python"), "-m", f"tests.benchmarks.bench_{module}", *words]
    if photos and benchmark.photos:
        command += ["--photos", str(photos.absolute())]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True)
    figures = {}
    for figure, pattern in benchmark.figures.items():
        found = re.search(pattern, done.stdout, re.MULTILINE)
        if done.returncode or not found:
            sys.exit(f"{' '.join(command)} in {clone} gave no {figure}:\n{done.stdout}{done.stderr[-2000:]}")
        figures[figure] = float(found[1])
    return figures


def row(name: str, figure: str, pairs: Sequence[tuple[float, float]]) -> str:
    """Return a row of the table for the figures of the old and the new clone, one pair a round."""
    ratios = [new / old if figure.endswith("/s") else old / new for old, new in pairs]
    old, new = (statistics.median(side) for side in zip(*pairs, strict=True))
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return f"| {name} | {figure} | {old:,.1f} | {new:,.1f} | {statistics.median(ratios):.2f} | {spread} |"


if __name__ == "__main__":
    sys.exit(main())

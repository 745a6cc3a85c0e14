"""A first release from labelled photographs: how long it takes, and how good it is on photographs that it has not seen.

    python -m tests.benchmarks.bench_first_release --photos clothing/train --held-out clothing/validation \\
        --weights xception_imagenet_notop.weights.h5 [--engine keras]

`--photos` and `--held-out` are directories with a folder for each category. The commands are those of a user: ingest,
`finetune --quick --promote`, and the same again with other seeds and the other promise, for which no features are
computed. Every release answers the held-out photographs, of which no product taught, chose or calibrated anything.

The first seconds of each promise are those of a release whose features are not there yet. `--engine keras` computes
with TensorFlow, and `--engine openvino` with OpenVINO, whatever the environment says.

`--later 50` keeps back 50 of the photographs, spread over the categories. At the end they are labelled: ingest and
`finetune --quick --promote` are timed again, which is what somebody waits for who has labelled some more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.answers.promises import PROMISES

DAY, NEXT_DAY = "2026-11-01", "2026-11-02"
ENGINES = ("openvino", "keras")
DRAWS = 10_000


def main() -> int:
    """Make a release for each seed, measure them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--weights", required=True, help="what --start-from takes")
    parser.add_argument("--network", default="xception")
    parser.add_argument("--input-px", type=int, default=299)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9, 10, 11])
    parser.add_argument("--promises", nargs="+", choices=PROMISES, default=list(PROMISES))
    parser.add_argument("--engine", choices=ENGINES, help="what computes the networks; the usual one without it")
    parser.add_argument("--later", type=int, default=0, help="photographs that are labelled after the first release")
    options = parser.parse_args()
    from tests.benchmarks.photos import stamp

    if options.engine:
        os.environ["SHELFWISE_ENGINE"] = options.engine
    with tempfile.TemporaryDirectory() as name:
        home, held_out, photos = Path(name, "home"), Path(name, "held-out"), Path(name, "photos")
        later = copied(options.photos, photos, without=options.later)
        ingested = run(home, "ingest", "--catalog", str(photos), "--run-date", DAY)[0]
        network = ["--network", options.network, "--input-px", str(options.input_px), "--start-from", options.weights]
        run(held_out, "ingest", "--catalog", str(options.held_out), "--run-date", DAY)
        print(
            f"# {stamp()}, {options.network} at {options.input_px} px by {options.engine or 'the usual engine'}, "
            f"seeds {options.seeds}; ingest {ingested:.0f} s"
        )
        for promise in options.promises:
            print(f"# --promise {promise}")
            report(home, held_out, [*network, "--promise", promise], options.seeds)
        if later:
            label(later, options.photos, photos)
            again = run(home, "ingest", "--catalog", str(photos), "--run-date", NEXT_DAY)[0]
            release = ["--release-id", "later", "--seed", str(options.seeds[0])]
            seconds, _ = run(home, "finetune", "--quick", "--promote", *release, *network)
            print(f"# {len(later)} more photographs: ingest {again:.0f} s, finetune --quick {seconds:.0f} s")
    return 0


def copied(source: Path, target: Path, *, without: int) -> list[Path]:
    """Copy the photographs of a directory, without some that are spread over it evenly.

    Returns:
        The photographs that were left out, relative to the directory.

    Raises:
        SystemExit: If there are not as many photographs.
    """
    names = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    if without > len(names):
        sys.exit(f"{source} has {len(names)} files, and --later is {without}; give a smaller number")
    left = {names[place * len(names) // max(without, 1)] for place in range(without)}
    label([name for name in names if name not in left], source, target)
    return sorted(left)


def label(names: Iterable[Path], source: Path, target: Path) -> None:
    """Put photographs into the folders of their categories."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target / name)


def report(home: Path, held_out: Path, arguments: Sequence[str], seeds: Sequence[int]) -> None:
    """Make and measure a release with each seed, and print what came out."""
    made = []
    for seed in seeds:
        release = ["--release-id", f"{arguments[-1]}-{seed}", "--seed", str(seed)]
        made.append(run(home, "finetune", "--quick", "--promote", *release, *arguments))
    print(f"seconds: {', '.join(f'{seconds:.0f}' for seconds, _ in made)}")
    measured = [answers_of(home / "releases" / f"{arguments[-1]}-{seed}", held_out) for seed in seeds]
    right, published = (np.stack(column, axis=1) for column in zip(*measured, strict=True))
    for place, (seed, (_, summary)) in enumerate(zip(seeds, made, strict=True)):
        ours = published[:, place]
        print(
            f"seed {seed}: top 1 {right[:, place].mean():.4f}, published {ours.mean():.4f}, "
            f"right of these {right[ours, place].mean() if ours.any() else float('nan'):.4f}, "
            f"of the part test top 1 {summary['ensemble_test_accuracy']:.4f}, promoted {summary['promoted']}"
        )
    low, high = interval(right & published, published)
    precision = (right & published).sum() / max(published.sum(), 1)
    print(f"mean: top 1 {right.mean():.4f}, published {published.mean():.4f}, right of these {precision:.4f}")
    print(f"95 % of the draws of whole products: {low:.4f} to {high:.4f} right of what is published", flush=True)


def run(home: Path, *arguments: str) -> tuple[float, dict[str, Any]]:
    """Run one command and return its wall seconds and its summary."""
    command = [sys.executable, "-m", "jobs.cli.main", *arguments, "--json"]
    started = time.perf_counter()
    settings = {**os.environ, "SHELFWISE_HOME": str(home)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=settings)
    return time.perf_counter() - started, json.loads(done.stdout)


def answers_of(release_dir: Path, home: Path) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return for each product whether its best category is right, and whether a night would publish its answer."""
    from jobs.evaluation.config import EvaluateConfig
    from jobs.evaluation.evaluate import load_predictor
    from jobs.evaluation.product_predictions import measure
    from jobs.storage.places import Places

    predictor, release, gate = load_predictor(release_dir)
    reading = EvaluateConfig(Places(home))
    measured = measure(predictor, release, reading.images(), reading, gate)
    return measured.hits, np.array([answer.status == "auto" for answer in measured.answers])


def interval(right: NDArray[np.bool_], published: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the 95 % interval of the precision of what is published, over draws of whole products with all seeds.

    Args:
        right: Whether a product's answer is published and right, (products, seeds).
        published: Whether it is published, (products, seeds).
    """
    random = np.random.default_rng(7)
    rows = random.integers(0, len(right), (DRAWS, len(right)))
    hits, total = right.sum(axis=1)[rows].sum(axis=1), published.sum(axis=1)[rows].sum(axis=1)
    precisions = hits[total > 0] / total[total > 0]
    return (float(np.quantile(precisions, 0.025)), float(np.quantile(precisions, 0.975))) if len(precisions) else (0, 0)


if __name__ == "__main__":
    sys.exit(main())

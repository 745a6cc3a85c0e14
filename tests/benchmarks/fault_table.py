"""What a night loses when something is lost in it: a table for the page on clusters, from two executors.

    python -m tests.benchmarks.fault_table --times 10 --results /tmp/faults.jsonl
    python -m tests.benchmarks.fault_table --times 0 --results /tmp/faults.jsonl --readme jobs/cluster/README.md

Each night ingests, predicts and publishes 2,000 new images in about twenty shards. At a random moment one process gets
SIGKILL: an executor, a Python worker, or the driver with its Java; or an S3 server that holds the night's dataset and
predictions stops answering for a minute. A driver that ends without success is started again with `shelfwise runs
resume`. Nights are added to the results file one by one, so that the script may be stopped and called again; the second
form only writes the table.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.serving.environment import prepare_environment

BEGIN, END = "<!-- faults: made by tests/benchmarks/fault_table.py -->", "<!-- end of faults -->"


def main() -> int:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--times", type=int, default=10, help="nights for each fault, those in the results counted")
    parser.add_argument("--results", type=Path, required=True, help="JSON Lines; continued if it is there")
    parser.add_argument("--readme", type=Path, help="write the table between this file's markers")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    prepare_environment()
    if options.times:
        measure(options.images, options.times, options.results, options.seed)
    lines = table([json.loads(line) for line in options.results.read_text(encoding="utf-8").splitlines()])
    print("\n".join(lines))
    if options.readme:
        text = options.readme.read_text(encoding="utf-8")
        block = "\n".join([BEGIN, *lines, END])
        options.readme.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: block, text, flags=re.DOTALL), encoding="utf-8")
    return 0


def measure(images: int, times: int, results: Path, seed: int) -> None:
    """Run the nights that the results lack."""
    from tests.conftest import SmallShop, make_release
    from tests.nights_under_fire import FAULTS, Field, night
    from tests.object_store import object_store
    from tests.standalone import Worker, standalone

    done = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()] if results.exists() else []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        root = Path(scratch)
        shop = SmallShop(root / "shop")
        shop.add_many([f"p{number:05d}" for number in range(images)])
        release = make_release(root / "release", architectures={"efficientnetb0": 32})
        size = sum(path.stat().st_size + 256 for path in shop.directory.glob("*.jpg"))
        with object_store() as store, standalone(root / "cluster", [Worker(1), Worker(1)]) as cluster:
            field = Field(cluster, Path(shop.catalog), release, images, size // 20, store)
            calm = {
                False: night(field, root / "calm"),
                True: night(field, root / "calm-stored", in_store=True),
            }
            report("nothing", 0, asdict(calm[False]), calm[False].answers, results, done)
            report("nothing, files in an object store", 0, asdict(calm[True]), calm[False].answers, results, done)
            for number in range(times):
                for name, fault in FAULTS.items():
                    while sum(each["fault"] == name and each["killed_after_seconds"] > 0 for each in done) <= number:
                        random.seed(f"{seed} {name} {len(done)}")
                        # Uniform over the night: a moment after its end met nothing, and that night does not count.
                        moment = random.uniform(0, calm[fault.in_store].seconds)
                        found = night(field, root / "struck", faults=[(fault, 0)], after_seconds=moment)
                        report(name, number, asdict(found), calm[False].answers, results, done)
                        for path in root.glob("struck*"):
                            shutil.rmtree(path) if path.is_dir() else path.unlink()


def report(
    fault: str,
    number: int,
    outcome: dict[str, Any],
    expected: dict[str, Any],
    results: Path,
    done: list[dict[str, Any]],
) -> None:
    """Add a night to the results."""
    answers = outcome.pop("answers")
    line = {
        "fault": fault,
        **outcome,
        "answers_changed": sum(answers.get(key) != value for key, value in expected.items()),
    }
    done.append(line)
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(f"{fault} {number}: {line}", file=sys.stderr, flush=True)


def table(nights: list[dict[str, Any]]) -> list[str]:
    """Return the Markdown lines: a row for each fault; nights in which it met nothing any more are not counted."""
    lines = [
        "| lost | nights | of these resumed | images predicted again at most, median and worst | rows lost "
        "| rows double | answers changed |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for fault in dict.fromkeys(each["fault"] for each in nights):
        hit = [
            each
            for each in nights
            if each["fault"] == fault and (each["killed_after_seconds"] or fault.startswith("nothing"))
        ]
        redone = [each["images_redone"] for each in hit]
        lines.append(
            f"| {fault} | {len(hit)} | {sum(len(each['exit_codes']) > 1 for each in hit)} "
            f"| {statistics.median(redone):.0f}, {max(redone)} | {sum(each['rows_lost'] for each in hit)} "
            f"| {sum(each['rows_double'] for each in hit)} | {sum(each['answers_changed'] for each in hit)} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())

"""A whole night of photographs against the same night by Daft, Ray Data and Spark's predict_batch_udf.

    make peers
    python -m tests.benchmarks.bench_peers --photos DIRECTORY --images 2000

All read the same photographs from disk, decode them, compute EfficientNetB0 at 224 px, and write a row for each product
into a new SQLite database. Each is measured as a whole process, with all that it starts; rounds take turns. The night
is `shelfwise nightly`: it also checks every image, keeps the dataset and the history, judges which images the release
knows, and can be killed at any moment. The conversion of the release, once a release, is not in it. Rates are those of
the images beyond a quarter, so that what is done once a process falls out.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from tests.benchmarks.photos import CATEGORIES, photographs, stamp
from tests.untrained import untrained_release

PEERS = Path(__file__).parent / "peers"
OURS = "shelfwise"
NAMES = (OURS, "daft", "ray", "spark")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a directory of JPEGs; made-up ones without it")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--python", type=Path, default=PEERS / ".venv/bin/python", help="the peers' Python")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    options = parser.parse_args()
    if not options.python.exists():
        parser.error(f"{options.python} does not exist; run `make peers` first")
    print(f"# {stamp()}, nights of {options.images} photographs, EfficientNetB0 at 224 px, float32")
    with tempfile.TemporaryDirectory() as scratch:
        seconds = measure(Path(scratch), options)
    print("system     whole night, s   best   images/s beyond a quarter")
    for name, (small, whole) in seconds.items():
        rate = options.images * 3 / 4 / (statistics.median(whole) - statistics.median(small))
        rounds = "  ".join(f"{each:.1f}" for each in whole)
        print(f"{name:9s}  {rounds:14s}  {min(whole):6.1f}  {rate:8.1f}")
    best = min((statistics.median(whole), name) for name, (_, whole) in seconds.items() if name != OURS)
    ours = statistics.median(seconds[OURS][1])
    print(f"the best peer, {best[1]}, takes {best[0] / ours:.2f} times as long as shelfwise")
    return 0


def measure(scratch: Path, options: argparse.Namespace) -> dict[str, tuple[list[float], list[float]]]:
    """Run the rounds; return by system the seconds of a quarter of the photographs, and of all."""
    release = untrained_release(scratch, {"efficientnetb0": 224}, CATEGORIES, release_id="untrained")
    catalogs = {}
    for count in (options.images // 4, options.images):
        catalogs[count] = scratch / f"{count}.csv"
        paths = photographs(options.photos, scratch / "photos", count)
        rows = "".join(f"p{number:06d},{path.absolute()}\n" for number, path in enumerate(paths))
        catalogs[count].write_text("product_id,image_uri\n" + rows, encoding="utf-8")
    seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in options.only}
    if OURS in options.only:  # the conversion of the release
        night(OURS, catalogs[options.images // 4], scratch / "first", release, options)
    for number in range(options.rounds):
        for name in options.only:
            for place, count in enumerate(catalogs):
                home = scratch / f"{name}-{number}-{count}"
                started = time.perf_counter()
                database = night(name, catalogs[count], home, release, options)
                seconds[name][place].append(time.perf_counter() - started)
                with closing(sqlite3.connect(database)) as connection:
                    [(rows_written,)] = connection.execute("SELECT count(*) FROM product_categories")
                assert rows_written == count, f"{name} wrote {rows_written} rows of {count}"
    return seconds


def night(name: str, catalog: Path, home: Path, release: Path, options: argparse.Namespace) -> Path:
    """Run one night; return its database."""
    home.mkdir()
    if name == OURS:
        settings = {"HOME": home, "RELEASE_DIR": release, "ENGINES_DIR": home.parent / "engines"}
        environment = {**os.environ, **{f"SHELFWISE_{key}": str(value) for key, value in settings.items()}}
        words = [str(Path(sys.executable).with_name("shelfwise")), "nightly", "--catalog", str(catalog)]
        words += ["--run-date", "2026-01-01", "--json", "--allow-shift"]
        database = home / "shelfwise.db"
    else:
        database = home / "night.db"
        # Processes that a peer starts must find `classifier.py` too.
        environment = {**os.environ, "PYSPARK_PYTHON": str(options.python), "PYTHONPATH": str(PEERS.absolute())}
        words = [str(options.python), str(PEERS / f"with_{name}.py"), str(catalog), str(database)]
    with (home / "output.txt").open("w") as output:
        ended = subprocess.run(words, env=environment, cwd=home, stdout=output, stderr=output, check=False)
    if ended.returncode:
        raise SystemExit(f"{name} ended with {ended.returncode}:\n{(home / 'output.txt').read_text()[-3000:]}")
    return database


if __name__ == "__main__":
    sys.exit(main())

"""A whole night of photographs against the same night by Daft, Ray Data and Spark's predict_batch_udf.

    make peers
    python -m tests.benchmarks.bench_peers --photos DIRECTORY --images 2000
    python -m tests.benchmarks.bench_peers --photos DIRECTORY --images 2000 --precision bfloat16

All read the same photographs from disk, decode them, compute EfficientNetB0 at 224 px, and write a row for each product
into a new SQLite database. Each is measured as a whole process, with all that it starts; rounds take turns. The night
is `shelfwise nightly`: it also checks every image, keeps the dataset and the history, judges which images the release
knows, and can be killed at any moment. What is made once is not in it: the conversion of the release, and the archive
of Spark's classes. Rates are those of the images beyond a quarter, so that what is done once a process falls out.

In float32 the night is pinned to it, so that it does not compare bfloat16 beside. In bfloat16 the release is one that
has passed in it on this processor, which `precision.json` of each home says; the peers compute in float32 in both.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import astuple, replace
from pathlib import Path

from jobs.predict.config import Computing, PredictConfig
from jobs.predict.conversions import converted_files
from jobs.predict.precision import remember
from jobs.predict.reports import ShardReport
from jobs.predict.trial import ENOUGH_IMAGES, Compared
from jobs.storage.places import Places
from models.release import load_release
from models.serving.devices import processor
from models.serving.environment import prepare_environment
from tests.benchmarks.photos import photographs, stamp
from tests.benchmarks.serving import lacks_bfloat16, untrained
from tests.class_archives import written_archive

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
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of shelfwise's nights")
    options = parser.parse_args()
    prepare_environment()
    if lacks_bfloat16(options.precision):
        return 0
    if set(options.only) != {OURS} and not options.python.exists():
        parser.error(f"{options.python} does not exist; run `make peers` first")
    nights = f"nights of {options.images} photographs, EfficientNetB0 at 224 px"
    print(f"# {stamp()}, {nights}, shelfwise in {options.precision}, the others in float32")
    with tempfile.TemporaryDirectory() as scratch:
        seconds = measure(Path(scratch), options)
    print("system     whole night, s   best   images/s beyond a quarter")
    for name, (small, whole) in seconds.items():
        rate = options.images * 3 / 4 / (statistics.median(whole) - statistics.median(small))
        rounds = "  ".join(f"{each:.1f}" for each in whole)
        print(f"{name:9s}  {rounds:14s}  {min(whole):6.1f}  {rate:8.1f}")
    others = [(statistics.median(whole), name) for name, (_, whole) in seconds.items() if name != OURS]
    if others and OURS in seconds:
        best, ours = min(others), statistics.median(seconds[OURS][1])
        print(f"the best peer, {best[1]}, takes {best[0] / ours:.2f} times as long as shelfwise")
    return 0


def measure(scratch: Path, options: argparse.Namespace) -> dict[str, tuple[list[float], list[float]]]:
    """Run the rounds; return by system the seconds of a quarter of the photographs, and of all."""
    release = untrained(scratch, {"efficientnetb0": 224})
    catalogs = {}
    for count in (options.images // 4, options.images):
        catalogs[count] = scratch / f"{count}.csv"
        paths = photographs(options.photos, scratch / "photos", count)
        rows = "".join(f"p{number:06d},{path.absolute()}\n" for number, path in enumerate(paths))
        catalogs[count].write_text("product_id,image_uri\n" + rows, encoding="utf-8")
    seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in options.only}
    if OURS in options.only:  # the conversion of the release, and the archive of Spark's classes
        night(OURS, catalogs[options.images // 4], scratch / "first", release, options)
        written_archive(scratch / "java")
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
        environment, words = _ours(catalog, home, release, options)
        database = home / "shelfwise.db"
    else:
        database = home / "night.db"
        # Processes that a peer starts must find `classifier.py` too.
        environment = {**os.environ, "PYSPARK_PYTHON": str(options.python), "PYTHONPATH": str(PEERS.absolute())}
        words = [str(options.python), str(PEERS / f"with_{name}.py"), str(catalog), str(database)]
    told, errors = home / "output.txt", home / "errors.txt"
    with told.open("w") as output, errors.open("w") as other:
        ended = subprocess.run(words, env=environment, cwd=home, stdout=output, stderr=other, check=False)
    if ended.returncode:
        raise SystemExit(f"{name} ended with {ended.returncode}:\n{(told.read_text() + errors.read_text())[-3000:]}")
    if name == OURS:
        precisions = json.loads(told.read_text())["predict"]["precisions"]
        assert precisions == [options.precision], f"the night was computed in {precisions}"
    return database


def _ours(catalog: Path, home: Path, release: Path, options: argparse.Namespace) -> tuple[dict[str, str], list[str]]:
    """Return environment and command line of our night, in a home that knows in which precision it computes."""
    settings: dict[str, object] = {"HOME": home, "RELEASE_DIR": release}
    settings |= {"ENGINES_DIR": home.parent / "engines", "JAVA_DIR": home.parent / "java"}
    if options.precision == "bfloat16":
        passed(home, release, home.parent / "engines")
    else:
        settings["PRECISION"] = "float32"
    environment = {**os.environ, **{f"SHELFWISE_{key}": str(value) for key, value in settings.items()}}
    words = [str(Path(sys.executable).with_name("shelfwise")), "nightly", "--catalog", str(catalog)]
    return environment, [*words, "--run-date", "2026-01-01", "--json", "--allow-shift"]


def passed(home: Path, release_dir: Path, engines_dir: Path) -> None:
    """Let a home remember that a release has passed in bfloat16 on this processor."""
    release = load_release(release_dir)
    config = PredictConfig("bench", (), Places(home), release_dir, computing=Computing(engines_dir=engines_dir))
    computing = replace(config.computing, converted=converted_files(config, release))
    compared = astuple(Compared(ENOUGH_IMAGES))
    report = ShardReport("", release.release_id, 0, 0, 0.0, 0.0, 0.0, 0.0, device=processor().name, compared=compared)
    remember(replace(config, computing=computing), release, [report])


if __name__ == "__main__":
    sys.exit(main())

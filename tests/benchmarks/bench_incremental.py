"""Night two of an unchanged catalog against night one, whole commands, on a cheap network.

    python -m tests.benchmarks.bench_incremental --photos PHOTOS --images 20000

Both nights are the command `shelfwise nightly` as a user runs it, Java's and Spark's start included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from models.serving.environment import prepare_environment


def main() -> int:
    """Run both nights and print their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a directory of JPEGs; made-up ones without it")
    parser.add_argument("--images", type=int, default=20_000)
    options = parser.parse_args()
    prepare_environment()
    from tests.benchmarks.photos import CATEGORIES, catalog_of, photographs, stamp
    from tests.untrained import untrained_release

    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        catalog = catalog_of(photographs(options.photos, scratch / "photos", options.images), scratch / "shop")
        release = untrained_release(scratch / "release", {"efficientnetb0": 32}, CATEGORIES, release_id="untrained")
        nights = [night(scratch / "home", catalog, release, day) for day in ("2026-01-01", "2026-01-02")]
    print(f"# {stamp()}, {options.images} images")
    for number, (seconds, summary) in enumerate(nights, 1):
        ingest = summary["ingest"]
        print(
            f"night {number}: {seconds:6.1f} s, {ingest['images_stored']} stored, "
            f"{ingest['images_unchanged']} unchanged, {ingest['source_bytes']} bytes read"
        )
    print(f"ratio: {nights[1][0] / nights[0][0]:.3f}")
    return 0


def night(home: Path, catalog: Path, release: Path, day: str) -> tuple[float, dict[str, Any]]:
    """Run one night as a command and return its wall seconds and its summary."""
    command = [sys.executable, "-m", "jobs.cli.main", "nightly", "--catalog", str(catalog), "--run-date", day, "--json"]
    settings = {"SHELFWISE_HOME": str(home), "SHELFWISE_RELEASE_DIR": str(release)}
    settings["SHELFWISE_PRECISION"] = "float32"  # pinned, so that the first night computes nothing in bfloat16 beside
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **settings})
    return time.perf_counter() - started, json.loads(done.stdout)


if __name__ == "__main__":
    sys.exit(main())

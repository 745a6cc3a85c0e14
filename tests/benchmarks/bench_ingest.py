"""Read, check and store photographs in one task of ingest, without Spark; shrinking against Pillow's bicubic filter.

    python -m tests.benchmarks.bench_ingest --photos DIRECTORY --images 400

A task reads the files, decodes them in a process of its own, and writes the dataset. Each round does it twice, in
turns: as it is, and with the filter that was used before, so that a noisy machine slows both. Figures are processor
time of task and decoding process, which other work on the machine disturbs less than the clock, and images a second by
the clock. The rounds' ratio and the mean difference of the stored pixels are printed.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pyarrow.parquet as pq

from jobs.ingest import decoding
from jobs.storage.places import Places
from tests.benchmarks.photos import photographs, shards_of, stamp

BEFORE = """
import sys
from PIL import Image
from jobs.images import normalise
def shrink(image, short_side_px):
    scale = short_side_px / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    return image if scale >= 1 else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
normalise.shrink = shrink
"""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a directory of JPEGs; made-up ones without it")
    parser.add_argument("--images", type=int, default=400, help="a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"# {stamp()}, {options.images} photographs a round, one task")
    print("round  ms of a processor, before  now   images/s, before  now   times as many")
    ratios, differences = [], []
    with tempfile.TemporaryDirectory() as scratch:
        paths = photographs(options.photos, Path(scratch) / "photos", options.images)
        for number in range(1, options.rounds + 1):
            before = ingested(paths, Path(scratch) / f"{number}-before", before=True)
            now = ingested(paths, Path(scratch) / f"{number}-now", before=False)
            ratios.append(before[0] / now[0])
            differences.append(difference(before[2], now[2]))
            print(f"{number:5d}  {before[0]:26.2f} {now[0]:4.2f} {before[1]:17.0f} {now[1]:5.0f} {ratios[-1]:14.2f}")
    print(f"median: {statistics.median(ratios):.2f} times as many images in the same time of a processor")
    print(f"mean difference of the stored pixels: {statistics.mean(differences):.2f} of 255 grey levels")
    return 0


def ingested(paths: list[Path], home: Path, *, before: bool) -> tuple[float, float, list[Path]]:
    """Ingest; return milliseconds of a processor an image, images a second, and the dataset files."""
    started, used = time.perf_counter(), _used()
    program = (BEFORE if before else "") + decoding.PROGRAM
    with patch.dict(decoding.GuardedDecoder.__init__.__kwdefaults__, program=program):
        files = shards_of(paths, Places(home))
    return (_used() - used) / len(paths) * 1000, len(paths) / (time.perf_counter() - started), files


def _used() -> float:
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, whose))


def difference(before: list[Path], now: list[Path]) -> float:
    """Return the mean difference of the pixels of the first 100 images of two datasets."""
    stored = []
    for files in (before, now):
        rows = sorted(
            (row for file in files for row in pq.read_table(file, columns=["product_id", "jpeg"]).to_pylist()),
            key=lambda row: str(row["product_id"]),
        )
        stored.append([cv2.imdecode(np.frombuffer(row["jpeg"], np.uint8), cv2.IMREAD_COLOR) for row in rows[:100]])
    return float(
        np.mean([np.abs(one.astype(int) - other.astype(int)).mean() for one, other in zip(*stored, strict=True)])
    )


if __name__ == "__main__":
    sys.exit(main())

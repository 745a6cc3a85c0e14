"""Collect what `on_device.sh` needs on a GPU machine without network: wheels, photographs and articles.

    python -m tests.benchmarks.device_kit KIT --photos PHOTOS

Writes the directory KIT, about 10 MB: wheels/ with the packages that a machine with PyTorch or JAX usually lacks,
photographs.parquet as ingest stores them, and articles.npz. Copy KIT and this clone to the machine; tar makes one
archive of both: `tar czf shelfwise.tar.gz KIT $(git ls-files)`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from jobs.storage.places import Places
from models import fashion_mnist
from tests.benchmarks.photos import photographs, shards_of

PURE = (
    "click",
    "dill",
    "diskcache",
    "future",
    "iniconfig",
    "keras==3.15.*",
    "namex",
    "pathlib_abc",
    "petastorm==0.13.1",
    "pluggy",
    "pygments",
    "pytest==9.*",
    "pytest-timeout",
    "tenacity==9.*",
    "threadpoolctl==3.*",
    "universal_pathlib==0.3.*",
)
"""Packages of the predict step and its tests, in Python alone, that PyTorch or JAX do not bring, with their needs."""

COMPILED = ("optree", "psutil", "pyzmq")
"""The same, compiled for one version of Python."""

PLATFORMS = ("manylinux_2_28", "manylinux_2_26", "manylinux_2_17", "manylinux2014")
ARTICLES = 3000


def main() -> int:
    """Write the directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path, help="the directory to write")
    parser.add_argument("--photos", type=Path, help="a directory of JPEGs; made-up ones without it")
    parser.add_argument("--count", type=int, default=64, help="photographs to take")
    parser.add_argument("--python", default="3.12", help="version of Python on the GPU machine")
    parser.add_argument("--no-wheels", action="store_true", help="only the data, for a machine that has the packages")
    options = parser.parse_args()
    options.kit.mkdir(parents=True, exist_ok=True)
    if not options.no_wheels:
        wheels = ["--quiet", "--only-binary=:all:", "--no-deps", "--dest", str(options.kit / "wheels")]
        wheels += ["--python-version", options.python, "--implementation", "cp"]
        platforms = [word for name in PLATFORMS for word in ("--platform", f"{name}_x86_64")]
        for words in (["--platform", "any", *PURE], [*platforms, *COMPILED]):
            subprocess.run([sys.executable, "-m", "pip", "download", *wheels, *words], check=True)
    with tempfile.TemporaryDirectory() as scratch:
        paths = photographs(options.photos, Path(scratch) / "made-up", options.count * 20)[
            :: 20 if options.photos else 1
        ]
        [shard] = shards_of(paths[: options.count], Places(Path(scratch) / "home"), shard_bytes=1 << 40)
        (options.kit / "photographs.parquet").write_bytes(shard.read_bytes())
    images, labels, _ = fashion_mnist.squares("t10k", cache_dir=Path(".shelfwise/downloads"))
    np.savez_compressed(options.kit / "articles.npz", images=images[:ARTICLES, :, :, 0], labels=labels[:ARTICLES])
    return 0


if __name__ == "__main__":
    sys.exit(main())

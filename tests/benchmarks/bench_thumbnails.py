"""Sixty thumbnails of a page of the review, from sixty different shards, from a local disk and from an S3 server.

    python -m tests.benchmarks.bench_thumbnails --rows 512

Each round asks anew, without a picture in memory. `kept` are the thumbnails that predict keeps; asked for are 1.5 s
from a disk and 4 s from a store. `made` are the same pictures without these files: made of the stored images, where the
prediction says that they lie. `searched` are those of which no prediction says it. The server is a process on this
machine and answers one request after the other, so that a store elsewhere is slower in each request and faster in all
of them together. The files of the disk have just been written, so that they are in the system's memory.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from jobs.dataset.schema import IMAGES
from jobs.dataset.shards import ShardWriter
from jobs.dataset.thumbnails import PictureAt, make_thumbnail, thumbnail_file, write_thumbnails
from jobs.review.pictures import Pictures
from jobs.storage.places import Places
from jobs.storage.stores import children, place
from sql.review.records import Pictured
from tests.benchmarks.photos import DAY, photographs, stamp
from tests.dataset_rows import image_row
from tests.object_store import object_store

RUN_ID = "bench"
PAGE = 60


@dataclass(frozen=True)
class Size:
    """How many shards with how many images each, and of how many rounds the median is taken."""

    shards: int = PAGE
    rows: int = 512
    rounds: int = 5


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a directory of JPEGs; made-up ones without it")
    parser.add_argument("--rows", type=int, default=Size.rows, help="images of each shard, all of which wait")
    parser.add_argument("--rounds", type=int, default=Size.rounds)
    options = parser.parse_args()
    size = Size(rows=options.rows, rounds=options.rounds)
    print(f"# {stamp()}, {PAGE} pictures of {size.shards} shards with {size.rows} images each")
    print("from   kept_seconds  made_seconds  searched_seconds")
    with tempfile.TemporaryDirectory() as scratch:
        for name, kept, made, searched in measure(Path(scratch), size, options.photos):
            print(f"{name:5}  {kept:12.2f}  {made:12.2f}  {searched:16.2f}")
    return 0


def measure(scratch: Path, size: Size, photos: Path | None = None) -> Iterator[tuple[str, float, float, float]]:
    """Yield for disk and store the median seconds of a page: kept, made of stored images, and searched."""
    stored = [np.asarray(cv2.imread(str(path))) for path in photographs(photos, scratch / "photos", 20)]
    quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
    jpegs = [cv2.imencode(".jpg", _as_ingested(picture), quality)[1].tobytes() for picture in stored]
    with object_store():
        bucket = place("s3://bench/home")
        bucket.fs.mkdir("bench")  # type: ignore[union-attr]
        for name, places in (("disk", Places(scratch / "home")), ("store", Places(bucket, scratch / "local"))):
            page = fill(places, size, jpegs)
            elsewhere = [replace(picture, run_id="pruned") for picture in page]
            unsaid = [replace(picture, picture_at="") for picture in page]
            kept, made, searched = (seconds(places, each, size.rounds) for each in (page, elsewhere, unsaid))
            yield name, kept, made, searched


def _as_ingested(picture: cv2.typing.MatLike) -> cv2.typing.MatLike:
    scale = min(1.0, 320 / min(picture.shape[:2]))
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def fill(places: Places, size: Size, jpegs: list[bytes]) -> list[Pictured]:
    """Write shards and their thumbnails as ingest and predict do; return a picture of each of sixty shards."""
    shapes = [np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)).shape for jpeg in jpegs]
    small = [make_thumbnail(jpeg) for jpeg in jpegs]
    page = []
    for shard in range(size.shards):
        writer = ShardWriter(places.partition(places.images, DAY), IMAGES, shard_bytes=2**40)
        rows = []
        for row in range(size.rows):
            number = (shard * size.rows + row) % len(jpegs)
            key = {"image_no": 0, "image_sha256": f"{shard:032x}{row:032x}"}
            sides = {"height_px": shapes[number][0], "width_px": shapes[number][1]}
            writer.add(image_row(f"p{shard}-{row}", **key, **sides, jpeg=jpegs[number]))
            rows.append({**key, "product_id": f"p{shard}-{row}", "thumbnail": small[number], "descriptor": bytes(256)})
        before = set(children(places.partition(places.images, DAY), "part-*.parquet"))
        writer.flush()
        [file] = set(children(places.partition(places.images, DAY), "part-*.parquet")) - before
        write_thumbnails(thumbnail_file(places, RUN_ID, DAY, file.name), rows)
        chosen = (shard * 37) % size.rows
        at = PictureAt(file.name, *divmod(chosen, 64), chosen)
        page.append(Pictured(f"p{shard}-{chosen}", 0, str(rows[chosen]["image_sha256"]), DAY, RUN_ID, str(at)))
    return page[:PAGE]


def seconds(places: Places, page: list[Pictured], rounds: int) -> float:
    """Return the median seconds of some rounds; each has a memory of its own and must find every picture."""
    took = []
    for _ in range(rounds):
        pictures = Pictures(places)
        started = time.perf_counter()
        found = pictures.thumbnails(page)
        took.append(time.perf_counter() - started)
        pictures.close()
        assert len(found) == len(page), f"{len(found)} of {len(page)} pictures were found"
    return statistics.median(took)


if __name__ == "__main__":
    sys.exit(main())
